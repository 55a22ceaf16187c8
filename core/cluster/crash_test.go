package cluster_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/leak"
)

// fault is what is killed.
type fault string

const (
	daemonDies  fault = "daemon"
	agentDies   fault = "agent/node-1"
	runtimeDies fault = "klab-rt/node-1"
	powerFails  fault = "the power of node-1"
)

// TestCrashMatrix brings one pod to each phase of a pod's life, all of them at
// once, kills a process or the node, lets everything go on, and looks at what
// became of them.
func TestCrashMatrix(t *testing.T) {
	l := newLab(t)
	l.up(2)
	c := newCrash(l)
	c.connect()
	c.runOn("node-2", "bystander", count)
	c.runOn("node-1", "warm-up", nil) // the first pod of a node makes its bridge
	c.until("bystander", "runs", nil)
	c.until("warm-up", "runs", nil)
	c.kubectl("delete", "pod", "warm-up")
	c.empty("node-1")
	for _, f := range []fault{agentDies, runtimeDies, daemonDies, powerFails} {
		if !c.run(string(f), func() { c.round(f) }) {
			return
		}
	}
	c.noGap("bystander") // on the other node
	require.Equal(t, "0", l.kubectl("get", "pod", "bystander", "-o", restarts))
}

// empty waits until a node has nothing of pods: the API has forgotten them before.
func (c *crash) empty(node string) {
	c.t.Helper()
	var left leak.Snapshot
	c.eventually(func() bool {
		var err error
		left, err = c.place(node).Take(context.Background())
		return err == nil && len(left["file"])+len(left["mount"])+len(left["process"]) == 0
	}, func() string {
		return fmt.Sprintf("%s still has %v %v %v", node, left["file"], left["mount"], left["process"])
	})
}

// run runs a part of the test as a test of its own.
func (c *crash) run(name string, part func()) bool {
	outer := c.t.(*testing.T)
	defer func() { c.t = outer }()
	return outer.Run(strings.NewReplacer("/", "-", " ", "-").Replace(name), func(t *testing.T) {
		c.t = t
		part()
	})
}

// round is one fault: every phase has its own pod.
func (c *crash) round(f fault) {
	ctx := context.Background()
	before, err := c.place("node-1").Take(ctx)
	require.NoError(c.t, err)
	marks, err := filepath.Glob(filepath.Join(c.runs, "*"))
	require.NoError(c.t, err)
	for _, m := range marks {
		require.NoError(c.t, os.Remove(m))
	}
	c.runOn("node-1", "neighbour", count)
	var hold []step.Match
	for _, p := range phases() {
		hold = append(hold, p.hold...)
		if p.begin != nil {
			c.runOn("node-1", p.name, p.pod)
		}
	}
	for _, p := range phases() {
		if p.begin != nil {
			c.until(p.name, "is there", p.ready)
		}
	}
	c.until("neighbour", "runs", nil)
	c.listen()
	ids := c.ids()

	// What holds is only what the phases ask for; the lab clock stands still.
	c.mode(step.Mode{State: step.Paused, Only: hold})
	for _, p := range phases() {
		if p.begin == nil {
			c.runOn("node-1", p.name, p.pod)
		} else {
			p.begin(c, p.name)
		}
	}
	for _, p := range phases() {
		c.awaitPhase(p)
	}
	c.strike(f)
	c.mark("go")
	for _, p := range phases() {
		want := p.want
		if special, ok := p.after[f]; ok {
			want = special
		}
		c.run(p.name, func() { c.check(p.name, want, ids[p.name]) })
	}
	if f != powerFails {
		require.Equal(c.t, ids["neighbour"], c.ids()["neighbour"], "the container of the neighbour")
		c.noGap("neighbour")
	}
	require.NoError(c.t, c.client.CoreV1().Pods("default").DeleteCollection(ctx, metav1.DeleteOptions{},
		metav1.ListOptions{FieldSelector: "metadata.name!=bystander"}))
	c.gone("neighbour")
	for _, p := range phases() {
		c.gone(p.name)
	}
	c.as(before, "node-1")
}

