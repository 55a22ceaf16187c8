package view_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/view"
)

func after(s *foldtest.Script) *fold.State {
	state := fold.New()
	for _, e := range s.Events {
		state.Apply(e)
	}
	return state
}

func timer(id uint64, actor, node string, verb step.Verb, o step.Object, quiet bool) step.Pending {
	return step.Pending{ID: id, Actor: actor, Node: node, Verb: verb, Class: step.ClassTimer, Object: o, Quiet: quiet, Due: step.Seconds(time.Second)}
}

func TestTimersSayWhatTheyAreFor(t *testing.T) {
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "p"}
	node := step.Object{Resource: "nodes", Name: "node-1"}
	s := foldtest.NewScript(0)
	s.Snapshot(node, map[string]any{"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}})
	s.Fact(0, step.Event{Actor: "clock", Verb: step.Timers}, step.TimersDetail{Timers: []step.Pending{
		timer(1, "kubelet", "node-1", step.Fire, node, true),
		timer(2, "node-lifecycle-controller", "", step.Fire, node, false),
		timer(3, "deployment-controller", "", step.Fire, step.Object{Resource: "deployments.apps", Name: "web"}, false),
		timer(4, "kube-scheduler", "", step.Create, pod, false),
		timer(5, "kube-scheduler", "", step.Fire, pod, false),
		timer(6, "kubelet", "node-1", step.Fire, step.Object{Resource: "containers", Name: "c"}, false),
	}})
	p := view.NewPending(after(s), view.Mask{}, nil)
	require.Equal(t, 2, p.Folded)
	var words []string
	for _, w := range p.Rows {
		words = append(words, w.For)
	}
	require.Equal(t, []string{"timer.progress", "timer.delayed", "timer.retry", "timer.grace"}, words)

	s.Fact(0, step.Event{Actor: "gate", Verb: step.ModeSet}, step.ModeDetail{Mode: step.Mode{State: step.Paused, Zoom: step.Finest}})
	p = view.NewPending(after(s), view.Mask{}, nil)
	require.Zero(t, p.Folded, "at the finest zoom everything is listed")
	require.Len(t, p.Rows, 6)
}

func TestARequestIsNamedByItsSubresource(t *testing.T) {
	s := foldtest.NewScript(0)
	s.Paused = true
	s.Hold(step.Event{Actor: "kube-scheduler", Verb: step.Create, Object: step.Object{Resource: "pods", Name: "p"}}, step.RequestDetail{Method: "POST", Sub: "binding"})
	require.Equal(t, step.Verb("binding"), view.NewPending(after(s), view.Mask{}, nil).Rows[0].Verb)
	require.Equal(t, step.Verb("binding"), view.EventVerb(s.Events[len(s.Events)-1]))
}

func TestLinksLeadToPods(t *testing.T) {
	s := foldtest.NewScript(0)
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "p"}
	s.Do(step.Event{Actor: "kubelet", Node: "node-1", Verb: step.CNIAdd, Object: pod}, nil, func(uint64) any {
		return step.CNIDetail{Pod: "default/p", Address: []string{"10.244.1.2/24"}}
	})
	s.Fact(0, step.Event{Actor: "kubelet", Node: "node-1", Verb: step.Links}, step.LinksDetail{Links: []step.NodeLink{
		{Name: "lo", Type: "loopback", Up: true},
		{Name: "flannel.1", Type: "vxlan", Up: true, VNI: 1},
		{Name: "veth1", Type: "veth", Up: true, Master: "cni0", Pod: "default/p"},
		{Name: "cni0", Type: "bridge", Up: true, Addresses: []string{"10.244.1.1/24"}},
		{Name: "eth0", Type: "veth", Up: true},
	}})
	state := after(s)
	n := view.NewNetwork(state, view.Mask{}).Nodes[0]
	var names []string
	for _, l := range n.Links {
		names = append(names, l.Name)
	}
	require.Equal(t, []string{"eth0", "cni0", "veth1", "flannel.1"}, names)
	require.Equal(t, &view.NetPod{Name: "Pod/p", Address: "10.244.1.2/24"}, n.Links[2].Lead)
	require.Empty(t, n.Pods)
	for _, l := range view.NewNetwork(state, view.NewMask([]string{"field/pods/spec.nodeName"})).Nodes[0].Links {
		require.NotEqual(t, "veth1", l.Name, "where a pod is stays hidden")
	}
}

func TestLettersOfTheNetworkDiffer(t *testing.T) {
	of := map[byte]step.Verb{}
	for _, v := range []step.Verb{
		step.CNIAdd, step.CNIDel, step.CNICheck, step.CNIStatus, step.CNIGC, step.OverlayAdd, step.BackendSet, step.ProxySync,
		step.ProxySet, step.Balance, step.PolicySync, step.Packet, step.HopSeen, step.Break, step.Mend, step.Links, step.Carried,
	} {
		var track view.Track
		track.Append(&step.Event{Seq: 1, Verb: v, Class: v.Class(), Phase: step.PhaseFact})
		ticks, _ := track.Window(step.Finest, 1, 1)
		require.Equal(t, view.Net, ticks[0].Lane, v)
		letter := ticks[0].Letter
		require.NotContains(t, of, letter, "%s has the letter of %s", v, of[letter])
		of[letter] = v
	}
}
