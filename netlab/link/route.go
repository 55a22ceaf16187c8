package link

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is a way to a destination: through Dev, and Via if it is set.
type Route struct {
	Dst    netip.Prefix // 0.0.0.0/0 and ::/0 are the default routes
	Via    netip.Addr
	Dev    string
	Onlink bool // Via is reached through Dev even if no route says so
	// Proto says who made the route, as ip(8) names it: "bgp", "bird", "static".
	// Empty is "boot", what ip(8) itself makes.
	Proto string
}

// protocols are the origins of routes that have a name here. (rtnetlink(7))
var protocols = map[netlink.RouteProtocol]string{
	unix.RTPROT_BOOT: "", unix.RTPROT_STATIC: "static", unix.RTPROT_BIRD: "bird", unix.RTPROT_BGP: "bgp",
}

func protocolName(p netlink.RouteProtocol) string {
	if name, ok := protocols[p]; ok {
		return name
	}
	return strconv.Itoa(int(p))
}

func protocolOf(name string) (netlink.RouteProtocol, error) {
	for p, known := range protocols {
		if known == name {
			return p, nil
		}
	}
	n, err := strconv.ParseUint(name, 10, 8)
	return netlink.RouteProtocol(n), err
}

func (r Route) words(verb string) []string {
	dst := r.Dst.String()
	if r.Dst.Bits() == 0 {
		dst = "default"
	}
	words := append(ip(r.Dst.Addr()), "route", verb, dst)
	if r.Via.IsValid() {
		words = append(words, "via", r.Via.String())
	}
	words = append(words, "dev", r.Dev)
	if r.Onlink {
		words = append(words, "onlink")
	}
	if r.Proto != "" {
		words = append(words, "proto", r.Proto)
	}
	return words
}

// ip is the command for a family of addresses.
func ip(a netip.Addr) []string {
	if a.Is6() {
		return []string{"ip", "-6"}
	}
	return []string{"ip"}
}

func family(a netip.Addr) int {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// Route makes r the route to its destination.
func (n *Net) Route(ctx context.Context, r Route) error {
	return n.run(ctx, func() error {
		have, err := n.Routes(r.Dev)
		if err != nil {
			return err
		}
		for _, h := range have {
			if h == r {
				return errUnchanged
			}
		}
		k, err := n.route(r)
		if err != nil {
			return err
		}
		return n.nl.RouteReplace(k)
	}, r.words("replace")...)
}

// DelRoute removes the route r, if it is there; if r.Proto is empty, whoever
// made it.
func (n *Net) DelRoute(ctx context.Context, r Route) error {
	return n.run(ctx, func() error {
		k, err := n.route(r)
		if notFound(err) {
			return errUnchanged
		}
		if err != nil {
			return err
		}
		return unless(n.nl.RouteDel(k), unix.ESRCH)
	}, r.words("del")...)
}

func (n *Net) route(r Route) (*netlink.Route, error) {
	l, err := n.byName(r.Dev)
	if err != nil {
		return nil, err
	}
	k := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipnet(r.Dst), Scope: unix.RT_SCOPE_LINK}
	if r.Via.IsValid() {
		k.Gw, k.Scope = r.Via.AsSlice(), unix.RT_SCOPE_UNIVERSE
	}
	if r.Onlink {
		k.Flags = unix.RTNH_F_ONLINK
	}
	if r.Proto != "" {
		k.Protocol, err = protocolOf(r.Proto)
	}
	return k, err
}

// Routes lists the routes of the main table through dev, without those
// that the kernel makes for the addresses of a link.
func (n *Net) Routes(dev string) ([]Route, error) {
	l, err := n.byName(dev)
	if err != nil {
		return nil, err
	}
	return n.RoutesOf([]Link{{Index: l.Attrs().Index, Name: dev}})
}

