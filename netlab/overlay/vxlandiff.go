package overlay

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"

	"github.com/klab-project/klab/netlab/link"
)

// State is what the kernel has of an endpoint's entries.
type State struct {
	Routes []link.Route
	Neighs []link.Neigh
	FDBs   []link.FDB
}

// Diff compares what is with what is wanted. A peer of which one entry is
// missing or different is added again; entries of nobody who is wanted are
// removed, and those of a peer that moved before it is added. This node itself
// and nodes that have no subnet of the family (yet) may be among want: they are passed over.
func (v VTEP) Diff(have State, want []Peer) Plan {
	v = v.withDefaults()
	var plan Plan
	wanted := map[any]bool{}
	for _, p := range want {
		if p.IP == v.IP || !p.in(v.IP) {
			continue
		}
		e := v.entries(p)
		wanted[e.route], wanted[e.neigh], wanted[e.fdb] = true, true, true
		if !slices.Contains(have.Routes, e.route) || !slices.Contains(have.Neighs, e.neigh) || !slices.Contains(have.FDBs, e.fdb) {
			plan.Add = append(plan.Add, p)
		}
	}
	plan.Remove = stale(have, wanted)
	return plan
}

// stale puts entries that nobody wants together again to the peers that they
// belonged to: by the endpoint's address, and that by its MAC.
func stale(have State, wanted map[any]bool) []Peer {
	byIP, byMAC := map[netip.Addr]*Peer{}, map[string]*Peer{}
	var found []*Peer
	at := func(ip netip.Addr) *Peer {
		if byIP[ip] == nil {
			byIP[ip] = &Peer{Subnet: netip.PrefixFrom(ip, ip.BitLen())}
			found = append(found, byIP[ip])
		}
		return byIP[ip]
	}
	for _, r := range have.Routes {
		if r.Onlink && !wanted[r] {
			at(r.Via).Subnet = r.Dst
		}
	}
	for _, e := range have.Neighs {
		if !wanted[e] {
			p := at(e.IP)
			p.MAC, byMAC[e.MAC] = e.MAC, p
		}
	}
	for _, e := range have.FDBs {
		if wanted[e] {
			continue
		}
		p := byMAC[e.MAC]
		if p == nil {
			p = &Peer{MAC: e.MAC}
			found = append(found, p)
		}
		p.IP = e.Dst
	}
	list := make([]Peer, 0, len(found))
	for _, p := range found {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b Peer) int {
		return cmp.Or(a.Subnet.Addr().Compare(b.Subnet.Addr()), cmp.Compare(a.MAC, b.MAC))
	})
	return list
}

// Plan implements [Backend].
func (v VTEP) Plan(n *link.Net, want []Peer) (Plan, error) {
	have, err := v.Read(n)
	if err != nil {
		return Plan{}, err
	}
	return v.Diff(have, want), nil
}

// Read reads what the kernel has of the endpoint's entries; nothing if there is
// no endpoint.
func (v VTEP) Read(n *link.Net) (State, error) {
	v = v.withDefaults()
	if _, ok, err := n.Link(v.Name); !ok {
		return State{}, err
	}
	routes, err1 := n.Routes(v.Name)
	neighs, err2 := n.Neighs(v.Name)
	fdbs, err3 := n.FDBs(v.Name)
	return State{Routes: routes, Neighs: neighs, FDBs: fdbs}, errors.Join(err1, err2, err3)
}
