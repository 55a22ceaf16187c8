package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/klab-project/klab/netlab/link"
)

// fdb is a forwarding entry of a VXLAN device that is missing: Key is its MAC
// and the device.
type fdb struct{}

func (fdb) find(n *link.Net, c Change) ([]link.FDB, error) {
	mac, dev, _ := strings.Cut(c.Key, " ")
	list, err := n.FDBs(dev)
	return slices.DeleteFunc(list, func(e link.FDB) bool { return e.MAC != mac }), err
}

func (k fdb) Read(_ context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	list, err := k.find(n, c)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errThere("there is no forwarding entry for " + c.Key)
	}
	return json.Marshal(list)
}

func (k fdb) Apply(ctx context.Context, n *link.Net, c Change) error {
	list, err := k.find(n, c)
	for _, e := range list {
		err = errors.Join(err, n.DelFDB(ctx, e))
	}
	return err
}

func (k fdb) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[[]link.FDB](c)
	if err != nil {
		return err
	}
	list, err := k.find(n, c)
	if gone(err) || err == nil && len(list) > 0 {
		return nil
	}
	for _, e := range before {
		err = errors.Join(err, n.FDB(ctx, e))
	}
	return err
}

// neigh is an ARP entry: Key is its address and device, To is "none", or the
// wrong MAC that it has.
type neigh struct{}

func (neigh) find(n *link.Net, c Change) ([]link.Neigh, error) {
	ip, dev, _ := strings.Cut(c.Key, " ")
	at, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, err
	}
	list, err := n.Neighs(dev)
	return slices.DeleteFunc(list, func(e link.Neigh) bool { return e.IP != at }), err
}

func (k neigh) Read(_ context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	list, err := k.find(n, c)
	if err != nil {
		return nil, err
	}
	if k.made(c, list) {
		return nil, errThere("the entry of " + c.Key + " is " + c.To)
	}
	return json.Marshal(list)
}

func (neigh) made(c Change, list []link.Neigh) bool {
	if c.To == wayNone {
		return len(list) == 0
	}
	return len(list) == 1 && list[0].MAC == c.To
}

func (k neigh) Apply(ctx context.Context, n *link.Net, c Change) error {
	ip, dev, _ := strings.Cut(c.Key, " ")
	if c.To == wayNone {
		list, err := k.find(n, c)
		for _, e := range list {
			err = errors.Join(err, n.DelNeigh(ctx, e))
		}
		return err
	}
	at, err := netip.ParseAddr(ip)
	if err != nil {
		return err
	}
	return n.Neigh(ctx, link.Neigh{IP: at, MAC: c.To, Dev: dev})
}

func (k neigh) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[[]link.Neigh](c)
	if err != nil {
		return err
	}
	list, err := k.find(n, c)
	if gone(err) || err == nil && !k.made(c, list) {
		return nil
	}
	if len(before) == 0 { // the kernel asks anew
		for _, e := range list {
			err = errors.Join(err, n.DelNeigh(ctx, e))
		}
	}
	for _, e := range before {
		err = errors.Join(err, n.Neigh(ctx, e))
	}
	return err
}

// qdisc is how a link sends: Key is the link, To "delay 100ms", "loss 30%" or
// "rate 1mbit", as tc(8) has them.
type qdisc struct{}

func (qdisc) Renews() {}

// errNoNetem is the error for a discipline that this kernel does not have.
var errNoNetem = errors.New("this kernel has no netem (module sch_netem)")

func (q qdisc) words(c Change) []string {
	if rate, ok := strings.CutPrefix(c.To, "rate "); ok {
		return []string{"tbf", "rate", rate, "burst", "3000", "limit", "30000"}
	}
	return append([]string{"netem"}, strings.Fields(c.To)...)
}

func (q qdisc) Read(ctx context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	have, err := q.root(ctx, n, c.Key)
	if err != nil {
		return nil, err
	}
	if have != "noqueue" && have != "" {
		return nil, fmt.Errorf("%s has a queueing discipline of somebody's, %s, which cannot be brought back; delete it first", c.Key, have)
	}
	return json.Marshal(have)
}

func (q qdisc) Apply(ctx context.Context, n *link.Net, c Change) error {
	_, err := command(ctx, n, "", append([]string{"tc", "qdisc", "replace", "dev", c.Key, "root"}, q.words(c)...)...)
	if err != nil && q.words(c)[0] == "netem" && strings.Contains(err.Error(), "qdisc kind is unknown") {
		return errNoNetem
	}
	return err
}

func (q qdisc) Restore(ctx context.Context, n *link.Net, c Change) error {
	have, err := q.root(ctx, n, c.Key)
	if gone(err) || err == nil && have != q.words(c)[0] {
		return nil
	}
	if err != nil {
		return err
	}
	return n.Netlink(ctx, func(nl *netlink.Handle) (bool, error) {
		l, err := nl.LinkByName(c.Key)
		if err != nil {
			return false, err
		}
		attrs := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT}
		err = nl.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: have})
		return true, err
	}, "tc", "qdisc", "del", "dev", c.Key, "root")
}

// root is the kind of a link's root discipline.
func (qdisc) root(ctx context.Context, n *link.Net, dev string) (kind string, err error) {
	err = n.Netlink(ctx, func(nl *netlink.Handle) (bool, error) {
		l, err := nl.LinkByName(dev)
		if err != nil {
			return false, err
		}
		list, err := nl.QdiscList(l)
		for i := 0; errors.Is(err, netlink.ErrDumpInterrupted) && i < 50; i++ {
			list, err = nl.QdiscList(l)
		}
		for _, q := range list {
			if q.Attrs().Parent == netlink.HANDLE_ROOT {
				kind = q.Type()
			}
		}
		return false, err
	}, "tc", "qdisc", "show", "dev", dev)
	return kind, err
}
