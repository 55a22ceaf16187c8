package trace_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/trace"
)

// links are the links that a leg passes, as "node-1 in cni0".
func links(w trace.Way, leg string) (list []string) {
	for _, h := range w.Hops {
		if h.Layer == step.LayerLink && h.Leg == leg {
			list = append(list, veths.ReplaceAllString(fmt.Sprint(h.NS, " ", h.Dir, " ", h.Iface), "veth"))
		}
	}
	return list
}

func (l *lab) follow(t testing.TB, from, to, proto string) (trace.Way, *trace.Capture) {
	t.Helper()
	w, c, err := l.tracer.Follow(context.Background(), trace.Ask{From: from, To: l.addr(to), Proto: proto})
	require.NoError(t, err)
	return w, c
}

// addr turns "a:8080" into the address of the pod.
func (l *lab) addr(to string) netip.AddrPort {
	name, port, _ := strings.Cut(to, ":")
	if ip, ok := l.ip[name]; ok {
		to = ip.String() + ":" + port
	}
	if !strings.Contains(to, ":") {
		to += ":0"
	}
	return netip.MustParseAddrPort(strings.TrimSuffix(to, ":") + map[bool]string{true: "0"}[strings.HasSuffix(to, ":")])
}

func TestSameNode(t *testing.T) {
	l := build(t)
	l.web(t, nil, "a")
	w, _ := l.follow(t, "pod/default/client", "10.96.0.10:80", "tcp")
	require.Equal(t, "answered", w.Outcome, strings.Join(trace.Lines(w.Hops), "\n"))
	require.Equal(t, []string{
		"pod/default/client out eth0", "node-1 in veth", "node-1 out cni0", "node-1 out veth", "pod/default/a in eth0",
	}, links(w, step.LegRequest))
	require.Equal(t, "pod/default/client in eth0", links(w, step.LegReply)[len(links(w, step.LegReply))-1])
	i := slices.IndexFunc(w.Hops, func(h step.Hop) bool { return h.Verdict == "dnat" })
	require.Positive(t, i)
	require.Equal(t, l.ip["a"].String()+":8080", w.Hops[i].Hdr.Dst)
	require.Equal(t, []string{"dst"}, w.Hops[i].Changed)
}
