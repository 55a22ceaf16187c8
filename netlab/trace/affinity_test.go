package trace_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// Of a Service with sessionAffinity any endpoint is right for a client that it
// does not know, and then only the one that it had: whoever sent the packet by
// which it became known.
func TestAffinity(t *testing.T) {
	for _, x := range []struct {
		name   string
		mode   proxy.Mode
		legacy bool
		six    bool
	}{
		{"iptables", proxy.IPTables, false, false}, {"iptables 6", proxy.IPTables, false, true},
		{"legacy", proxy.IPTables, true, false}, {"legacy 6", proxy.IPTables, true, true},
		{"nftables", proxy.NFTables, false, false}, {"nftables 6", proxy.NFTables, false, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			if x.legacy {
				withLegacy(t)
			}
			var l *lab
			if x.six {
				l = buildSix(t, x.mode)
			} else {
				l = buildWith(t, x.mode, overlay.VXLAN, false)
			}
			l.third(t)
			l.web(t, func(s *proxy.Service) {
				s.Affinity = 3600
				s.Ports = append(s.Ports, proxy.Port{Name: "other", Protocol: "TCP", Port: 81})
			}, "a", "b", "c")
			first := l.sticks(t, "10.96.0.10:80", step.AffinityOpen)
			require.Equal(t, first, l.sticks(t, "10.96.0.10:80", step.AffinityKept))
			require.Equal(t, first, l.sticks(t, "10.96.0.10:80", step.AffinityKept))

			l.connect(t, "client", "tcp"+l.family(), l.addr("10.96.0.10:81").String()) // nobody followed that
			l.sticks(t, "10.96.0.10:81", step.AffinityKept)
			l.watchSticky(t)
		})
	}
}

// third is the pod c, a server as the others are.
func (l *lab) third(t *testing.T) {
	path, ips := l.Nodes[0].Pod(t, "default", "c")
	l.ns["c"], l.ip["c"] = path, ips[0]
	if l.six {
		l.ip["c"] = ips[1]
	}
	l.serve(t, path)
	require.NoError(t, l.tracer.Set(append(l.tracer.Spaces(), trace.Space{Name: "pod/default/c", Path: path, Node: "node-1", Pod: "default/c"})))
}

// sticks sends a packet to a Service, of which so much is known before, and tells
// to whom it went.
func (l *lab) sticks(t *testing.T, to, affinity string) string {
	t.Helper()
	w, c := l.follow(t, "pod/default/client", to, "tcp")
	p := l.predicted(t, c, w, step.AsPredicted)
	require.Equal(t, affinity, p.Affinity, trace.Lines(w.Hops))
	dst := l.stuck(t, p, w)
	require.False(t, slices.ContainsFunc(w.Hops, func(h step.Hop) bool { return h.Verdict == "unknown" }), trace.Lines(w.Hops))
	return dst
}

// stuck holds what is predicted of endpoints against the one that got the packet.
func (l *lab) stuck(t *testing.T, p trace.Prediction, w trace.Way) string {
	t.Helper()
	dst := ""
	for _, h := range w.Hops {
		if h.Leg == step.LegRequest {
			dst = h.Hdr.Dst
		}
	}
	if p.Affinity == step.AffinityKept {
		require.Empty(t, p.Among)
		return dst
	}
	require.Len(t, p.Among, 3)
	require.Contains(t, p.Among, dst)
	return dst
}

// watchSticky is the same of packets that somebody else sends while it is watched.
func (l *lab) watchSticky(t *testing.T) {
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	type told struct {
		p trace.Prediction
		w trace.Way
	}
	flows, done := make(chan told), make(chan error, 1)
	left := 3
	go func() {
		done <- l.tracer.Watch(ctx, "pod/default/client", func(w trace.Way, c *trace.Capture) error {
			if c.Ask.Proto == "udp" && c.Ask.To == l.addr("10.96.0.10:80") {
				flows <- told{l.tracer.Predict(c, w), w}
				left--
			}
			if left == 0 {
				return enough
			}
			return nil
		})
	}()
	require.Eventually(t, l.tracer.Watching, time.Minute, time.Millisecond)
	before := ""
	for n := range 3 {
		l.connect(t, "client", "udp"+l.family(), l.addr("10.96.0.10:80").String())
		var x told
		select {
		case x = <-flows:
		case <-ctx.Done():
			t.Fatal("a flow was not told of")
		}
		require.Equal(t, map[bool]string{true: step.AffinityOpen, false: step.AffinityKept}[n == 0], x.p.Affinity, trace.Lines(x.w.Hops))
		dst := l.stuck(t, x.p, x.w)
		require.True(t, n == 0 || dst == before, "%s, before %s", dst, before)
		before = dst
	}
	require.ErrorIs(t, <-done, enough)
}
