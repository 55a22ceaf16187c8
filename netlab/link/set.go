package link

import (
	"context"
	"crypto/sha256"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Up switches a link on.
func (n *Net) Up(ctx context.Context, name string) error {
	return n.set(ctx, name, func(l netlink.Link) error {
		if l.Attrs().Flags&net.FlagUp != 0 {
			return errUnchanged
		}
		return n.nl.LinkSetUp(l)
	}, "up")
}

// Down switches a link off. The kernel drops its routes and neighbours.
func (n *Net) Down(ctx context.Context, name string) error {
	return n.set(ctx, name, func(l netlink.Link) error {
		if l.Attrs().Flags&net.FlagUp == 0 {
			return errUnchanged
		}
		return n.nl.LinkSetDown(l)
	}, "down")
}

// MTU sets the largest packet, in bytes, that a link carries.
func (n *Net) MTU(ctx context.Context, name string, mtu int) error {
	return n.set(ctx, name, func(l netlink.Link) error {
		if l.Attrs().MTU == mtu {
			return errUnchanged
		}
		return n.nl.LinkSetMTU(l, mtu)
	}, "mtu", strconv.Itoa(mtu))
}

// Alias gives a link a text for people, at most 255 bytes.
func (n *Net) Alias(ctx context.Context, name, text string) error {
	return n.set(ctx, name, func(l netlink.Link) error {
		if l.Attrs().Alias == text {
			return errUnchanged
		}
		return n.nl.LinkSetAlias(l, text)
	}, "alias", text)
}

// Master makes a link a port of a bridge.
func (n *Net) Master(ctx context.Context, name, bridge string) error {
	return n.set(ctx, name, func(l netlink.Link) error {
		b, err := n.byName(bridge)
		if err != nil {
			return err
		}
		if l.Attrs().MasterIndex == b.Attrs().Index {
			return errUnchanged
		}
		return n.nl.LinkSetMaster(l, b)
	}, "master", bridge)
}

func (n *Net) set(ctx context.Context, name string, f func(netlink.Link) error, words ...string) error {
	return n.run(ctx, func() error {
		l, err := n.byName(name)
		if err != nil {
			return err
		}
		return f(l)
	}, append([]string{"ip", "link", "set", name}, words...)...)
}

// Hairpin says whether a bridge port may send a frame back out where it came
// in, which is how a pod reaches itself through a Service.
func (n *Net) Hairpin(ctx context.Context, name string, on bool) error {
	word := map[bool]string{true: "on", false: "off"}[on]
	return n.run(ctx, func() error {
		l, err := n.byName(name)
		if err != nil {
			return err
		}
		// To look, the kernel makes us read all ports of all bridges.
		if _, fresh := n.fresh.LoadAndDelete(name); fresh && on {
			return n.nl.LinkSetHairpin(l, on)
		}
		if p, err := n.nl.LinkGetProtinfo(l); err == nil && p.Hairpin == on {
			return errUnchanged
		}
		return n.nl.LinkSetHairpin(l, on)
	}, "bridge", "link", "set", "dev", name, "hairpin", word)
}

// Addr gives a link an address with the length of its subnet. One of IPv6 is
// good at once: nobody else in a lab can have it.
func (n *Net) Addr(ctx context.Context, name string, p netip.Prefix) error {
	words, a := []string{"ip", "addr", "add", p.String(), "dev", name}, &netlink.Addr{IPNet: ipnet(p)}
	if p.Addr().Is6() {
		words, a.Flags = append(words, "nodad"), unix.IFA_F_NODAD
	}
	return n.run(ctx, func() error {
		l, err := n.byName(name)
		if err != nil {
			return err
		}
		return unless(n.nl.AddrAdd(l, a), unix.EEXIST)
	}, words...)
}

// DelAddr takes an address from a link.
func (n *Net) DelAddr(ctx context.Context, name string, p netip.Prefix) error {
	return n.run(ctx, func() error {
		l, err := n.byName(name)
		if notFound(err) {
			return errUnchanged
		}
		if err != nil {
			return err
		}
		return unless(n.nl.AddrDel(l, &netlink.Addr{IPNet: ipnet(p)}), unix.EADDRNOTAVAIL)
	}, "ip", "addr", "del", p.String(), "dev", name)
}

// MACOf is a hardware address that follows from an address: 0a:58 (locally
// administered) and the four bytes of one of IPv4, which it tells; of one of
// IPv6 the first four bytes of its SHA-256. Whoever gets an address again gets
// the MAC that neighbours may still remember for it.
func MACOf(ip netip.Addr) net.HardwareAddr {
	b := ip.AsSlice()
	if ip.Is6() {
		sum := sha256.Sum256(b)
		b = sum[:4]
	}
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}
