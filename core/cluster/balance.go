package cluster

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/netlab/balancer"
	"github.com/klab-project/klab/netlab/link"
)

// balancerActor is the load balancer in front of the lab: its gateway.
const balancerActor = "load-balancer"

// Where Services of type LoadBalancer get their addresses: TEST-NET-2 of RFC
// 5737, and a part of what RFC 3849 has for documentation.
var (
	balancerPool  = netip.MustParsePrefix("198.51.100.0/24")
	balancerPool6 = netip.MustParsePrefix("2001:db8:198::/112")
)

func (c Config) balancerPools() []netip.Prefix {
	if c.DualStack {
		return []netip.Prefix{balancerPool, balancerPool6}
	}
	return []netip.Prefix{balancerPool}
}

// newBalancer starts the load balancer; it ends with ctx, and its routes stay.
func (d *daemon) newBalancer(ctx context.Context) (*controller.LoadBalancer, error) {
	gateway, err := link.Open(d.net.GatewayNS(), link.By{Actor: balancerActor, Node: "gateway"})
	if err != nil {
		return nil, err
	}
	router := balancer.Router{Net: gateway, Dev: "eth0", Pools: d.cfg.balancerPools()}
	if err := router.Prepare(ctx); err != nil {
		gateway.Close()
		return nil, err
	}
	b := balancer.New(balancer.Steps(router, balancerActor), d.net.GatewayNS())
	d.work.Go(func() {
		defer gateway.Close()
		b.Run(ctx, func(err error) { slog.Error("load balancer", "err", err) })
	})
	return &controller.LoadBalancer{
		Pools: d.cfg.balancerPools(), ProxyHealthPort: proxyHealthPort,
		Balance: func(list []controller.Balanced, nodes []controller.BalancedNode) {
			var frontends []balancer.Frontend
			for _, x := range list {
				frontends = append(frontends, balancer.Frontend{Namespace: x.Namespace, Name: x.Name, Addr: x.Addr, Check: x.HealthPort})
			}
			var to []balancer.Node
			for _, n := range nodes {
				to = append(to, balancer.Node(n))
			}
			b.Set(frontends, to)
		},
	}, nil
}
