package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
)

// route is where packets to a subnet are led: Key is its prefix, To a way:
// "blackhole", "none", or "via ADDRESS dev LINK".
type route struct{}

// way is a route of the main table as the kernel has it.
type way struct {
	Type     int    `json:"type"`
	Via      string `json:"via,omitempty"`
	Dev      string `json:"dev,omitempty"`
	Src      string `json:"src,omitempty"`
	Onlink   bool   `json:"onlink,omitempty"`
	Scope    int    `json:"scope,omitempty"`
	Protocol int    `json:"protocol,omitempty"`
	Priority int    `json:"priority,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
}

func (route) Read(ctx context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	have, err := ways(ctx, n, c.Key)
	if err != nil {
		return nil, err
	}
	if made(c, have) {
		return nil, errThere("the way to " + c.Key + " is " + c.To)
	}
	if c.To == wayNone && len(have) == 0 {
		return nil, errThere("there is no way to " + c.Key)
	}
	return json.Marshal(have)
}

const (
	wayBlackhole = "blackhole"
	wayNone      = "none"
)

func (route) Apply(ctx context.Context, n *link.Net, c Change) error {
	have, err := ways(ctx, n, c.Key)
	if err != nil || made(c, have) {
		return err
	}
	if c.To == wayNone {
		return drop(ctx, n, c.Key, have)
	}
	if err := clear6(ctx, n, c.Key, have); err != nil {
		return err
	}
	return put(ctx, n, c.Key, wanted(c))
}

// clear6 takes away routes of IPv6 that are to be replaced: there, only one of
// the same kind is.
func clear6(ctx context.Context, n *link.Net, dst string, have []way) error {
	if !strings.Contains(dst, ":") {
		return nil
	}
	return drop(ctx, n, dst, have)
}

func (route) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[[]way](c)
	if err != nil {
		return err
	}
	have, err := ways(ctx, n, c.Key)
	if err != nil || !made(c, have) {
		return err
	}
	if len(before) == 0 {
		return drop(ctx, n, c.Key, have)
	}
	errs := []error{clear6(ctx, n, c.Key, have)}
	for _, w := range before {
		if _, ok, err := n.Link(w.Dev); w.Dev != "" && (err != nil || !ok) {
			errs = append(errs, err, drop(ctx, n, c.Key, have))
			continue // it has gone with its link
		}
		errs = append(errs, put(ctx, n, c.Key, w))
	}
	return errors.Join(errs...)
}

// made tells whether the ways are what the change made of them.
func made(c Change, have []way) bool {
	if c.To == wayNone {
		return len(have) == 0
	}
	want := wanted(c)
	return len(have) == 1 && have[0].Type == want.Type && have[0].Via == want.Via && have[0].Dev == want.Dev
}

func wanted(c Change) way {
	if c.To == wayBlackhole {
		return way{Type: unix.RTN_BLACKHOLE}
	}
	w := way{Type: unix.RTN_UNICAST}
	_, _ = fmt.Sscanf(c.To, "via %s dev %s", &w.Via, &w.Dev)
	return w
}

// ways are the routes of the main table to exactly a prefix.
func ways(ctx context.Context, n *link.Net, dst string) (list []way, err error) {
	p, err := netip.ParsePrefix(dst)
	if err != nil {
		return nil, err
	}
	family := unix.AF_INET
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	err = n.Netlink(ctx, func(nl *netlink.Handle) (bool, error) {
		list = nil
		found, err := nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		for i := 0; errors.Is(err, netlink.ErrDumpInterrupted) && i < 50; i++ {
			found, err = nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		}
		if err != nil {
			return false, err
		}
		for _, r := range found {
			if !is(r.Dst, p) {
				continue
			}
			w := way{Type: r.Type, Onlink: r.Flags&unix.RTNH_F_ONLINK != 0, Scope: int(r.Scope), Protocol: int(r.Protocol), Priority: r.Priority, MTU: r.MTU}
			if r.Gw != nil {
				w.Via = r.Gw.String()
			}
			if r.Src != nil {
				w.Src = r.Src.String()
			}
			if l, err := nl.LinkByIndex(r.LinkIndex); err == nil && r.Type == unix.RTN_UNICAST {
				w.Dev = l.Attrs().Name
			}
			list = append(list, w)
		}
		return false, nil
	}, "ip", "route", "show", dst)
	return list, err
}

func is(n *net.IPNet, p netip.Prefix) bool {
	if n == nil {
		return p.Bits() == 0
	}
	ones, _ := n.Mask.Size()
	a, _ := netip.AddrFromSlice(n.IP)
	return a.Unmap() == p.Addr() && ones == p.Bits()
}

func (w way) words() (words []string) {
	if w.Via != "" {
		words = append(words, "via", w.Via)
	}
	if w.Dev != "" {
		words = append(words, "dev", w.Dev)
	}
	if w.Onlink {
		words = append(words, "onlink")
	}
	return words
}

func (w way) kernel(nl *netlink.Handle, dst string) (*netlink.Route, error) {
	_, to, err := net.ParseCIDR(dst)
	if err != nil {
		return nil, err
	}
	r := &netlink.Route{Dst: to, Type: w.Type, Scope: netlink.Scope(w.Scope), Protocol: netlink.RouteProtocol(w.Protocol),
		Priority: w.Priority, MTU: w.MTU, Gw: net.ParseIP(w.Via), Src: net.ParseIP(w.Src)}
	if w.Onlink {
		r.Flags = unix.RTNH_F_ONLINK
	}
	if w.Dev != "" {
		l, err := nl.LinkByName(w.Dev)
		if err != nil {
			return nil, err
		}
		r.LinkIndex = l.Attrs().Index
	}
	return r, nil
}

func put(ctx context.Context, n *link.Net, dst string, w way) error {
	words := []string{"ip", "route", "replace"}
	if w.Type == unix.RTN_BLACKHOLE {
		words = append(words, wayBlackhole)
	}
	return n.Netlink(ctx, func(nl *netlink.Handle) (bool, error) {
		r, err := w.kernel(nl, dst)
		if err != nil {
			return false, err
		}
		return true, nl.RouteReplace(r)
	}, slices.Concat(words, []string{dst}, w.words())...)
}

func drop(ctx context.Context, n *link.Net, dst string, have []way) error {
	var errs []error
	for _, w := range have {
		errs = append(errs, n.Netlink(ctx, func(nl *netlink.Handle) (bool, error) {
			r, err := w.kernel(nl, dst)
			if err != nil {
				return false, err
			}
			err = nl.RouteDel(r)
			if errors.Is(err, unix.ESRCH) {
				return false, nil
			}
			return true, err
		}, slices.Concat([]string{"ip", "route", "del", dst}, w.words())...))
	}
	return errors.Join(errs...)
}
