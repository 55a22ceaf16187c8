package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Child is a link that shares another link's wire: "macvlan", with a hardware
// address of its own, or "ipvlan", with its parent's. It is born in the
// namespace Peer, its parent is in this one.
type Child struct {
	Kind   string
	Name   string
	Parent string
	MAC    net.HardwareAddr // of a macvlan
	Peer   *Net
}

// ErrNoKind is the error for a kind of link that the kernel does not have.
var ErrNoKind = errors.New("this kernel has no such links")

// Child makes a macvlan or ipvlan in the namespace Peer, unless it has a link
// of that name and kind.
func (n *Net) Child(ctx context.Context, c Child) error {
	err := n.child(ctx, c)
	if !errors.Is(err, errNameHere) {
		return err
	}
	born := c
	born.Name = fmt.Sprintf("c%08x", rand.Uint32())
	if err := n.child(ctx, born); err != nil {
		return err
	}
	return c.Peer.run(ctx, func() error {
		l, err := c.Peer.byName(born.Name)
		if err != nil {
			return err
		}
		return c.Peer.nl.LinkSetName(l, c.Name)
	}, "ip", "link", "set", born.Name, "name", c.Name)
}

// errNameHere is the error for a child whose name is free where it is to be,
// but not where its parent is: before Linux 6.15 it has to be free in both.
var errNameHere = errors.New("the parent's namespace has a link of that name, which this kernel minds")

func (n *Net) child(ctx context.Context, c Child) error {
	mode := map[string]string{"macvlan": "bridge", "ipvlan": "l2"}[c.Kind]
	words := append([]string{"ip", "link", "add", "link", c.Parent, "name", c.Name}, macWords(c.MAC)...)
	words = append(words, "netns", c.Peer.path, "type", c.Kind, "mode", mode)
	return n.run(ctx, func() error {
		parent, err := n.byName(c.Parent)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = c.Name, parent.Attrs().Index, c.MAC
		attrs.Namespace = netlink.NsFd(int(c.Peer.ns.Fd()))
		var l netlink.Link = &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}
		if c.Kind == "ipvlan" {
			l = &netlink.IPVlan{LinkAttrs: attrs, Mode: netlink.IPVLAN_MODE_L2}
		}
		err = n.nl.LinkAdd(l)
		if errors.Is(err, unix.EEXIST) {
			have, err := c.Peer.byName(c.Name)
			if err == nil && have.Type() == c.Kind {
				return errUnchanged
			}
			var missing netlink.LinkNotFoundError
			if errors.As(err, &missing) {
				return errNameHere
			}
			return errors.Join(fmt.Errorf("%s is another link", c.Name), err)
		}
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("%w: %s", ErrNoKind, c.Kind)
		}
		return err
	}, words...)
}

// Flood lets a VXLAN device send to dst, besides others, what is for everybody
// or for a hardware address that it does not know.
func (n *Net) Flood(ctx context.Context, e FDB) error {
	e.MAC = "00:00:00:00:00:00"
	have, err := n.FDBs(e.Dev)
	return n.run(ctx, func() error {
		return n.entry(err, contains(have, e), e.MAC, e.Dev, n.nl.NeighAppend,
			netlink.Neigh{Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: e.Dst.AsSlice()})
	}, "bridge", "fdb", "append", e.MAC, "dev", e.Dev, "dst", e.Dst.String(), "self", "permanent")
}