// listen waits until the pods that run hear signals: process 1 of a container
// does not get one that it has no handler for, and the lab clock, on which the
// grace period would end, is about to stand still.
func (c *crash) listen() {
	c.t.Helper()
	for _, p := range phases() {
		if p.begin != nil && p.ready == nil {
			c.eventually(func() bool { return c.starts(p.name) > 0 }, func() string { return p.name + " has not begun" })
		}
	}
}

// strike kills what the fault says, and lets everything go on.
func (c *crash) strike(f fault) {
	switch f {
	case powerFails:
		c.power("node-1", cluster.PowerOff)
		c.mode(step.Mode{})
		c.power("node-1", cluster.PowerOn)
	case daemonDies:
		c.kill(string(f))
		c.up(0)
		c.connect()
	default:
		c.restarts(string(f))
		c.mode(step.Mode{})
	}
	c.step("speed", "4") // grace periods and back-offs pass
}

// end is what is to become of a pod.
type end struct {
	gone     bool
	phase    corev1.PodPhase
	restarts int32
	unborn   int32 // how many lives may count besides that never began
	same     bool  // the container is the one from before
	code     int32
	reason   string // of the terminated state
	starts   int    // how often a container of the pod has begun
	logs     string // what its log has to contain
}

func (c *crash) check(name string, want end, id string) {
	c.t.Helper()
	if want.gone {
		c.gone(name)
	} else {
		var pod *corev1.Pod
		reached := func() bool {
			pod = c.get(name)
			return pod != nil && pod.Status.Phase == want.phase && (want.phase != corev1.PodRunning || ready(pod)) &&
				status(pod).RestartCount >= want.restarts && status(pod).RestartCount <= want.restarts+want.unborn
		}
		c.eventually(reached, func() string { return fmt.Sprintf("%+v\n%s", want, c.describe(name)) })
		if want.same {
			require.Equal(c.t, id, status(pod).ContainerID, name)
		}
		if end := status(pod).State.Terminated; end != nil {
			require.Equal(c.t, want.code, end.ExitCode, name)
			require.Equal(c.t, want.reason, end.Reason, name)
		}
		if want.logs != "" {
			require.Contains(c.t, c.kubectl("logs", name), want.logs, name)
		}
	}
	// The container writes its mark only after the kubelet has seen it run.
	c.eventually(func() bool { return c.starts(name) >= want.starts }, func() string { return name + " has not begun" })
	require.Equal(c.t, want.starts, c.starts(name), "how often %s began", name)
}

// starts is how often a container of the pod has begun.
func (c *crash) starts(name string) int {
	text, _ := os.ReadFile(filepath.Join(c.runs, name))
	return strings.Count(string(text), "start\n")
}

// awaitPhase waits until a pod is exactly where its phase says.
func (c *crash) awaitPhase(p phaseOfLife) {
	c.t.Helper()
	if p.marked != "" {
		c.awaitMark(p.name + p.marked)
	}
	if len(p.hold) == 0 {
		return
	}
	steps, err := cluster.Connect(c.Dir)
	require.NoError(c.t, err)
	held := func() bool {
		list, err := steps.Pending(context.Background())
		return err == nil && slices.ContainsFunc(list, func(held step.Pending) bool {
			return slices.ContainsFunc(p.hold, func(m step.Match) bool {
				return held.Class != step.ClassTimer && m.Matches(&step.Action{Actor: held.Actor, Node: held.Node, Verb: held.Verb, Object: held.Object})
			})
		})
	}
	c.eventually(held, func() string {
		list, _ := steps.Pending(context.Background())
		return fmt.Sprintf("%s waits at %v; what waits: %+v\n%s", p.name, p.hold, list, c.describe(p.name))
	})
}
