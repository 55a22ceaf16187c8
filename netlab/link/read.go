package link

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a link as it was seen.
type Link struct {
	Index  int            `json:"index"`
	Name   string         `json:"name"`
	Kind   string         `json:"kind"`
	MAC    string         `json:"mac,omitempty"`
	MTU    int            `json:"mtu"`
	Up     bool           `json:"up,omitempty"`
	Peer   int            `json:"peer,omitempty"`   // a veth's other end, by its index in its own namespace
	Master string         `json:"master,omitempty"` // the bridge whose port it is
	Alias  string         `json:"alias,omitempty"`
	Addrs  []netip.Prefix `json:"addrs,omitempty"`
}

// Links lists the links of the namespace with their addresses.
func (n *Net) Links() ([]Link, error) {
	list, err := dump(n.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return n.nl.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	of, names := map[int][]netip.Prefix{}, map[int]string{}
	for _, a := range addrs {
		of[a.LinkIndex] = append(of[a.LinkIndex], prefix(a.IPNet))
	}
	for _, l := range list {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	links := make([]Link, 0, len(list))
	for _, l := range list {
		a := l.Attrs()
		seen := Link{Index: a.Index, Name: a.Name, Kind: l.Type(), MAC: a.HardwareAddr.String(), MTU: a.MTU,
			Up: a.Flags&net.FlagUp != 0, Master: names[a.MasterIndex], Alias: a.Alias, Addrs: of[a.Index]}
		if seen.Kind == "veth" {
			seen.Peer = a.ParentIndex
		}
		links = append(links, seen)
	}
	return links, nil
}

// Link returns the link of that name; ok is false if there is none.
func (n *Net) Link(name string) (l Link, ok bool, err error) {
	links, err := n.Links()
	for _, l := range links {
		if l.Name == name {
			return l, true, err
		}
	}
	return Link{}, false, err
}

// HasAddr says whether a link has an address, without reading all links.
func (n *Net) HasAddr(name string, p netip.Prefix) (bool, error) {
	l, err := n.byName(name)
	if err != nil {
		return false, err
	}
	list, err := dump(func() ([]netlink.Addr, error) { return n.nl.AddrList(l, unix.AF_UNSPEC) })
	if err != nil {
		return false, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	for _, a := range list {
		if prefix(a.IPNet) == p {
			return true, nil
		}
	}
	return false, nil
}
