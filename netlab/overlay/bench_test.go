package overlay_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
)

// BenchmarkRTT sends one byte by UDP between pods of two nodes and back, 500
// times, by each backend; the floor is a pair of links between two namespaces.
func BenchmarkRTT(b *testing.B) {
	ctx := context.Background()
	near, far := nettest.Namespace(b, "near"), nettest.Namespace(b, "far")
	nettest.Run(b, near, "ip link add v0 type veth peer name v1 netns "+far+"; ip addr add 10.9.0.1/24 dev v0; ip link set v0 up")
	nettest.Run(b, far, "ip addr add 10.9.0.2/24 dev v1; ip link set v1 up")
	floor := 0.0
	b.Run("floor", func(b *testing.B) {
		floor = pingPong(b, spot{near, netip.MustParseAddr("10.9.0.1"), netip.Addr{}}, spot{far, netip.MustParseAddr("10.9.0.2"), netip.Addr{}})
	})
	c := build(b, ctx, 2)
	var pods []spot
	for _, kind := range overlay.Types {
		c.use(b, kind)
		if pods == nil {
			pods = spots(b, c.nodes...)
		}
		b.Run(kind, func(b *testing.B) {
			if took := pingPong(b, pods[0], pods[1]); floor > 0 {
				b.ReportMetric(took/floor, "x-floor")
			}
		})
	}
}

// pingPong returns the nanoseconds of one round.
func pingPong(b *testing.B, from, to spot) float64 {
	ctx := context.Background()
	far, err := netns.ListenPacket(ctx, to.path, "udp4", netip.AddrPortFrom(to.ip, 0).String())
	require.NoError(b, err)
	defer far.Close()
	go func() {
		buf := make([]byte, 16)
		for {
			n, from, err := far.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = far.WriteTo(buf[:n], from)
		}
	}()
	near, err := netns.ListenPacket(ctx, from.path, "udp4", netip.AddrPortFrom(from.ip, 0).String())
	require.NoError(b, err)
	defer near.Close()
	round := func(addr net.Addr) {
		_ = near.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, err := near.WriteTo([]byte{1}, addr)
		require.NoError(b, err)
		_, _, err = near.ReadFrom(make([]byte, 16))
		require.NoError(b, err)
	}
	round(far.LocalAddr()) // addresses are resolved
	b.ResetTimer()
	const rounds = 500
	for range b.N {
		for range rounds {
			round(far.LocalAddr())
		}
	}
	b.StopTimer()
	took := float64(b.Elapsed().Nanoseconds()) / float64(b.N*rounds)
	b.ReportMetric(took, "ns/round")
	return took
}

// BenchmarkSwitch changes the backend of 3 nodes with 30 pods each until all
// nodes lead to all others by the new one and nothing is left of the old one.
func BenchmarkSwitch(b *testing.B) {
	c := build(b, context.Background(), 3)
	c.use(b, overlay.VXLAN)
	for _, n := range c.nodes {
		for i := range 30 {
			n.pod(b, fmt.Sprint("p", i, "-", n.Name))
		}
	}
	for _, kind := range []string{overlay.HostGW, overlay.UDP, overlay.BGP, overlay.VXLAN} {
		b.Run("to-"+kind, func(b *testing.B) {
			worst := time.Duration(0)
			for range b.N {
				b.StopTimer()
				if c.nodes[0].lease.BackendType == kind {
					c.use(b, overlay.Types[(indexOf(kind)+1)%len(overlay.Types)])
				}
				b.StartTimer()
				start := time.Now()
				c.use(b, kind)
				worst = max(worst, time.Since(start))
			}
			b.ReportMetric(worst.Seconds(), "worst-s")
		})
	}
}

func indexOf(kind string) int {
	for i, k := range overlay.Types {
		if k == kind {
			return i
		}
	}
	return 0
}
