package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/klab-project/klab/netlab/link"
)

// MAC is the hardware address of the endpoint of the node with this subnet.
func MAC(subnet netip.Prefix) string { return link.MACOf(subnet.Masked().Addr()).String() }

// in tells whether the peer has addresses of the family of ip.
func (p Peer) in(ip netip.Addr) bool {
	return p.IP.IsValid() && p.IP.Is6() == ip.Is6() && p.Subnet.IsValid() && p.Subnet.Addr().Is6() == ip.Is6()
}

func (p Peer) mac() string {
	if p.MAC != "" {
		return p.MAC
	}
	return MAC(p.Subnet)
}

// vtepIP is the address of a node's endpoint: the first of its subnet.
func (p Peer) vtepIP() netip.Addr { return p.Subnet.Masked().Addr() }

// VTEP is the backend vxlan: this node's tunnel endpoint, flannel.1, or for IPv6
// flannel-v6.1, which wraps IPv6 packets into IPv6 packets. For each
// other node there are three entries, which one packet needs one after the
// other: a route (the peer's pods are behind the peer's endpoint), a neighbour
// (the endpoint's MAC) and a forwarding entry (the underlay address to which
// frames for that MAC go). Nothing is learned and nobody broadcasts.
//
// A VTEP's MAC follows from its subnet, so nodes need not tell each other; a
// Peer may state another, as flannel's node annotation does. The zero values of Name, VNI and Port
// stand for flannel's: flannel.1 or flannel-v6.1, and for both 1 and 8472.
type VTEP struct {
	Name   string
	VNI    int
	Port   int          // UDP
	Dev    string       // the uplink: eth0
	IP     netip.Addr   // of the uplink
	Subnet netip.Prefix // of this node's pods
	MTU    int          // 0: the uplink's less what VXLAN takes
}

func (v VTEP) withDefaults() VTEP {
	if v.Name == "" {
		v.Name = vtepName(v.IP)
	}
	v.VNI = cmp.Or(v.VNI, 1)
	v.Port = cmp.Or(v.Port, 8472)
	v.Dev = cmp.Or(v.Dev, "eth0")
	return v
}

// vtepName is the name of the device that has an underlay address, as flannel
// names them.
func vtepName(ip netip.Addr) string {
	if ip.Is6() {
		return "flannel-v6.1"
	}
	return "flannel.1"
}

// What VXLAN takes of the underlay's MTU: an IPv4 or IPv6 header, and those of
// UDP, VXLAN and the frame inside.
const (
	vxlanOverhead  = 20 + 8 + 8 + 14
	vxlanOverhead6 = 40 + 8 + 8 + 14
)

func (v VTEP) Type() string { return VXLAN }

func (v VTEP) Six() bool { return v.IP.Is6() }

// Data is as flannel has it: {"VNI":1,"VtepMAC":"…"}.
func (v VTEP) Data() string {
	return fmt.Sprintf(`{"VNI":%d,"VtepMAC":%q}`, v.withDefaults().VNI, MAC(v.Subnet))
}

func (v VTEP) Present(n *link.Net) (bool, error) {
	_, ok, err := n.Link(v.withDefaults().Name)
	return ok, err
}

// Up makes the endpoint, or what is missing of it, in the node's namespace.
func (v VTEP) Up(ctx context.Context, n *link.Net) error {
	v = v.withDefaults()
	at := v.Subnet.Masked().Addr()
	if v.IP.Is6() != at.Is6() {
		return fmt.Errorf("overlay: want addresses of one family, got node %s with pods %s", v.IP, v.Subnet)
	}
	err := n.Vxlan(ctx, link.Vxlan{Name: v.Name, VNI: v.VNI, Port: v.Port, Local: v.IP, Dev: v.Dev,
		MAC: link.MACOf(at), MTU: v.MTU})
	if err == nil {
		err = n.Addr(ctx, v.Name, netip.PrefixFrom(at, at.BitLen()))
	}
	if err == nil {
		err = n.Up(ctx, v.Name)
	}
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return nil
}

// Down removes the endpoint, and with it all entries.
func (v VTEP) Down(ctx context.Context, n *link.Net) error {
	return n.Delete(ctx, v.withDefaults().Name)
}

// Add programs the way to a peer. The route comes last: before it, nothing
// would find its way.
func (v VTEP) Add(ctx context.Context, n *link.Net, p Peer) error {
	v = v.withDefaults()
	e := v.entries(p)
	err := n.FDB(ctx, e.fdb)
	if err == nil {
		err = n.Neigh(ctx, e.neigh)
	}
	if err == nil {
		err = v.lead(ctx, n, e.route)
	}
	if err != nil {
		return fmt.Errorf("overlay to node %s: %w", p.Node, err)
	}
	return nil
}

// lead makes the route through the endpoint. Of IPv6 the kernel refuses a
// gateway, "onlink" or not, to which another link leads, as it does while the
// route of another backend is there: then the endpoint's own address gets a
// route first, until the other one has been replaced.
func (v VTEP) lead(ctx context.Context, n *link.Net, r link.Route) error {
	if !r.Dst.Addr().Is6() {
		return n.Route(ctx, r)
	}
	others, err := n.Routes(v.Dev)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(others, func(o link.Route) bool { return o.Dst.Bits() > 0 && o.Dst.Contains(r.Via) }) {
		return n.Route(ctx, r)
	}
	first := link.Route{Dst: netip.PrefixFrom(r.Via, r.Via.BitLen()), Dev: r.Dev}
	if err := n.Route(ctx, first); err != nil {
		return err
	}
	return errors.Join(n.Route(ctx, r), n.DelRoute(ctx, first))
}

// Remove takes the way to a peer away, the route first. Fields of p that are
// not known may be empty: their entries stay.
func (v VTEP) Remove(ctx context.Context, n *link.Net, p Peer) error {
	v = v.withDefaults()
	var errs []error
	if p.Subnet.IsValid() {
		e := v.entries(p)
		errs = append(errs, n.DelRoute(ctx, e.route), n.DelNeigh(ctx, e.neigh))
	}
	if p.IP.IsValid() && (p.MAC != "" || p.Subnet.IsValid()) {
		errs = append(errs, n.DelFDB(ctx, v.entries(p).fdb))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("overlay to node %s: %w", p.Node, err)
	}
	return nil
}

// entries are the three that lead to one peer.
type entries struct {
	route link.Route
	neigh link.Neigh
	fdb   link.FDB
}

func (v VTEP) entries(p Peer) entries {
	return entries{
		route: link.Route{Dst: p.Subnet.Masked(), Via: p.vtepIP(), Dev: v.Name, Onlink: true},
		neigh: link.Neigh{IP: p.vtepIP(), MAC: p.mac(), Dev: v.Name},
		fdb:   link.FDB{MAC: p.mac(), Dst: p.IP, Dev: v.Name},
	}
}

// Sync makes the endpoint, and makes it lead to want and to nobody else, for
// who needs no other backend. Hands may be nil.
func (v VTEP) Sync(ctx context.Context, n *link.Net, hands Hands, want []Peer) error {
	if err := v.Up(ctx, n); err != nil {
		return err
	}
	if hands == nil {
		hands = Kernel{n}
	}
	_, err := Sync(ctx, n, v, hands, want, nil)
	return err
}
