package view

import (
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// HopRow is a hop in the list of hops. Of one that is ahead of the eye only
// its place is known.
type HopRow struct {
	N        int
	Seq      uint64 // of its event
	Leg      string
	Attempt  int
	Ground   string // the machine: a node, "gateway", "outside"
	Pod      string // the pod's name, in its namespace
	Place    string // what of it: an interface, a chain, "route"
	Layer    string
	Dir      string
	Peer     string
	Hook     string
	Table    string
	Chain    string
	Verdict  string
	Jump     string
	Rule     *step.HopRule
	Skipped  []step.HopRule
	In, Out  step.HopHeader // before and after
	Changed  []string
	Outer    *step.HopOuter
	Route    *step.HopRoute
	CT       *step.HopCT
	Neigh    *step.HopNeigh
	Drop     *step.HopDrop
	At       step.Seconds
	Inferred bool
	Owner    *step.Object
	Ahead    bool
}

func newHopRow(h *fold.Hop, before *step.HopHeader, ahead bool) HopRow {
	r := HopRow{N: h.Hop.Seq, Seq: h.EventSeq, Leg: h.Leg, Attempt: h.Attempt, Ground: ground(&h.Hop), Layer: h.Layer, Ahead: ahead}
	r.Place, r.Pod = hopPlace(&h.Hop), podName(h.NS)
	r.Hook = h.Hook
	if ahead {
		return r
	}
	r.Dir, r.Peer, r.Table, r.Chain, r.Verdict, r.Jump, r.Rule, r.Skipped = h.Dir, h.Peer, h.Table, h.Chain, h.Verdict, h.Jump, h.Rule, h.Skipped
	r.In, r.Out, r.Changed, r.Outer, r.Route, r.CT, r.Neigh, r.Drop = h.Hdr, h.Hdr, h.Changed, h.Outer, h.Route, h.CT, h.Neigh, h.Drop
	if before != nil {
		r.In = *before
	}
	r.At, r.Inferred, r.Owner = h.At, h.Confidence == "inferred", h.Object
	if r.Owner == nil && h.Drop != nil {
		r.Owner = h.Drop.Object
	}
	return r
}

// Has tells whether a field of the headers changed here.
func (r *HopRow) Has(field string) bool { return slices.Contains(r.Changed, field) }

// podName is the name of the pod in whose namespace a hop is, "" if it is in none.
func podName(ns string) string {
	pod, ok := strings.CutPrefix(ns, "pod/")
	if !ok {
		return ""
	}
	return strings.TrimPrefix(pod, "default/")
}

// hopPlace says where on its machine a hop is.
func hopPlace(h *step.Hop) string {
	switch h.Layer {
	case step.LayerRule:
		if h.Chain == "" {
			return strings.TrimSpace(h.Table + " " + strings.ToUpper(h.Hook))
		}
		return strings.TrimSpace(h.Table + " " + h.Chain)
	case step.LayerRoute, step.LayerConntrack, step.LayerSocket:
		return h.Layer
	case step.LayerNeighbour:
		if h.Neigh != nil && h.Neigh.Table != "" {
			return h.Neigh.Table
		}
		return h.Layer
	case step.LayerDrop:
		switch {
		case h.Chain != "":
			return strings.TrimSpace(h.Table + " " + h.Chain)
		case h.Iface != "":
			return h.Iface
		case h.Hook != "":
			return strings.ToUpper(h.Hook)
		}
		return h.Layer
	}
	if h.Iface != "" {
		return h.Iface
	}
	return h.Layer
}

// Ground is a machine that a packet passes: a node with the pods on it, the
// gateway, the outside.
type Ground struct {
	Name     string
	Address  string
	Stations []Station
	Wire     bool       // it only joins the machines beside it
	Broken   []FaultRow // faults of it that are at none of its stations
}

// Station is a place on a machine at which a packet makes one hop or several.
type Station struct {
	Name    string // "eth0", "PREROUTING", "route"
	Note    string // an address, the chains of a hook, a route
	Pod     string
	Address string // of the pod
	Rules   bool
	From    int // the number of its first hop
	N       int // of the hop at which the packet is, 0 if it is elsewhere
	Ahead   bool
	Changed bool
	Bad     bool // it ends here
	Encap   *step.HopOuter
	Broken  *FaultRow
}

// grounds arranges rows by machines and the stations on them.
func grounds(s *fold.State, v *PacketStage, p *fold.Packet) []Ground {
	var list []Ground
	rows, now := v.Rows, 0
	if v.Now >= 0 {
		now = rows[v.Now].N
	}
	for i := range rows {
		r := &rows[i]
		if len(list) == 0 || list[len(list)-1].Name != r.Ground {
			list = append(list, Ground{Name: r.Ground, Address: nodeAddress(s, r.Ground, strings.Contains(p.To.Address, ":"))})
		}
		g := &list[len(list)-1]
		name, fresh := stationName(r), true
		if n := len(g.Stations); n > 0 {
			last := &g.Stations[n-1]
			fresh = name != "" && (last.Name != name || last.Pod != r.Pod)
		}
		if fresh {
			if name == "" {
				name = r.Place
			}
			g.Stations = append(g.Stations, Station{Name: name, Pod: r.Pod, Address: podAddress(s, p, r.Pod), Rules: r.Layer == step.LayerRule || r.Layer == step.LayerDrop && r.Hook != "", From: r.N, Ahead: true})
		}
		g.Stations[len(g.Stations)-1].add(r, now)
	}
	for i := range list {
		list[i].faults(s)
		list[i].Wire = i > 0 && i < len(list)-1 && list[i].Name == "underlay"
	}
	return list
}

// stationName is the station that a hop belongs to; "" is the one before it.
func stationName(r *HopRow) string {
	switch r.Layer {
	case step.LayerRule:
		if r.Hook != "" {
			return strings.ToUpper(r.Hook)
		}
		return r.Place
	case step.LayerConntrack, step.LayerNeighbour:
		return ""
	case step.LayerDrop:
		if r.Hook != "" {
			return strings.ToUpper(r.Hook)
		}
		if r.Place == step.LayerDrop {
			return ""
		}
	}
	return r.Place
}

// add lets the hop r be a part of the station.
func (t *Station) add(r *HopRow, now int) {
	t.Ahead = t.Ahead && r.Ahead
	if r.N == now {
		t.N = r.N
	}
	if r.Ahead {
		return
	}
	t.Changed = t.Changed || moved(r.Changed)
	t.Bad = t.Bad || r.Drop != nil
	if r.Outer != nil {
		t.Encap = r.Outer
	}
	switch {
	case (r.Layer == step.LayerRule || r.Layer == step.LayerDrop) && strings.Contains(r.Chain, "-"):
		if t.Note != "" {
			t.Note += " › "
		}
		t.Note += r.Chain
	case r.Layer == step.LayerRule && t.Note == "" && r.Verdict != "jump" && r.Verdict != "":
		t.Note = strings.ToUpper(r.Verdict)
	case r.Route != nil && r.Route.Dev != "":
		t.Note = strings.TrimSpace(r.Route.Dst + " → " + r.Route.Dev)
	case r.Route != nil:
		t.Note = r.Route.Type
	}
}

func (g *Ground) faults(s *fold.State) {
	for _, f := range s.Faults {
		row := FaultRow{f.ID, f.Card, f.Node, f.Target}
		if f.Node != g.Name {
			continue
		}
		at := slices.IndexFunc(g.Stations, func(t Station) bool { return brokenAt(f.FaultDetail, &t) })
		if at < 0 {
			g.Broken = append(g.Broken, row)
			continue
		}
		g.Stations[at].Broken = &row
	}
}

// brokenAt tells whether a station is where a fault is.
func brokenAt(f step.FaultDetail, t *Station) bool {
	if f.Target == t.Name {
		return true
	}
	if strings.Contains(f.Target, "/") { // a pod's cable
		return t.Pod != "" && "default/"+t.Pod == f.Target || t.Pod == f.Target
	}
	at := map[string][]string{
		"cut-link": {"eth0"}, "drop": {"eth0"}, "delay": {"eth0"}, "slow": {"eth0"}, "mtu": {"flannel.1", "flannel-v6.1", "eth0"}, "vxlan-down": {"flannel.1", "flannel-v6.1"},
		"no-fdb": {"flannel.1", "flannel-v6.1"}, "no-arp": {"flannel.1", "flannel-v6.1"}, "blackhole": {"route"}, "wrong-route": {"route"}, "no-default-route": {"route"},
		"ip-forward": {"route"}, "rp-filter": {"route"}, "bridge-nf": {"cni0"}, "flush-chain": {"PREROUTING"}, "firewall": {"INPUT", "PREROUTING"},
	}[f.Card]
	return t.Pod == "" && slices.Contains(at, t.Name)
}

// nodeAddress is a node's address, of IPv6 if the packet is.
func nodeAddress(s *fold.State, name string, six bool) string {
	n := s.Nodes[name]
	if n == nil {
		return ""
	}
	for _, l := range n.Net.Links {
		for _, a := range l.Addresses {
			if l.Name == "eth0" && strings.Contains(a, ":") == six {
				address, _, _ := strings.Cut(a, "/")
				return address
			}
		}
	}
	return ""
}

func podAddress(s *fold.State, p *fold.Packet, pod string) string {
	if pod == "" {
		return ""
	}
	namespace, name, ok := strings.Cut(pod, "/")
	if !ok {
		namespace, name = "default", pod
	}
	for _, end := range []step.Place{p.From, p.To} {
		if end.Kind == "pod" && end.Name == name && end.Namespace == namespace {
			return end.Address
		}
	}
	key := fold.Key{Resource: "pods", Namespace: namespace, Name: name}
	if o := s.Objects[key]; o != nil && o.Text("status.podIP") != "" {
		return o.Text("status.podIP")
	}
	for _, n := range s.Nodes {
		if b := n.Pods[key]; b != nil && len(b.Addresses) > 0 {
			return b.Addresses[0]
		}
	}
	return ""
}
