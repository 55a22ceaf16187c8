package trace

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

// connections places the connection that the packet belongs to in this space:
// where tracking finds it, between the raw table and the others.
func (a *assembly) connections(f *flight, places []item) {
	if len(f.runs) == 0 || f.leg == legError {
		return
	}
	first := a.firstIn(f.space)
	if first == nil {
		return
	}
	q := Question{Kind: askConntrack, Space: f.space, Proto: first.Proto, Src: first.Src, Dst: first.Dst, SPort: first.SPort, DPort: first.DPort}
	if first.icmp() {
		q.SPort = first.Ident
	}
	at := -1
	before, _, led := a.balanced(f)
	for i, r := range f.runs {
		if led && i > before {
			break
		}
		if a.carried(f, r) != nil {
			continue
		}
		if (r.hook == "prerouting" || r.hook == "output") && r.prio < conntrackPriority || at < 0 {
			at = i
		}
	}
	if at < 0 {
		return
	}
	x, ok := a.ask(q)
	if !ok || x.CT == nil {
		return
	}
	ct := *x.CT
	if ct.Status = "established"; f.leg == legRequest {
		ct.Status = "new"
	}
	r := f.runs[at]
	it := places[at]
	it.n = a.hopsUpTo(f, at)
	if r.prio >= conntrackPriority { // nothing before it
		it.n = -1
	}
	hdr := r.p.header()
	hdr.Mark = r.mark
	it.hop = a.in(f, step.Hop{Layer: step.LayerConntrack, Hook: r.hook, CT: &ct, Hdr: hdr, At: a.timeAt(it), Confidence: confInferred})
	a.items = append(a.items, it)
}

// conntrackPriority is NF_IP_PRI_CONNTRACK: chains before it see no connection.
const conntrackPriority = -200

// firstIn is the request as it came to a space or began in it, which is what
// its connection there is known by.
func (a *assembly) firstIn(space string) *Packet {
	for _, f := range a.flights {
		if f.space != space || f.leg != legRequest {
			continue
		}
		for _, r := range f.runs {
			if a.carried(f, r) == nil {
				return r.p
			}
		}
		for _, i := range f.taps {
			if a.taps[i].P.Outer == nil {
				return a.taps[i].P
			}
		}
	}
	return nil
}

// routes places the routing decisions of a flight, and the entries by which
// its next stop got a MAC.
func (a *assembly) routes(f *flight, places []item) {
	before, _, led := a.balanced(f)
	for k, i := range f.taps {
		t := a.taps[i]
		if t.P.Outer != nil && !t.Out {
			continue
		}
		var was *tapped
		if k > 0 {
			was = &a.taps[f.taps[k-1]]
		}
		switch {
		case led && t.Out && t.P.Outer == nil && (was == nil || !was.Out):
			in := -1
			if was != nil {
				in = f.taps[k-1]
			}
			a.balancedRoutes(f, in, i, before, places)
		case t.Out && was == nil && t.P.Outer == nil:
			if !a.shared(&t) {
				a.sent(f, i)
			}
		case t.Out && was != nil && !was.Out && was.P.Outer == nil && t.P.TTL < was.P.TTL:
			a.forwarded(f, f.taps[k-1], i)
		case !t.Out && k == len(f.taps)-1:
			a.arrived(f, i)
		}
	}
	if len(f.taps) == 0 && len(f.runs) > 0 && f.runs[0].hook == "output" {
		h := a.routeHop(Question{Kind: askRoute, Space: f.space, Dst: f.runs[0].p.Dst}, f, f.runs[0].p)
		a.items = append(a.items, item{tap: -1, class: classLocalRoute, hop: h})
	}
}

// sent is of a packet that began here, as it leaves by its first link.
func (a *assembly) sent(f *flight, i int) {
	t := a.taps[i]
	began := t.P
	for _, r := range f.runs {
		if r.hook == "output" && a.carried(f, r) == nil {
			began = r.p
			break
		}
	}
	q := Question{Kind: askRoute, Space: f.space, Dst: began.Dst, Src: a.ownSource(f, began)}
	a.items = append(a.items, item{tap: i, side: -1, class: classLocalRoute, hop: a.routeHop(q, f, began)})
	if t.P.Dst != began.Dst {
		q.Dst = t.P.Dst
		a.items = append(a.items, item{tap: i, side: -1, class: classRoute, hop: a.routeHop(q, f, t.P)})
	}
	a.neighbour(f, i, q)
}

// past tells whether a flight is of a packet that did not enter its space: it only
// used a card there that a link of another space shares.
func (a *assembly) past(f *flight) bool {
	return len(f.runs) == 0 && len(f.taps) > 0 && !slices.ContainsFunc(f.taps, func(i int) bool { return !a.taps[i].Out || !a.shared(&a.taps[i]) })
}

// shared tells whether a packet leaves by a card past the node whose card it is:
// a link of another space shares it, and sent the packet.
func (a *assembly) shared(t *tapped) bool {
	return slices.ContainsFunc(a.taps, func(x tapped) bool {
		return x.Out && x.leg == t.leg && x.P.ID == t.P.ID && x.link.shares() && x.link.PeerSpace == t.Space && x.link.Peer == t.link.Name
	})
}

