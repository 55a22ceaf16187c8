package link

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Proxy has the namespace answer on a link for an address of IPv6 that is
// somewhere else: what proxy ARP does of its own accord, proxy NDP does for
// listed addresses only, and where net.ipv6.conf.LINK.proxy_ndp is 1.
func (n *Net) Proxy(ctx context.Context, dev string, ip netip.Addr) error {
	return n.run(ctx, func() error {
		have, err := n.Proxies(dev)
		if err == nil && contains(have, ip) {
			return errUnchanged
		}
		k, err := n.proxy(dev, ip)
		if err != nil {
			return err
		}
		return n.nl.NeighSet(k)
	}, "ip", "-6", "neigh", "add", "proxy", ip.String(), "dev", dev)
}

// DelProxy ends that, if it is so.
func (n *Net) DelProxy(ctx context.Context, dev string, ip netip.Addr) error {
	return n.run(ctx, func() error {
		k, err := n.proxy(dev, ip)
		if err != nil {
			return absent(err)
		}
		return unless(n.nl.NeighDel(k), unix.ENOENT)
	}, "ip", "-6", "neigh", "del", "proxy", ip.String(), "dev", dev)
}

// Proxies are the addresses for which the namespace answers on a link.
func (n *Net) Proxies(dev string) ([]netip.Addr, error) {
	l, err := n.byName(dev)
	if err != nil {
		return nil, err
	}
	list, err := dump(func() ([]netlink.Neigh, error) { return n.nl.NeighProxyList(l.Attrs().Index, unix.AF_INET6) })
	if err != nil {
		return nil, fmt.Errorf("list for whom %s answers: %w", dev, err)
	}
	var ips []netip.Addr
	for _, k := range list {
		if k.LinkIndex == l.Attrs().Index && k.Flags&netlink.NTF_PROXY != 0 {
			ips = append(ips, addr(k.IP))
		}
	}
	return ips, nil
}

func (n *Net) proxy(dev string, ip netip.Addr) (*netlink.Neigh, error) {
	l, err := n.byName(dev)
	if err != nil {
		return nil, err
	}
	return &netlink.Neigh{LinkIndex: l.Attrs().Index, Family: unix.AF_INET6, Flags: netlink.NTF_PROXY, IP: ip.AsSlice()}, nil
}
