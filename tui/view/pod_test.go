package view_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/view"
)

func shop(t *testing.T, hide ...string) *view.PodPage {
	state := fold.New()
	for _, e := range foldtest.Pod() {
		state.Apply(e)
	}
	p := view.NewPodPage(state, view.NewMask(hide), fold.KeyOf(foldtest.PagePod))
	require.NotNil(t, p)
	return p
}

func TestAPodsPage(t *testing.T) {
	p := shop(t)
	require.Equal(t, []string{"node", "pause", "web"}, p.Holders)
	whose := map[string]string{}
	for _, n := range p.Namespaces {
		require.Len(t, n.Inodes, 3)
		whose[n.Kind] = n.Whose
	}
	require.Equal(t, map[string]string{"net": "pod", "ipc": "pod", "uts": "pod", "pid": "own", "mnt": "own", "user": "node"}, whose)

	require.Len(t, p.Cgroups, 4)
	web := p.Cgroups[3]
	require.Equal(t, "container", web.Of)
	require.EqualValues(t, 200, web.Milli)
	require.EqualValues(t, 64<<20, web.Memory)
	require.EqualValues(t, 4096, web.Pids)
	require.EqualValues(t, 3, web.Use.Milli)
	require.Equal(t, view.Pair{Name: "memory.limit_in_bytes", Value: "67108864"}, web.Files[0], "the kernel's own words")

	files := p.Mounts[0]
	require.Equal(t, []string{"configMap", "emptyDir", ""}, []string{files.Volumes[0].What, files.Volumes[1].What, files.Volumes[2].What})
	require.Equal(t, "goods", files.Volumes[0].Volume)
	require.Equal(t, []string{"/proc", "/dev"}, files.System)

	side := p.Containers[2]
	require.Equal(t, "CrashLoopBackOff", side.Word)
	require.EqualValues(t, 137, *side.Exit)
	require.Equal(t, step.Seconds(8*time.Second), *side.Again, "the timer is exact while the clock is held")
	require.Equal(t, step.Seconds(10*time.Second), *side.Backoff)
	require.Equal(t, []string{"start container side"}, p.Plan.Steps)
	require.Len(t, p.Plan.Waits, 1)
	require.Equal(t, "failure", p.Probes[1].Result)
	require.False(t, p.Cut)

	var phases []string
	for _, h := range p.History {
		if h.Kind == "phase" {
			phases = append(phases, h.To)
		}
	}
	require.Equal(t, []string{"Pending", "Running"}, phases)
}

// Without the timer, the kubelet's message and the time of its first status tell.
func TestABackOffIsKnownWhileTheClockRuns(t *testing.T) {
	state := fold.New()
	for _, e := range foldtest.Pod() {
		if e.Verb != step.Timers {
			state.Apply(e)
		}
	}
	p := view.NewPodPage(state, view.Mask{}, fold.KeyOf(foldtest.PagePod))
	require.InDelta(t, 8.5, p.Containers[2].Again.Duration().Seconds(), 0.01)
}

func TestProcessesAreATree(t *testing.T) {
	var depths []int
	state := fold.New()
	for _, e := range foldtest.Pod() {
		if state.Apply(e); e.Verb == step.Processes && depths == nil {
			for _, p := range view.NewPodPage(state, view.Mask{}, fold.KeyOf(foldtest.PagePod)).Processes {
				depths = append(depths, p.Depth)
			}
		}
	}
	require.Equal(t, []int{0, 0, 0, 1}, depths)
}

func TestAPageIsJSON(t *testing.T) {
	raw, err := json.Marshal(shop(t))
	require.NoError(t, err)
	var back map[string]any
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, "bad", back["state"])
	require.Equal(t, "pod", back["namespaces"].([]any)[0].(map[string]any)["whose"])
}

func TestFindPod(t *testing.T) {
	s := foldtest.NewScript(0)
	for _, o := range []step.Object{{Namespace: "default", Name: "web-1"}, {Namespace: "default", Name: "web-12"}, {Namespace: "shop", Name: "api"}} {
		o.Resource = "pods"
		s.Write("kubectl", "", step.Create, o, "", 0, map[string]any{})
	}
	gone := step.Object{Resource: "pods", Namespace: "default", Name: "old"}
	s.Write("kubectl", "", step.Create, gone, "", 0, map[string]any{})
	s.Write("kubectl", "", step.Delete, gone, "", 0, nil)
	state := after(s)
	for name, want := range map[string]string{"web-1": "web-1", "web-12": "web-12", "pod/ap": "api", "shop/api": "api", "old": "old", "web": "", "": "", "default/api": ""} {
		key, ok := view.FindPod(state, name)
		require.Equal(t, want != "", ok, name)
		require.Equal(t, want, key.Name, name)
	}
	p := view.NewPodPage(state, view.Mask{}, fold.KeyOf(gone))
	require.True(t, p.Gone)
	require.Equal(t, "deletion", p.History[len(p.History)-1].Kind)
	require.Nil(t, view.NewPodPage(state, view.Mask{}, fold.Key{Resource: "pods", Name: "never"}))
}