// ownSource is the packet's source as far as it decides the route: an answer
// and a bound socket have one, others get it from the route.
func (a *assembly) ownSource(f *flight, p *Packet) netip.Addr {
	if f.leg == legRequest && !a.Ask.Src.IsValid() {
		return netip.Addr{}
	}
	return p.Src
}

// forwarded is of a packet that came by one link and leaves by another.
func (a *assembly) forwarded(f *flight, in, out int) {
	q := a.routeOf(f, in, a.taps[out].P.Dst)
	hdr := *a.taps[in].P
	hdr.Dst, hdr.DPort = a.taps[out].P.Dst, a.taps[out].P.DPort
	h := a.routeHop(q, f, &hdr)
	h.Hdr.SrcMAC, h.Hdr.DstMAC = "", ""
	a.items = append(a.items, item{tap: in, side: 1, class: classRoute, hop: h})
	a.neighbour(f, out, q)
}

func (a *assembly) routeOf(f *flight, in int, dst netip.Addr) Question {
	t := a.taps[in]
	dev := t.link.Name
	if t.link.Master != "" {
		dev = t.link.Master
	}
	return Question{Kind: askRoute, Space: f.space, Dst: dst, Src: t.P.Src, In: dev, Mark: 0}
}

// arrived is of a packet that goes no further than to this space.
func (a *assembly) arrived(f *flight, i int) {
	t := a.taps[i]
	if t.P.Outer != nil || t.link.Master != "" || t.link.Name == "lo" { // behind the loopback nothing is decided again
		return
	}
	dst := t.P.Dst
	if n := len(f.runs); n > 0 && f.runs[n-1].hook == "input" {
		dst = f.runs[n-1].p.Dst
	}
	if !a.owns(f.space, dst) {
		return
	}
	hdr := *t.P
	hdr.Dst = dst
	h := a.routeHop(a.routeOf(f, i, dst), f, &hdr)
	a.items = append(a.items, item{tap: i, side: 1, class: classRoute, hop: h})
}

// owns tells whether an address is one of a space's.
func (a *assembly) owns(space string, addr netip.Addr) bool {
	s := a.Capture.space(space)
	return s != nil && (addr.IsLoopback() || slices.ContainsFunc(s.Links, func(l Link) bool {
		return slices.ContainsFunc(l.Addrs, func(p string) bool { return parsePrefix(p).Addr() == addr })
	}))
}

func (a *assembly) routeHop(q Question, f *flight, p *Packet) step.Hop {
	h := step.Hop{Layer: step.LayerRoute, Hdr: p.header(), Confidence: confInferred}
	h.Hdr.SrcMAC, h.Hdr.DstMAC = "", ""
	if x, ok := a.ask(q); ok {
		h.Route = x.Route
		if x.Route == nil {
			h.Route = &step.HopRoute{Type: routeErrors[unix.Errno(x.Errno)]}
		}
		if a.names != nil && h.Route.Via != "" {
			if via, err := netip.ParseAddr(h.Route.Via); err == nil {
				h.Object = a.names.Address(via)
			}
		}
	}
	return a.in(f, h)
}

// routeErrors are what the kernel says where it has no way.
var routeErrors = map[unix.Errno]string{
	unix.ENETUNREACH: "none", unix.EHOSTUNREACH: "unreachable", unix.EACCES: "prohibit", unix.EINVAL: "blackhole", unix.EXDEV: "none",
}

// neighbourTable is what the table is called in which an address has a MAC.
func neighbourTable(a netip.Addr) string {
	if a.Is6() {
		return "nd"
	}
	return "arp"
}

// neighbour places the entry that gave the packet its MAC, and at a VXLAN link
// the one that says which node has that MAC.
func (a *assembly) neighbour(f *flight, i int, q Question) {
	t := a.taps[i]
	x, ok := a.ask(q)
	if !ok || x.Route == nil || x.Route.Type != "unicast" || t.P.DstMAC == "" {
		return
	}
	next := t.P.Dst
	if via, err := netip.ParseAddr(x.Route.Via); err == nil {
		next = via
	}
	n := Question{Kind: askNeighbour, Space: f.space, Dst: next, Dev: x.Route.Dev}
	e, _ := a.ask(n)
	hdr := t.P.header()
	entry := &step.HopNeigh{Table: neighbourTable(next), Key: next.String(), Found: e.Found, Dev: x.Route.Dev, State: e.State}
	a.items = append(a.items, item{tap: i, side: -1, class: classNeighbour, hop: a.in(f, step.Hop{
		Layer: step.LayerNeighbour, Hdr: hdr, Neigh: entry, At: a.timeAt(item{tap: i}), Confidence: confInferred})})
	if t.link.Kind != "vxlan" {
		return
	}
	d, _ := a.ask(Question{Kind: askFDB, Space: f.space, Key: t.P.DstMAC, Dev: t.link.Name})
	h := step.Hop{Layer: step.LayerNeighbour, Hdr: hdr, At: a.timeAt(item{tap: i}), Confidence: confInferred,
		Neigh: &step.HopNeigh{Table: "fdb", Key: t.P.DstMAC, Found: d.Found, Dev: t.link.Name, State: d.State}}
	if a.names != nil {
		if at, err := netip.ParseAddr(d.Found); err == nil {
			h.Object = a.names.Address(at)
		}
	}
	a.items = append(a.items, item{tap: i, side: 1, class: classEncap, hop: a.in(f, h)})
}
