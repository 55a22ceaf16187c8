package proxy_test

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
)

// What a connection costs on a node with a thousand Services, in each mode: one
// to the last of them, and one that goes past their rules straight to the
// endpoint. Both against the floor: the same connection on a node that has no
// rules at all. The three take turns, and what counts is the median.
func BenchmarkConnect(b *testing.B) {
	const endpoint, last = "10.244.9.9:8080", "10.99.0.9:80"
	for _, v := range variants(b) {
		b.Run(v.name, func(b *testing.B) {
			ctx := context.Background()
			bare, path := nettest.Namespace(b, "bare"), nettest.Namespace(b, "node")
			for _, ns := range []string{bare, path} {
				nettest.Run(b, ns, "ip addr add 10.244.9.9/32 dev lo && ip route add default dev lo")
				listenTCP(b, ns, endpoint, "web")
			}
			net := nettest.Open(b, path)
			p := &proxy.Proxy{Node: node, Net: net, Backends: v.backends(net)}
			if err := p.SetMode(ctx, v.mode); err != nil {
				b.Skip(err)
			}
			s := many(1000)
			s.Services = append(s.Services, service("zz-last", "10.99.0.9"))
			s.Slices = append(s.Slices, slice("zz-last", "node-1/10.244.9.9"))
			require.NoError(b, p.Sync(ctx, s))
			var floor, past, to []time.Duration
			turn := func() {
				floor = append(floor, connects(b, bare, endpoint)...)
				past = append(past, connects(b, path, endpoint)...)
				to = append(to, connects(b, path, last)...)
			}
			for range 10 {
				turn()
			}
			floor, past, to = nil, nil, nil // that was to warm up
			for b.Loop() {
				for range 10 {
					turn()
				}
			}
			least := float64(middle(floor))
			b.ReportMetric(least, "floor-ns")
			b.ReportMetric(float64(middle(past))/least, "x-floor-past")
			b.ReportMetric(float64(middle(to))/least, "x-floor-service")
		})
	}
}

// connects opens some connections, one after the other, and tells how long each
// took to be there.
func connects(b *testing.B, path, to string) (list []time.Duration) {
	require.NoError(b, netns.Do(path, func() error {
		for range 20 {
			start := time.Now()
			c, err := net.Dial("tcp4", to)
			if err != nil {
				return err
			}
			list = append(list, time.Since(start))
			_ = c.(*net.TCPConn).SetLinger(0) // none is left to be waited for
			c.Close()
		}
		return nil
	}))
	return list
}

func middle(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
