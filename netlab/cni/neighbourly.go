package cni

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/link"
)

// bridgeBeside is the bridge of pods that were attached by the plugin bridge:
// they take the whole subnet of the node for one wire.
const bridgeBeside = "cni0"

// Neighbourly lets pods that are attached to a bridge reach those of the same
// node that are routed: on the bridge the node answers for the latter. Nothing
// is done where there is no bridge.
func Neighbourly(ctx context.Context, node *link.Net) error {
	there, err := answers(ctx, node)
	if err != nil || !there {
		return err
	}
	had, err := node.Proxies(bridgeBeside) // before the routes: who is listed has one
	if err != nil {
		return err
	}
	routed, err := routed6(node)
	if err != nil {
		return err
	}
	for _, ip := range routed {
		if err := answersFor(ctx, node, ip); err != nil {
			return err
		}
	}
	for _, ip := range had {
		if !slices.Contains(routed, ip) {
			if err := node.DelProxy(ctx, bridgeBeside, ip); err != nil {
				return err
			}
		}
	}
	return nil
}

// besideRouted is Neighbourly for a bridge that is new, if pods are routed here.
func besideRouted(ctx context.Context, node *link.Net, bridge string) error {
	if bridge != bridgeBeside {
		return nil
	}
	links, err := node.Links()
	if err == nil && slices.ContainsFunc(links, func(l link.Link) bool { return strings.HasPrefix(l.Name, "cali") }) {
		err = Neighbourly(ctx, node)
	}
	return err
}

// answers lets the node answer on the bridge for what is routed elsewhere: of
// IPv4 for everything; there is false if there is no bridge.
func answers(ctx context.Context, node *link.Net) (there bool, err error) {
	_, there, err = node.Link(bridgeBeside)
	if err != nil || !there {
		return false, err
	}
	return true, node.Sysctl(ctx,
		link.Sysctl{Key: "net.ipv4.conf." + bridgeBeside + ".proxy_arp", Value: "1"},
		link.Sysctl{Key: "net.ipv4.neigh." + bridgeBeside + ".proxy_delay", Value: "0"})
}

// answersFor lets the node answer on the bridge for one address of IPv6.
func answersFor(ctx context.Context, node *link.Net, ip netip.Addr) error {
	err := node.Sysctl(ctx,
		link.Sysctl{Key: "net.ipv6.conf." + bridgeBeside + ".proxy_ndp", Value: "1"},
		link.Sysctl{Key: "net.ipv6.neigh." + bridgeBeside + ".proxy_delay", Value: "0"})
	if err != nil {
		return err
	}
	return node.Proxy(ctx, bridgeBeside, ip)
}

// routed6 are the addresses of IPv6 of the node's routed pods.
func routed6(node *link.Net) (list []netip.Addr, err error) {
	links, err := node.Links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if !strings.HasPrefix(l.Name, "cali") {
			continue
		}
		routes, err := node.Routes(l.Name)
		if err != nil {
			if _, there, _ := node.Link(l.Name); !there {
				continue // it has just gone
			}
			return nil, err
		}
		for _, r := range routes {
			if r.Dst.Addr().Is6() && r.Dst.IsSingleIP() {
				list = append(list, r.Dst.Addr())
			}
		}
	}
	return list, nil
}
