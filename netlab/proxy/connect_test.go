package proxy_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
)

// What a connection costs that goes to the last of a thousand Services, in each
// mode, against one that goes straight to the same endpoint: the floor.
func BenchmarkConnect(b *testing.B) {
	for _, v := range variants(b) {
		b.Run(v.name, func(b *testing.B) {
			ctx := context.Background()
			path := nettest.Namespace(b, "node")
			net := nettest.Open(b, path)
			nettest.Run(b, path, "ip addr add 10.244.9.9/32 dev lo && ip route add default dev lo")
			listenTCP(b, path, "10.244.9.9:8080", "web")
			p := &proxy.Proxy{Node: node, Net: net, Backends: v.backends(net)}
			if err := p.SetMode(ctx, v.mode); err != nil {
				b.Skip(err)
			}
			s := many(1000)
			s.Services = append(s.Services, service("zz-last", "10.99.0.9"))
			s.Slices = append(s.Slices, slice("zz-last", "node-1/10.244.9.9"))
			require.NoError(b, p.Sync(ctx, s))
			dial := netns.Dialer(path)
			connect := func(to string) {
				c, err := dial(ctx, "tcp4", to)
				require.NoError(b, err)
				require.NoError(b, c.Close())
			}
			const times = 500
			start := time.Now()
			for range times {
				connect("10.244.9.9:8080")
			}
			floor := time.Since(start) / times
			for b.Loop() {
				connect("10.99.0.9:80")
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "x-floor")
		})
	}
}
