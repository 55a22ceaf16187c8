package trace

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

// tableIPVS is the table of hops by which the kernel's load balancer changed a
// packet. It is no table of netfilter's.
const tableIPVS = "ipvs"

// balanced finds where the kernel's load balancer took a request: before is its
// last run as a packet to a Service, in INPUT or, sent here, in OUTPUT; after is
// the first one of the packet to an endpoint, which the balancer sends through
// OUTPUT from its beginning. It tells nobody of it, so that this is inferred:
// no rule brings a packet there again.
// Source: net/netfilter/ipvs/ip_vs_xmit.c, ip_vs_nat_xmit.
func (a *assembly) balanced(f *flight) (before, after int, ok bool) {
	if f.leg != legRequest {
		return 0, 0, false
	}
	last := -1
	for i, r := range f.runs {
		if a.carried(f, r) != nil {
			continue
		}
		if last >= 0 && r.hook == "output" && r.p.to() != f.runs[last].p.to() {
			if was := f.runs[last]; was.hook == "input" || was.hook == "output" && r.prio <= was.prio {
				return last, i, true
			}
		}
		last = i
	}
	return 0, 0, false
}

// balancedIn is the same of the request's way through a space: to whom it was
// sent, and to whom it went on.
func (a *assembly) balancedIn(space string) (virtual, real *Packet) {
	for _, f := range a.flights {
		if before, after, ok := a.balanced(f); ok && f.space == space {
			return f.runs[before].p, f.runs[after].p
		}
	}
	return nil, nil
}

// balance places the hops at which the load balancer translates: a request
// behind INPUT, and its answer behind FORWARD, or INPUT where it ends.
func (a *assembly) balance(f *flight, places []item) {
	if before, after, ok := a.balanced(f); ok {
		r := f.runs[before]
		hdr := r.p.header()
		hdr.Dst, hdr.Mark = f.runs[after].p.to().String(), r.mark
		a.balancedHop(f, places, before, "dnat", r.p, f.runs[after].p, hdr)
		return
	}
	virtual, real := a.balancedIn(f.space)
	if f.leg != legReply || virtual == nil {
		return
	}
	for i := len(f.runs) - 1; i >= 0; i-- {
		r := f.runs[i]
		if a.carried(f, r) != nil || r.hook != "forward" && r.hook != "input" || r.p.from() != real.to() {
			continue
		}
		hdr := r.p.header()
		hdr.Src, hdr.Mark = virtual.to().String(), r.mark
		a.balancedHop(f, places, i, "snat", virtual, real, hdr)
		return
	}
}

func (a *assembly) balancedHop(f *flight, places []item, at int, verdict string, virtual, real *Packet, hdr step.HopHeader) {
	it := places[at]
	it.n = a.hopsUpTo(f, at)
	flag := "-t"
	if virtual.Proto == unix.IPPROTO_UDP {
		flag = "-u"
	}
	h := step.Hop{Layer: step.LayerRule, Hook: f.runs[at].hook, Table: tableIPVS, Chain: "IPVS", Verdict: verdict, Hdr: hdr, At: a.timeAt(it),
		Rule: &step.HopRule{Text: fmt.Sprintf("%s %s -r %s -m", flag, virtual.to(), real.to())}, Confidence: confInferred}
	h.Iface, h.Dir = f.runs[at].in, "in"
	if h.Iface == "" {
		h.Iface, h.Dir = f.runs[at].out, "out"
	}
	if a.names != nil {
		h.Object, _, _ = a.names.Endpoints(virtual.to(), a.Ask.Proto)
	}
	it.hop = a.in(f, h)
	a.items = append(a.items, it)
}

// hopsUpTo is how many hops the runs of a flight are, up to and with one.
func (a *assembly) hopsUpTo(f *flight, last int) (n int) {
	for i := 0; i <= last; i++ {
		n += len(f.runs[i].hops(a.Capture, nil))
	}
	return n
}

// balancedRoutes places the two routing decisions about a packet that is
// balanced: to the address of the Service, which is this node's own, and to the
// endpoint. In is -1 for a packet that was sent here.
func (a *assembly) balancedRoutes(f *flight, in, out, before int, places []item) {
	virtual := f.runs[before].p
	if in >= 0 {
		h := a.routeHop(a.routeOf(f, in, virtual.Dst), f, virtual)
		a.items = append(a.items, item{tap: in, side: 1, class: classRoute, hop: h})
	} else {
		h := a.routeHop(Question{Kind: askRoute, Space: f.space, Dst: virtual.Dst, Src: a.ownSource(f, virtual)}, f, virtual)
		a.items = append(a.items, item{tap: out, side: -1, class: classLocalRoute, hop: h})
	}
	q := Question{Kind: askRoute, Space: f.space, Dst: a.taps[out].P.Dst}
	it := places[before]
	it.n, it.hop = a.hopsUpTo(f, before), a.routeHop(q, f, a.taps[out].P)
	a.items = append(a.items, it)
	a.neighbour(f, out, q)
}

// balancedNotes says what of the load balancer cannot be seen.
func (a *assembly) balancedNotes() (notes []string) {
	for _, s := range a.Capture.Spaces {
		if virtual, real := a.balancedIn(s.Name); virtual != nil {
			notes = append(notes, fmt.Sprintf("%s has IPVS, which is no rule and does not tell what it does: that it sent the packet for %s on to %s is inferred from what came in and what went out, and nothing says why to this endpoint",
				s.Name, virtual.to(), real.to()))
		}
	}
	return notes
}
