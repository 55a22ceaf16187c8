package trace_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/policy"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/topology"
	"github.com/klab-project/klab/netlab/trace"
)

// world is what the API would say of a lab: its nodes and pods, and the Service
// as web makes it.
func (l *lab) world(s proxy.State) *trace.World {
	w := &trace.World{Network: podsNet, Underlay: l.Underlay, Outside: l.Outside, Gateway: l.GatewayIP(), Control: l.ControlIP(), Client: l.ClientIP(), Services: s, Singles: l.singles, HostPorts: l.published()}
	if l.six {
		w.Network, w.Underlay, w.Outside = topology.Pods6, netip.MustParsePrefix("fd00:172:30::/64"), netip.MustParsePrefix("2001:db8:192::/64")
		w.Gateway, w.Control, w.Client = netip.MustParseAddr("fd00:172:30::1"), netip.MustParseAddr("fd00:172:30::2"), netip.MustParseAddr("2001:db8:192::a")
	}
	for i, n := range l.Nodes {
		if l.six {
			w.Nodes = append(w.Nodes, trace.WorldNode{Node: l.proxies[i].Node, Mode: l.proxies[i].Mode(), Backend: l.kind, Subnet: n.Pods6})
			continue
		}
		w.Nodes = append(w.Nodes, trace.WorldNode{Node: l.proxies[i].Node, Mode: l.proxies[i].Mode(), Backend: l.kind, Subnet: n.Pods})
		w.Policies.Nodes = append(w.Policies.Nodes, policy.Node{Name: n.Name, IPs: []netip.Addr{n.IP, n.Pods.Addr(), n.Pods.Addr().Next()}})
	}
	for pod, ip := range l.ip {
		if slices.ContainsFunc(l.singles, func(s trace.Single) bool { return s.Addr.Addr() == ip }) {
			continue
		}
		w.Policies.Pods = append(w.Policies.Pods, policy.Pod{Namespace: "default", Name: pod, Node: nodeOf(pod), IPs: []netip.Addr{ip}, Labels: map[string]string{"app": pod}})
	}
	w.Policies.Namespaces = []policy.Namespace{{Name: "default"}}
	if l.six {
		return &trace.World{Six: w}
	}
	return w
}

func nodeOf(pod string) string {
	if pod == "b" {
		return "node-2"
	}
	return "node-1"
}

// predicted requires that a way compares so with the prediction of it.
func (l *lab) predicted(t *testing.T, c *trace.Capture, w trace.Way, verdict string) trace.Prediction {
	t.Helper()
	p := l.tracer.Predict(c, w)
	expected := ""
	if p.Expected != nil {
		expected = strings.Join(trace.Lines([]step.Hop{*p.Expected}), "\n")
	}
	require.Equal(t, verdict, p.Verdict, "%s %s at hop %d: expected %s\n%s\npredicted was %s\n%s", p.Why, p.What, p.Differs, expected,
		strings.Join(trace.Lines(w.Hops), "\n"), p.Outcome, strings.Join(trace.Lines(p.Hops), "\n"))
	return p
}

// forecast holds a lost packet against what was predicted.
func (l *lab) forecast(t *testing.T, x loss, c *trace.Capture, w trace.Way) {
	t.Helper()
	if x.forecast == step.AsPredicted {
		p := l.predicted(t, c, w, step.AsPredicted)
		require.Zero(t, p.Differs)
		return
	}
	p := l.predicted(t, c, w, step.Differs)
	i := slices.IndexFunc(w.Hops, func(h step.Hop) bool { return h.Layer == step.LayerDrop })
	what, seq := step.DiffersLost, w.Hops[i].Seq
	if x.forecast != "" {
		what = x.forecast
		require.Less(t, p.Differs, seq, "it left the way before it ended")
	} else {
		require.Equal(t, seq, p.Differs)
	}
	require.Equal(t, what, p.What)
	require.NotNil(t, p.Expected)
}
