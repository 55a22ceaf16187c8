package fold_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
)

func TestWhatIsSeenOfAPod(t *testing.T) {
	h := fold.NewHistory()
	all := foldtest.Pod()
	h.Append(all...)
	key := fold.KeyOf(foldtest.PagePod)
	g := h.Now().Nodes["node-1"].Pods[key].Sight
	require.Len(t, g.Seen.Containers, 2, "pause and web")
	require.Len(t, g.Processes.Processes, 2)
	require.Len(t, g.Uses, 2)
	require.Len(t, g.Probes, 2)
	require.Equal(t, "failure", g.Probes[1].Result)
	require.Greater(t, g.Probes[1].Since, g.Probes[0].Since)

	var both uint64
	for _, e := range all {
		if e.Verb == step.Usage && both == 0 {
			both = e.Seq
		}
	}
	then := h.At(both).Nodes["node-1"].Pods[key].Sight
	require.Len(t, then.Seen.Containers, 3, "as it was then")
	require.Len(t, then.Uses, 1)
	require.Len(t, h.Now().Nodes["node-1"].Pods[key].Sight.Uses, 2, "looking back changes nothing")
}

// What comes late does not bring back a pod that is gone.
func TestALateLookAtAPodThatIsGone(t *testing.T) {
	s := foldtest.NewScript(0)
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "p"}
	e := step.Event{Actor: "kubelet", Node: "n", Object: pod}
	with := func(v step.Verb) step.Event { e.Verb = v; return e }
	s.Do(with(step.RunPodSandbox), step.RuntimeDetail{ID: "s"}, nil)
	s.Do(with(step.RemovePodSandbox), step.RuntimeDetail{ID: "s"}, nil)
	s.Fact(0, with(step.PodSeen), step.PodSeenDetail{ID: "s"})
	s.Fact(0, with(step.Usage), step.UsageDetail{})
	s.Fact(0, with(step.Probe), step.ProbeDetail{Container: "c"})
	state := fold.New()
	for _, e := range s.Events {
		state.Apply(e)
	}
	require.Empty(t, state.Nodes["n"].Pods)
}

func TestUsesAreBounded(t *testing.T) {
	s := foldtest.NewScript(0)
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "p"}
	s.Fact(0, step.Event{Actor: "kubelet", Node: "n", Verb: step.PodSeen, Object: pod}, step.PodSeenDetail{Containers: []step.SeenContainer{{PID: 1}}})
	for range 500 {
		s.Fact(0, step.Event{Actor: "kubelet", Node: "n", Verb: step.Usage, Object: pod}, step.UsageDetail{})
	}
	state := fold.New()
	for _, e := range s.Events {
		state.Apply(e)
	}
	require.LessOrEqual(t, len(state.Nodes["n"].Pods[fold.KeyOf(pod)].Sight.Uses), 80)
}
