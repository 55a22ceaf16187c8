package overlay

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/klab-project/klab/netlab/link"
)

// Gateway is the backend host-gw: other nodes are the gateways to their pods.
// There is one route for each, via its address in the underlay, and nothing
// around the packets. All nodes must be neighbours on one link. It is of the
// family of its IP.
type Gateway struct {
	Dev     string       // the uplink: eth0
	IP      netip.Addr   // of the uplink
	Network netip.Prefix // of all pods: routes to elsewhere are not the backend's
}

func (g Gateway) dev() string { return cmp.Or(g.Dev, "eth0") }

func (g Gateway) Type() string { return HostGW }

func (g Gateway) Six() bool { return g.IP.Is6() }

// Data is null: the node's address says it all.
func (g Gateway) Data() string { return "null" }

// Up does nothing: the uplink is there.
func (g Gateway) Up(context.Context, *link.Net) error { return nil }

func (g Gateway) Present(n *link.Net) (bool, error) {
	have, err := g.routes(n)
	return len(have) > 0, err
}

// routes are those that are the backend's.
func (g Gateway) routes(n *link.Net) ([]link.Route, error) {
	return podRoutes(n, g.dev(), g.Network, "")
}

// podRoutes lists the routes through dev to subnets of network that have a
// gateway and were made by proto.
func podRoutes(n *link.Net, dev string, network netip.Prefix, proto string) ([]link.Route, error) {
	all, err := n.Routes(dev)
	return slices.DeleteFunc(all, func(r link.Route) bool {
		return r.Proto != proto || !r.Via.IsValid() || r.Onlink || r.Dst.Bits() < network.Bits() || !network.Contains(r.Dst.Addr())
	}), err
}

func (g Gateway) Plan(n *link.Net, want []Peer) (Plan, error) {
	have, err := g.routes(n)
	if err != nil {
		return Plan{}, err
	}
	return g.Diff(have, want), nil
}

// Diff compares the routes that there are with those that are wanted.
func (g Gateway) Diff(have []link.Route, want []Peer) (plan Plan) {
	wanted := map[netip.Prefix]bool{}
	for _, p := range want {
		if p.IP == g.IP || !p.in(g.IP) {
			continue
		}
		wanted[p.Subnet.Masked()] = true
		if !slices.Contains(have, g.route(p)) {
			plan.Add = append(plan.Add, p) // it replaces one via another gateway
		}
	}
	for _, r := range have {
		if !wanted[r.Dst] {
			plan.Remove = append(plan.Remove, Peer{IP: r.Via, Subnet: r.Dst})
		}
	}
	return plan
}

func (g Gateway) route(p Peer) link.Route {
	return link.Route{Dst: p.Subnet.Masked(), Via: p.IP, Dev: g.dev()}
}

func (g Gateway) Add(ctx context.Context, n *link.Net, p Peer) error {
	if err := n.Route(ctx, g.route(p)); err != nil {
		return fmt.Errorf("overlay to node %s: %w", p.Node, err)
	}
	return nil
}

// Remove removes the route to a peer, unless it is somebody else's by now.
func (g Gateway) Remove(ctx context.Context, n *link.Net, p Peer) error {
	have, err := g.routes(n)
	if err == nil && slices.Contains(have, g.route(p)) {
		err = n.DelRoute(ctx, g.route(p))
	}
	if err != nil {
		return fmt.Errorf("overlay to node %s: %w", p.Node, err)
	}
	return nil
}

func (g Gateway) Down(ctx context.Context, n *link.Net) error {
	return dropRoutes(ctx, n, g.dev(), g.Network, "")
}

func dropRoutes(ctx context.Context, n *link.Net, dev string, network netip.Prefix, proto string) error {
	have, err := podRoutes(n, dev, network, proto)
	for _, r := range have {
		if err == nil {
			err = n.DelRoute(ctx, r)
		}
	}
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return nil
}
