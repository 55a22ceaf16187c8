package proxy_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
)

// many is a State of n Services with three endpoints each.
func many(n int) (s proxy.State) {
	for i := range n {
		name, low := fmt.Sprintf("svc-%04d", i), byte(i%250)
		s.Services = append(s.Services, service(name, netip.AddrFrom4([4]byte{10, 96, byte(1 + i/250), low}).String()))
		var places []string
		for node := range 3 {
			places = append(places, fmt.Sprintf("node-%d/%s", node+1, netip.AddrFrom4([4]byte{10, 244, byte(node + 1), 1 + low})))
		}
		s.Slices = append(s.Slices, slice(name, places...))
	}
	return s
}

// A Service is made, and the node's first packet to it is answered: with ten
// and with a thousand other Services, on each backend.
func BenchmarkServiceToFirstPacket(b *testing.B) {
	for _, v := range variants(b) {
		for _, n := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/%d", v.name, n), func(b *testing.B) {
				ctx := context.Background()
				path := nettest.Namespace(b, "node")
				net := nettest.Open(b, path)
				nettest.Run(b, path, "ip addr add 10.244.9.9/32 dev lo && ip route add default dev lo")
				listenTCP(b, path, "10.244.9.9:8080", "web")
				p := &proxy.Proxy{Node: node, Net: net, Backends: v.backends(net)}
				if err := p.SetMode(ctx, v.mode); err != nil {
					b.Skip(err)
				}
				base := many(n)
				require.NoError(b, p.Sync(ctx, base))
				i := 0
				for b.Loop() {
					s := base
					ip := netip.AddrFrom4([4]byte{10, 97, byte(i / 250), byte(i % 250)})
					s.Services = append(s.Services[:n:n], service("new", ip.String()))
					s.Slices = append(s.Slices[:n:n], slice("new", "node-1/10.244.9.9"))
					require.NoError(b, p.Sync(ctx, s))
					answer, err := ask(path, ip.String()+":80")
					require.NoError(b, err)
					require.Equal(b, "web", answer.name)
					i++
				}
			})
		}
	}
}

// A thousand Services, of which one has changed: all rules written anew, and
// those that are known taken as they are.
func BenchmarkRules(b *testing.B) {
	one, two := many(1000), many(1000)
	two.Services[500].Affinity = 10
	for name, rules := range map[string]func(proxy.Node, proxy.State) firewall.Rules{"anew": proxy.Rules, "known": new(proxy.Memory).Rules} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				rules(node, one).Changes(rules(node, two))
			}
		})
	}
}
