package kubelet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
)

func TestAProcessAfterOneOfItsKindIsNoNews(t *testing.T) {
	tree := func(shell, sleep int) *step.ProcessesDetail {
		return &step.ProcessesDetail{Processes: []step.SeenProcess{
			{PID: 10, Inner: 1, Comm: "pause"},
			{PID: shell, Parent: 9, Inner: 1, Container: "web", Comm: "sh"},
			{PID: sleep, Parent: shell, Inner: 5, Container: "web", Comm: "sleep"},
		}}
	}
	first := shapeOf(tree(11, 12))
	require.False(t, sameShape(first, nil), "the first look is news")
	require.True(t, sameShape(shapeOf(tree(11, 13)), first), "another sleep")
	require.False(t, sameShape(shapeOf(tree(20, 21)), first), "the container began anew")
	more := tree(11, 12)
	more.Processes = append(more.Processes, step.SeenProcess{PID: 30, Parent: 11, Container: "web", Comm: "sleep"})
	require.False(t, sameShape(shapeOf(more), first), "one more sleep")
}

func TestUsageIsRecordedWhenItIsAnotherAmount(t *testing.T) {
	usage := func(milli, memory, throttled, kills int64) *step.UsageDetail {
		u := step.CgroupUsage{Milli: milli, Memory: memory, Throttled: throttled, OOMKills: kills, Pids: 2}
		return &step.UsageDetail{Pod: u, Containers: map[string]step.CgroupUsage{"web": u}}
	}
	const mib = 1 << 20
	for _, c := range []struct {
		what     string
		old, now *step.UsageDetail
		worth    bool
	}{
		{"nothing", usage(0, 4*mib, 0, 0), usage(0, 4*mib, 0, 0), false},
		{"a busy loop that goes on", usage(500, 4*mib, 0, 0), usage(520, 4*mib, 0, 0), false},
		{"it has stopped", usage(8, 4*mib, 0, 0), usage(0, 4*mib, 0, 0), true},
		{"a garbage collector now and then", usage(0, 4*mib, 0, 0), usage(2, 4*mib+4096, 0, 0), false},
		{"it eats memory", usage(0, 4*mib, 0, 0), usage(0, 6*mib, 0, 0), true},
		{"a little of very much", usage(0, 400*mib, 0, 0), usage(0, 402*mib, 0, 0), false},
		{"throttled for the first time", usage(100, 4*mib, 0, 0), usage(100, 4*mib, 1, 0), true},
		{"throttled as ever", usage(100, 4*mib, 1000, 0), usage(100, 4*mib, 1020, 0), false},
		{"the kernel has killed", usage(0, 4*mib, 0, 0), usage(0, 4*mib, 0, 1), true},
		{"a container is gone", usage(0, 4*mib, 0, 0), &step.UsageDetail{Pod: usage(0, 4*mib, 0, 0).Pod}, true},
	} {
		require.Equal(t, c.worth, worth(c.now, c.old), c.what)
	}
}

func TestRateIsOfTheTimeBetweenTwoLooks(t *testing.T) {
	at := func(d time.Duration) *step.UsageDetail {
		u := step.CgroupUsage{CPU: step.Seconds(d)}
		return &step.UsageDetail{Pod: u, Containers: map[string]step.CgroupUsage{"web": u, "new": {}}}
	}
	last := at(time.Second)
	delete(last.Containers, "new")
	d := at(1500 * time.Millisecond)
	rate(d, last, 2*time.Second)
	require.EqualValues(t, 250, d.Pod.Milli)
	require.EqualValues(t, 250, d.Containers["web"].Milli)
	require.Zero(t, d.Containers["new"].Milli)
	d = at(0)
	rate(d, last, time.Second)
	require.Zero(t, d.Pod.Milli, "counters that begin anew")
}
