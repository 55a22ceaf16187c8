package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"

	"github.com/klab-project/klab/netlab/link"
)

func was[T any](c Change) (v T, err error) {
	if err := json.Unmarshal(c.Was, &v); err != nil {
		return v, fmt.Errorf("the record of what %s %s was is damaged: %w", c.Kind, c.Key, err)
	}
	return v, nil
}

// sysctl is a kernel parameter of a namespace.
type sysctl struct{}

func (sysctl) Renews() {}

func (sysctl) Read(_ context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	have, err := n.ReadSysctl(c.Key)
	if err != nil {
		return nil, err
	}
	if have == c.To {
		return nil, errThere(c.Key + " is " + have)
	}
	return json.Marshal(have)
}

func (sysctl) Apply(ctx context.Context, n *link.Net, c Change) error {
	return n.Sysctl(ctx, link.Sysctl{Key: c.Key, Value: c.To})
}

func (sysctl) Restore(ctx context.Context, n *link.Net, c Change) error {
	value, err := was[string](c)
	if err != nil {
		return err
	}
	if have, err := n.ReadSysctl(c.Key); err != nil || have != c.To {
		return err
	}
	return n.Sysctl(ctx, link.Sysctl{Key: c.Key, Value: value})
}

// theLink finds a link that must be there.
func theLink(n *link.Net, name string) (link.Link, error) {
	l, ok, err := n.Link(name)
	if err == nil && !ok {
		err = noLink(name)
	}
	return l, err
}

// noLink is the error for a link of that name that is not there.
type noLink string

func (n noLink) Error() string { return "there is no link " + string(n) }

// gone tells whether an error says that a link is not there (any more).
func gone(err error) bool {
	var theirs netlink.LinkNotFoundError
	var ours noLink
	return errors.As(err, &theirs) || errors.As(err, &ours)
}

// up switches a link off, whose routes and entries go with it.
type up struct{}

func (up) Renews() {}

// led is what a link leads to, and its addresses of IPv6, which the kernel takes
// from a link that is switched off.
type led struct {
	Addrs  []netip.Prefix `json:"addrs,omitempty"`
	Routes []link.Route   `json:"routes,omitempty"`
	Neighs []link.Neigh   `json:"neighs,omitempty"`
	FDBs   []link.FDB     `json:"fdbs,omitempty"`
}

func (up) Read(_ context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	l, err := theLink(n, c.Key)
	if err != nil {
		return nil, err
	}
	if !l.Up {
		return nil, errThere(c.Key + " is down")
	}
	before := led{Addrs: slices.DeleteFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() || p.Addr().IsLinkLocalUnicast() })}
	if before.Routes, err = n.Routes(c.Key); err != nil {
		return nil, err
	}
	if before.Neighs, err = n.Neighs(c.Key); err != nil {
		return nil, err
	}
	if l.Kind == "vxlan" {
		if before.FDBs, err = n.FDBs(c.Key); err != nil {
			return nil, err
		}
	}
	return json.Marshal(before)
}

func (up) Apply(ctx context.Context, n *link.Net, c Change) error { return n.Down(ctx, c.Key) }

func (up) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[led](c)
	if err != nil {
		return err
	}
	l, ok, err := n.Link(c.Key)
	if err != nil || !ok || l.Up {
		return err
	}
	errs := []error{n.Up(ctx, c.Key)}
	for _, a := range before.Addrs {
		errs = append(errs, n.Addr(ctx, c.Key, a))
	}
	for _, e := range before.FDBs {
		errs = append(errs, n.FDB(ctx, e))
	}
	for _, e := range before.Neighs {
		errs = append(errs, n.Neigh(ctx, e))
	}
	for _, r := range before.Routes {
		errs = append(errs, n.Route(ctx, r))
	}
	return errors.Join(errs...)
}

// mtu is the largest packet that a link carries.
type mtu struct{}

func (mtu) Renews() {}

func (mtu) Read(_ context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	l, err := theLink(n, c.Key)
	if err != nil {
		return nil, err
	}
	if strconv.Itoa(l.MTU) == c.To {
		return nil, errThere("the MTU of " + c.Key + " is " + c.To)
	}
	return json.Marshal(l.MTU)
}

func (mtu) Apply(ctx context.Context, n *link.Net, c Change) error {
	bytes, err := strconv.Atoi(c.To)
	if err != nil {
		return err
	}
	return n.MTU(ctx, c.Key, bytes)
}

func (mtu) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[int](c)
	if err != nil {
		return err
	}
	l, ok, err := n.Link(c.Key)
	if err != nil || !ok || strconv.Itoa(l.MTU) != c.To {
		return err
	}
	return n.MTU(ctx, c.Key, before)
}

// segments is how many segments of TCP a link takes as one packet: on a wire
// it is one.
type segments struct{}

func (segments) Renews() {}

func (segments) Read(ctx context.Context, n *link.Net, c Change) (before json.RawMessage, err error) {
	err = n.Netlink(ctx, func(nl *netlink.Handle) (bool, error) {
		l, err := nl.LinkByName(c.Key)
		if err == nil {
			before, err = json.Marshal(l.Attrs().GSOMaxSegs)
		}
		return false, err
	}, "ip", "-details", "link", "show", c.Key)
	return before, err
}

func (s segments) Apply(ctx context.Context, n *link.Net, c Change) error {
	count, err := strconv.Atoi(c.To)
	if err != nil {
		return err
	}
	return s.set(ctx, n, c, count, false)
}

func (s segments) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[int](c)
	if err != nil {
		return err
	}
	return s.set(ctx, n, c, before, true)
}

// set sets the number; back is set if it is to be as it was.
func (segments) set(ctx context.Context, n *link.Net, c Change, count int, back bool) error {
	return n.Netlink(ctx, func(nl *netlink.Handle) (bool, error) {
		l, err := nl.LinkByName(c.Key)
		if back && gone(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		have := int(l.Attrs().GSOMaxSegs)
		if have == count || back && strconv.Itoa(have) != c.To {
			return false, nil
		}
		return true, nl.LinkSetGSOMaxSegs(l, count)
	}, "ip", "link", "set", c.Key, "gso_max_segs", strconv.Itoa(count))
}

// hairpin is whether a bridge's port sends a frame back where it came in.
type hairpin struct{}

func (hairpin) Renews() {}

func (h hairpin) Read(ctx context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	on, err := h.is(ctx, n, c)
	if err != nil {
		return nil, err
	}
	if !on {
		return nil, errThere("the hairpin mode of " + c.Key + " is off")
	}
	return json.Marshal(on)
}

func (hairpin) is(ctx context.Context, n *link.Net, c Change) (on bool, err error) {
	err = n.Netlink(ctx, func(nl *netlink.Handle) (bool, error) {
		l, err := nl.LinkByName(c.Key)
		if err != nil {
			return false, err
		}
		info, err := nl.LinkGetProtinfo(l)
		on = info.Hairpin
		return false, err
	}, "bridge", "-details", "link", "show", "dev", c.Key)
	return on, err
}

func (hairpin) Apply(ctx context.Context, n *link.Net, c Change) error {
	return n.Hairpin(ctx, c.Key, false)
}

func (hairpin) Restore(ctx context.Context, n *link.Net, c Change) error {
	if _, ok, err := n.Link(c.Key); err != nil || !ok {
		return err
	}
	return n.Hairpin(ctx, c.Key, true)
}