// RoutesOf lists the routes through several links at once, link by link. Those
// of a link that has gone meanwhile are not among them.
func (n *Net) RoutesOf(links []Link) (routes []Route, err error) {
	list, err := dump(func() ([]netlink.Route, error) { return n.nl.RouteList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, l := range links {
		for _, k := range list {
			if k.LinkIndex == l.Index && k.Protocol != unix.RTPROT_KERNEL {
				routes = append(routes, seenRoute(k, l.Name))
			}
		}
	}
	return routes, nil
}

func seenRoute(k netlink.Route, dev string) Route {
	r := Route{Dst: prefix(k.Dst), Via: addr(k.Gw), Dev: dev, Onlink: k.Flags&unix.RTNH_F_ONLINK != 0,
		Proto: protocolName(k.Protocol)}
	if k.Dst == nil {
		r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if k.Family == unix.AF_INET6 {
			r.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	return r
}

// Neigh says which MAC an address has on a link: an entry of ARP or NDP that never ages.
type Neigh struct {
	IP  netip.Addr
	MAC string
	Dev string
}

// Neigh sets a permanent neighbour entry, whatever was there.
func (n *Net) Neigh(ctx context.Context, e Neigh) error {
	have, err := n.Neighs(e.Dev)
	return n.run(ctx, func() error {
		return n.entry(err, contains(have, e), e.MAC, e.Dev, n.nl.NeighSet,
			netlink.Neigh{Family: family(e.IP), IP: e.IP.AsSlice(), Type: unix.RTN_UNICAST})
	}, append(ip(e.IP), "neigh", "replace", e.IP.String(), "lladdr", e.MAC, "dev", e.Dev, "nud", "permanent")...)
}

// DelNeigh removes a neighbour entry.
func (n *Net) DelNeigh(ctx context.Context, e Neigh) error {
	return n.run(ctx, func() error {
		return absent(n.entry(nil, false, e.MAC, e.Dev, n.nl.NeighDel,
			netlink.Neigh{Family: family(e.IP), IP: e.IP.AsSlice()}))
	}, append(ip(e.IP), "neigh", "del", e.IP.String(), "dev", e.Dev)...)
}

// Neighs lists the permanent neighbour entries of a link.
func (n *Net) Neighs(dev string) ([]Neigh, error) {
	var list []Neigh
	err := n.entries(dev, unix.AF_UNSPEC, func(k netlink.Neigh) {
		list = append(list, Neigh{IP: addr(k.IP), MAC: k.HardwareAddr.String(), Dev: dev})
	})
	return list, err
}

// FDB says behind which remote endpoint a MAC lives: a forwarding entry of a
// VXLAN device.
type FDB struct {
	MAC string
	Dst netip.Addr
	Dev string
}

// FDB sets a permanent forwarding entry, whatever was there.
func (n *Net) FDB(ctx context.Context, e FDB) error {
	have, err := n.FDBs(e.Dev)
	return n.run(ctx, func() error {
		return n.entry(err, contains(have, e), e.MAC, e.Dev, n.nl.NeighSet,
			netlink.Neigh{Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: e.Dst.AsSlice()})
	}, "bridge", "fdb", "replace", e.MAC, "dev", e.Dev, "dst", e.Dst.String(), "self", "permanent")
}

// DelFDB removes a forwarding entry.
func (n *Net) DelFDB(ctx context.Context, e FDB) error {
	return n.run(ctx, func() error {
		return absent(n.entry(nil, false, e.MAC, e.Dev, n.nl.NeighDel,
			netlink.Neigh{Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: e.Dst.AsSlice()}))
	}, "bridge", "fdb", "del", e.MAC, "dev", e.Dev, "dst", e.Dst.String(), "self")
}

// FDBs lists the permanent forwarding entries of a VXLAN device.
func (n *Net) FDBs(dev string) ([]FDB, error) {
	var list []FDB
	err := n.entries(dev, unix.AF_BRIDGE, func(k netlink.Neigh) {
		if k.IP != nil {
			list = append(list, FDB{MAC: k.HardwareAddr.String(), Dst: addr(k.IP), Dev: dev})
		}
	})
	return list, err
}

// entry sets or deletes one entry of the neighbour or forwarding table.
func (n *Net) entry(failed error, same bool, mac, dev string, do func(*netlink.Neigh) error, k netlink.Neigh) error {
	if failed != nil {
		return failed
	}
	if same {
		return errUnchanged
	}
	l, err := n.byName(dev)
	if err != nil {
		return err
	}
	if k.HardwareAddr, err = net.ParseMAC(mac); err != nil {
		return err
	}
	k.LinkIndex, k.State = l.Attrs().Index, netlink.NUD_PERMANENT
	return unless(do(&k), unix.ENOENT)
}

// absent is for deletions: nothing is left on a link that is gone.
func absent(err error) error {
	if notFound(err) {
		return errUnchanged
	}
	return err
}

func (n *Net) entries(dev string, family int, each func(netlink.Neigh)) error {
	l, err := n.byName(dev)
	if err != nil {
		return err
	}
	list, err := dump(func() ([]netlink.Neigh, error) { return n.nl.NeighList(l.Attrs().Index, family) })
	if err != nil {
		return fmt.Errorf("list neighbours of %s: %w", dev, err)
	}
	for _, k := range list {
		if k.State&netlink.NUD_PERMANENT != 0 {
			each(k)
		}
	}
	return nil
}

func contains[T comparable](list []T, x T) bool {
	for _, y := range list {
		if x == y {
			return true
		}
	}
	return false
}
