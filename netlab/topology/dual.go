package topology

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// The networks of IPv6 of a lab that has both families.
var (
	Underlay6 = netip.MustParsePrefix("fd00:172:30::/64")
	Outside6  = netip.MustParsePrefix("2001:db8:192::/64")
	Pods6     = netip.MustParsePrefix("fd00:10:244::/48")
)

// host6 is address i of a network.
func host6(p netip.Prefix, i int) netip.Addr {
	b := p.Addr().As16()
	binary.BigEndian.PutUint16(b[14:], uint16(i))
	return netip.AddrFrom16(b)
}

// subnet6 is subnet n of 64 bits of a network of 48.
func subnet6(p netip.Prefix, n int) netip.Prefix {
	b := p.Addr().As16()
	binary.BigEndian.PutUint16(b[6:], uint16(n))
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// Addrs6 are the addresses of IPv6 that follow from a node's number: its own,
// and its pods'.
func Addrs6(n int) (netip.Addr, netip.Prefix) {
	return host6(Underlay6, 10+n), subnet6(Pods6, n)
}

// ClientIP6 is the address of IPv6 of the client outside; not valid in a lab of
// IPv4 only.
func (l *Lab) ClientIP6() netip.Addr {
	if !l.DualStack {
		return netip.Addr{}
	}
	return host6(Outside6, 10)
}

// Gateway6 is the nodes' way to everywhere.
func Gateway6() netip.Addr { return host6(Underlay6, 1) }

// Control6 is the control plane's address of IPv6.
func Control6() netip.Addr { return host6(Underlay6, 2) }

// speak lets a namespace speak IPv6 without a word that nobody asked for: no
// search for other owners of an address, and no advertisements of routers.
func speak(ctx context.Context, n *link.Net) error {
	for _, of := range []string{"default", "all"} {
		err := n.Sysctl(ctx,
			link.Sysctl{Key: "net.ipv6.conf." + of + ".disable_ipv6", Value: "0"},
			link.Sysctl{Key: "net.ipv6.conf." + of + ".accept_ra", Value: "0"},
			link.Sysctl{Key: "net.ipv6.conf." + of + ".accept_dad", Value: "0"},
			link.Sysctl{Key: "net.ipv6.conf." + of + ".router_solicitations", Value: "0"})
		if errors.Is(err, link.ErrNoSysctl) {
			return errors.New("this kernel has no IPv6: build the lab without DualStack")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// build6 gives what build made its addresses and routes of IPv6.
func (l *Lab) build6(ctx context.Context, gateway, control, outside *link.Net) error {
	if !l.DualStack {
		return nil
	}
	on := func(n *link.Net, dev string, p netip.Prefix, i int) error {
		return n.Addr(ctx, dev, in(p, host6(p, i)))
	}
	return errors.Join(
		on(gateway, "eth0", Underlay6, 1), on(control, "eth0", Underlay6, 2),
		on(gateway, "eth1", Outside6, 1), on(outside, "eth0", Outside6, 10),
		gateway.Sysctl(ctx, link.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "1"}),
		control.Route(ctx, defaultVia(Gateway6())),
		outside.Route(ctx, defaultVia(host6(Outside6, 1))))
}

// addNode6 does for IPv6 what addNode does.
func (l *Lab) addNode6(ctx context.Context, node *link.Net, addrs NodeAddrs) error {
	if !l.DualStack {
		return nil
	}
	err := errors.Join(
		node.Addr(ctx, "eth0", in(Underlay6, addrs.IP6)),
		node.Route(ctx, defaultVia(Gateway6())),
		node.Sysctl(ctx, link.Sysctl{Key: "net.ipv6.conf.all.forwarding", Value: "1"}))
	if err != nil {
		return err
	}
	err = node.Sysctl(ctx, link.Sysctl{Key: bridgeRules6, Value: "1"})
	if err != nil && !errors.Is(err, link.ErrNoSysctl) { // Missing says so
		return err
	}
	if l.tool == nil {
		return nil
	}
	tool, err := l.tool.IPv6(ctx)
	if err != nil {
		return err
	}
	return tool.Apply(ctx, node, firewall.Node(addrs.Pods6, Pods6, l.VXLANPort))
}
