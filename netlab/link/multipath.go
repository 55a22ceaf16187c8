package link

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Paths is a route to a destination by several neighbours, among which the
// kernel spreads flows. Without any the destination is unreachable, and who
// sends there is told so.
type Paths struct {
	Dst netip.Prefix
	Dev string
	Via []netip.Addr
}

func (p Paths) words() []string {
	words := append(ip(p.Dst.Addr()), "route", "replace")
	if len(p.Via) == 0 {
		return append(words, "unreachable", p.Dst.String())
	}
	words = append(words, p.Dst.String())
	for _, via := range p.Via {
		words = append(words, "nexthop", "via", via.String(), "dev", p.Dev)
	}
	return words
}

// Spread makes p the route to its destination.
func (n *Net) Spread(ctx context.Context, p Paths) error {
	return n.run(ctx, func() error {
		r, err := n.paths(p)
		if err != nil {
			return err
		}
		have, err := n.pathsTo(p.Dst)
		if err != nil {
			return err
		}
		if len(have) == 1 && same(have[0], r) {
			return errUnchanged
		}
		for _, h := range have { // one of another type would stay beside it
			if h.Type != r.Type {
				if err := n.nl.RouteDel(&h); err != nil {
					return err
				}
			}
		}
		return n.nl.RouteReplace(r)
	}, p.words()...)
}

// Unspread removes whatever route there is to exactly dst.
func (n *Net) Unspread(ctx context.Context, dst netip.Prefix) error {
	return n.run(ctx, func() error {
		have, err := n.pathsTo(dst)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return errUnchanged
		}
		for _, h := range have {
			if err := unless(n.nl.RouteDel(&h), unix.ESRCH); err != nil && err != errUnchanged { //nolint:errorlint // it is ours
				return err
			}
		}
		return nil
	}, append(ip(dst.Addr()), "route", "del", dst.String())...)
}

func (n *Net) paths(p Paths) (*netlink.Route, error) {
	r := &netlink.Route{Dst: ipnet(p.Dst), Type: unix.RTN_UNREACHABLE}
	if len(p.Via) == 0 {
		return r, nil
	}
	l, err := n.byName(p.Dev)
	if err != nil {
		return nil, err
	}
	r.Type = unix.RTN_UNICAST
	for _, via := range p.Via {
		r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: l.Attrs().Index, Gw: via.AsSlice()})
	}
	return r, nil
}

// SpreadTo lists the destinations within net that have a route of their own.
func (n *Net) SpreadTo(net netip.Prefix) (list []netip.Prefix, err error) {
	all, err := n.mainRoutes(family(net.Addr()))
	for _, r := range all {
		if dst := prefix(r.Dst); r.Dst != nil && dst != net && net.Contains(dst.Addr()) && dst.Bits() >= net.Bits() {
			list = append(list, dst)
		}
	}
	return list, err
}

func (n *Net) pathsTo(dst netip.Prefix) ([]netlink.Route, error) {
	all, err := n.mainRoutes(family(dst.Addr()))
	return slices.DeleteFunc(all, func(r netlink.Route) bool { return r.Dst == nil || prefix(r.Dst) != dst }), err
}

func (n *Net) mainRoutes(family int) ([]netlink.Route, error) {
	list, err := dump(func() ([]netlink.Route, error) {
		return n.nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return list, nil
}

func same(have netlink.Route, want *netlink.Route) bool {
	var via []netip.Addr
	for _, hop := range have.MultiPath {
		via = append(via, addr(hop.Gw))
	}
	if len(have.MultiPath) == 0 && len(have.Gw) > 0 { // one neighbour is no list
		via = append(via, addr(have.Gw))
	}
	var wanted []netip.Addr
	for _, hop := range want.MultiPath {
		wanted = append(wanted, addr(hop.Gw))
	}
	return have.Type == want.Type && slices.Equal(via, wanted)
}
