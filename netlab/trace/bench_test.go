package trace_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/trace"
)

// BenchmarkHopList measures from the question to the list, over all paths in
// turn, and counts the lists that are not whole: other links or rules than the
// last time, or no answer. Three rounds are a thousand probes.
func BenchmarkHopList(b *testing.B) {
	l := build(b)
	l.surround(b)
	l.web(b, paths[7].service, "a")
	var list []path
	for _, p := range paths {
		if p.service == nil || p.name == "load balancer" {
			list = append(list, p)
		}
	}
	whole := make([]int, len(list))
	for i, p := range list {
		for range 2 { // the second time everybody knows everybody's MAC
			w, _ := l.follow(b, p.from, p.to, p.proto)
			require.Equal(b, "answered", w.Outcome, p.name)
			whole[i] = count(w)
		}
	}
	var took []time.Duration
	missing, n := 0, 0
	for b.Loop() {
		b.StopTimer()
		l.forgetConnections(b)
		b.StartTimer()
		for range 350 {
			p := list[n%len(list)]
			start := time.Now()
			w, _, err := l.tracer.Follow(context.Background(), trace.Ask{From: p.from, To: l.addr(p.to), Proto: p.proto})
			took = append(took, time.Since(start))
			require.NoError(b, err)
			if w.Outcome != "answered" || count(w) != whole[n%len(list)] || len(w.Notes) > 0 {
				missing++
			}
			n++
		}
	}
	b.ReportMetric(float64(n), "probes")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(missing), "incomplete")
}

// BenchmarkPredict is what the comparison adds to a list: a packet to a Service
// on another node, followed once.
func BenchmarkPredict(b *testing.B) {
	l := build(b)
	l.web(b, nil, "b")
	l.follow(b, "pod/default/client", "10.96.0.10:80", "tcp")
	w, c := l.follow(b, "pod/default/client", "10.96.0.10:80", "tcp")
	known := len(c.Answers)
	for b.Loop() {
		c.Answers = c.Answers[:known]
		require.Equal(b, step.AsPredicted, l.tracer.Predict(c, w).Verdict)
	}
}

// forgetConnections empties the tables of connections: a datagram from a port
// that an earlier one had belongs to the connection of that one, for which no
// rule of nat is asked again.
func (l *lab) forgetConnections(b *testing.B) {
	for _, n := range append(slices.Clone(l.nodes), nettest.Open(b, l.GatewayNS())) {
		require.NoError(b, n.ForgetFlows(context.Background(), func(link.Flow) bool { return true }))
	}
}

// count is how many links and rules a list has.
func count(w trace.Way) (n int) {
	for _, h := range w.Hops {
		if h.Layer == step.LayerLink || h.Layer == step.LayerRule {
			n++
		}
	}
	return n
}

// BenchmarkPingPong is what others pay: a byte there and back between pods of
// two nodes, while nobody looks, while the tracer is armed, and just after it
// has followed a packet, in turns, so that all have the same machine. The bar
// is about the ratio of the first two.
func BenchmarkPingPong(b *testing.B) {
	l := build(b)
	l.web(b, nil, "a", "b")
	echo, err := netns.Listen(context.Background(), l.ns["b"], "tcp4", ":7")
	require.NoError(b, err)
	defer echo.Close()
	go func() {
		if c, err := echo.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := netns.Dialer(l.ns["client"])(context.Background(), "tcp4", net.JoinHostPort(l.ip["b"].String(), "7"))
	require.NoError(b, err)
	defer c.Close()
	states := []func() error{l.tracer.Disarm, l.tracer.Arm, func() error {
		_, _, err := l.tracer.Follow(context.Background(), trace.Ask{From: "pod/default/client", To: netip.AddrPortFrom(l.ip["b"], 7), Proto: "tcp"})
		return err
	}}
	took := make([][]time.Duration, len(states))
	buf := make([]byte, 1)
	for b.Loop() {
		for state, begin := range states {
			require.NoError(b, begin())
			for i := range 2200 {
				start := time.Now()
				_, err := c.Write(buf)
				require.NoError(b, err)
				_, err = io.ReadFull(c, buf)
				require.NoError(b, err)
				if i >= 200 {
					took[state] = append(took[state], time.Since(start))
				}
			}
		}
	}
	var median [3]float64
	for i, list := range took {
		slices.Sort(list)
		median[i] = float64(list[len(list)/2].Nanoseconds())
	}
	b.ReportMetric(median[0]/1000, "disarmed-µs")
	b.ReportMetric(median[1]/1000, "armed-µs")
	b.ReportMetric(median[1]/median[0], "ratio")
	b.ReportMetric(median[2]/median[0], "after-probe-ratio")
}
