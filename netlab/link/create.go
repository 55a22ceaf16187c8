package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Veth is a pair of links. The peer is born in the namespace Peer, which may
// be another one, so it never shows up anywhere else.
type Veth struct {
	Name          string
	MAC           net.HardwareAddr
	PeerName      string
	PeerMAC       net.HardwareAddr
	MTU           int
	Peer          *Net // nil: the same namespace
	TxQueueLength int  // 0: the kernel's default
}

// Veth makes a pair of links unless it is there. If only a link of that name
// is there and its peer is not, as after a crash of the other side's
// namespace, the link is replaced.
func (n *Net) Veth(ctx context.Context, v Veth) error {
	other := n
	if v.Peer != nil {
		other = v.Peer
	}
	words := []string{"ip", "link", "add", v.Name}
	words = append(words, mtuWords(v.MTU)...)
	words = append(words, macWords(v.MAC)...)
	words = append(words, "type", "veth", "peer", "name", v.PeerName)
	words = append(words, macWords(v.PeerMAC)...)
	if other != n {
		words = append(words, "netns", other.path)
	}
	return n.run(ctx, func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: v.PeerName, PeerHardwareAddr: v.PeerMAC}
		pair.Name, pair.HardwareAddr, pair.MTU, pair.PeerMTU = v.Name, v.MAC, v.MTU, uint32(v.MTU)
		if v.TxQueueLength > 0 {
			pair.TxQLen = v.TxQueueLength
		}
		if other != n {
			pair.PeerNamespace = netlink.NsFd(int(other.ns.Fd()))
		}
		err := n.nl.LinkAdd(pair)
		if err == nil {
			n.fresh.Store(v.Name, true)
		}
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		have, err := n.byName(v.Name)
		if err == nil {
			peer, far := other.byName(v.PeerName)
			if far == nil && have.Type() == "veth" && peer.Attrs().Index == have.Attrs().ParentIndex &&
				peer.Attrs().ParentIndex == have.Attrs().Index {
				return errUnchanged
			}
			err = n.nl.LinkDel(have)
		}
		if err != nil && !notFound(err) {
			return err
		}
		return n.nl.LinkAdd(pair) // if this fails, the peer's name is taken
	}, words...)
}

// Bridge makes a bridge unless there is one, without spanning tree and
// without multicast snooping. Its address is fixed, or else it would follow
// that of its lowest port.
func (n *Net) Bridge(ctx context.Context, name string, mac net.HardwareAddr, mtu int) error {
	words := append([]string{"ip", "link", "add", name}, mtuWords(mtu)...)
	words = append(append(words, macWords(mac)...), "type", "bridge", "mcast_snooping", "0")
	return n.run(ctx, func() error {
		off := false
		b := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs(), MulticastSnooping: &off}
		b.Name, b.HardwareAddr, b.MTU = name, mac, mtu
		return n.add(b, func(have netlink.Link) bool { return have.Type() == "bridge" })
	}, words...)
}

// Vxlan is a VXLAN tunnel endpoint. With Learning it finds out by itself who
// is where; without, it knows only what it is told.
type Vxlan struct {
	Name  string
	VNI   int
	Port  int // UDP
	Local netip.Addr
	Dev   string
	MAC   net.HardwareAddr
	MTU   int

	Learning bool
}

// Vxlan makes a tunnel endpoint unless there is one with these parameters;
// another one of that name is replaced.
func (n *Net) Vxlan(ctx context.Context, v Vxlan) error {
	words := append([]string{"ip", "link", "add", v.Name}, mtuWords(v.MTU)...)
	words = append(append(words, macWords(v.MAC)...), "type", "vxlan", "id", strconv.Itoa(v.VNI),
		"dstport", strconv.Itoa(v.Port), "local", v.Local.String(), "dev", v.Dev)
	if !v.Learning {
		words = append(words, "nolearning")
	}
	return n.run(ctx, func() error {
		dev, err := n.byName(v.Dev)
		if err != nil {
			return err
		}
		want := &netlink.Vxlan{LinkAttrs: netlink.NewLinkAttrs(), VxlanId: v.VNI, Port: v.Port,
			SrcAddr: v.Local.AsSlice(), VtepDevIndex: dev.Attrs().Index, Learning: v.Learning, UDPCSum: true}
		want.Name, want.HardwareAddr, want.MTU = v.Name, v.MAC, v.MTU
		same := func(have netlink.Link) bool {
			x, ok := have.(*netlink.Vxlan)
			return ok && x.VxlanId == v.VNI && x.Port == v.Port && x.Learning == v.Learning && x.VtepDevIndex == want.VtepDevIndex &&
				addr(x.SrcAddr) == v.Local && (v.MAC == nil || x.HardwareAddr.String() == v.MAC.String())
		}
		return n.add(want, same)
	}, words...)
}

// Typed makes a link of any kind that needs no parameters ("dummy", "vcan").
func (n *Net) Typed(ctx context.Context, name, kind string) error {
	return n.run(ctx, func() error {
		l := &netlink.GenericLink{LinkAttrs: netlink.NewLinkAttrs(), LinkType: kind}
		l.Name = name
		return n.add(l, func(have netlink.Link) bool { return have.Type() == kind })
	}, "ip", "link", "add", name, "type", kind)
}

// add makes a link; one of that name which is not the same is replaced.
func (n *Net) add(l netlink.Link, same func(netlink.Link) bool) error {
	err := n.nl.LinkAdd(l)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	have, err := n.byName(l.Attrs().Name)
	if err != nil && !notFound(err) {
		return err
	}
	if err == nil {
		if same(have) {
			return errUnchanged
		}
		if err := n.nl.LinkDel(have); err != nil {
			return fmt.Errorf("replace %s: %w", l.Attrs().Name, err)
		}
	}
	return n.nl.LinkAdd(l)
}

// Delete removes a link, if it is there. The peer of a veth goes with it.
func (n *Net) Delete(ctx context.Context, name string) error {
	return n.run(ctx, func() error {
		l, err := n.byName(name)
		if notFound(err) {
			return errUnchanged
		}
		if err != nil {
			return err
		}
		return unless(n.nl.LinkDel(l), unix.ENODEV)
	}, "ip", "link", "del", name)
}

func mtuWords(mtu int) []string {
	if mtu == 0 {
		return nil
	}
	return []string{"mtu", strconv.Itoa(mtu)}
}

func macWords(mac net.HardwareAddr) []string {
	if mac == nil {
		return nil
	}
	return []string{"address", mac.String()}
}
