package trace

import (
	"regexp"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// compared holds the way against what was predicted, leg by leg.
func (p *prediction) compared() Prediction {
	out := Prediction{kept: p.kept, PacketForecast: step.PacketForecast{Verdict: step.AsPredicted, Outcome: p.outcome(), Drop: p.ends[0].drop, Affinity: p.affinity}}
	if p.affinity != "" {
		out.Among = p.among
	}
	for i, leg := range []string{legRequest, legReply} {
		if i == 1 && (p.ends[0].drop != nil || !p.answers()) {
			break
		}
		if d := p.leaves(leg, p.ends[i]); d != nil {
			out.Verdict, out.Differs, out.What, out.Expected = step.Differs, d.seq, d.what, d.expected
			if d.what == step.DiffersTarget || d.what == step.DiffersLink {
				out.Among = p.among
			}
			break
		}
	}
	for _, w := range p.wants {
		out.Hops = append(out.Hops, w.Hop)
	}
	number(out.Hops)
	return out
}

// outcome is what is predicted to become of the packet. That somebody listens
// is not among what objects promise.
func (p *prediction) outcome() string {
	d := p.ends[0].drop
	switch {
	case d == nil && p.Ask.Proto == "udp":
		return "delivered"
	case d == nil:
		return "answered"
	case d.Reason == ReasonNetworkPolicy, d.Reason == ReasonNoEndpoints, d.Reason == ReasonNoRoute:
		return "refused"
	}
	return "lost"
}

// answers tells whether there is something to hold the reply against.
func (p *prediction) answers() bool {
	return slices.ContainsFunc(p.way.Hops, func(h step.Hop) bool { return h.Leg == legReply })
}

// difference is a hop at which the way leaves the prediction.
type difference struct {
	seq      int
	what     string
	expected *step.Hop // nil: it was to end before
}

// leaves finds the first difference of a leg: of its first packet, or, as some
// get lost on a busy machine and are sent again, of the one that is least other.
func (p *prediction) leaves(leg string, end ending) (first *difference) {
	var attempts []int
	for _, h := range p.way.Hops {
		if h.Leg == leg && h.Layer != step.LayerDrop && h.Layer != step.LayerSocket && !slices.Contains(attempts, h.Attempt) {
			attempts = append(attempts, h.Attempt)
		}
	}
	if len(attempts) == 0 {
		attempts = []int{0}
	}
	for _, attempt := range attempts {
		d := p.attempt(leg, attempt, end)
		if d == nil {
			return nil
		}
		if first == nil || first.seq < d.seq && first.what == step.DiffersLost {
			first = d
		}
	}
	return first
}

// attempt compares one packet of a leg, hop by hop.
func (p *prediction) attempt(leg string, attempt int, end ending) *difference {
	c := &comparison{prediction: p, end: end}
	for _, w := range p.wants {
		if w.Leg == leg {
			c.wants = append(c.wants, w)
		}
	}
	last := 0
	for i := range p.way.Hops {
		h := &p.way.Hops[i]
		if h.Leg != leg || h.Attempt != attempt && h.Layer != step.LayerDrop && h.Layer != step.LayerSocket {
			continue
		}
		last = h.Seq
		if h.Layer == step.LayerDrop {
			return c.dropped(h)
		}
		if d := c.hop(h); d != nil {
			return d
		}
	}
	if next := c.next(); next != nil {
		return &difference{last, step.DiffersLost, &next.Hop}
	}
	if end.drop != nil && last > 0 {
		return &difference{last, step.DiffersGoesOn, c.ending()}
	}
	return nil
}

// comparison is how far a leg was as predicted.
type comparison struct {
	*prediction
	wants []want
	at    int // the next want
	end   ending
}

// next is the link that is to be passed next, nil if the leg is to end.
func (c *comparison) next() *want {
	for i := c.at; i < len(c.wants); i++ {
		if c.wants[i].Layer == step.LayerLink {
			return &c.wants[i]
		}
	}
	return nil
}

// ending is where the leg is to end, as a hop.
func (c *comparison) ending() *step.Hop {
	h := step.Hop{Layer: step.LayerSocket, NS: c.end.space, Confidence: confInferred, Drop: c.end.drop}
	for _, s := range c.All {
		if s.Name == h.NS {
			h.Node, h.Pod = s.Node, s.Pod
		}
	}
	if n := len(c.wants); n > 0 {
		h.Leg, h.Hdr = c.wants[n-1].Leg, c.wants[n-1].Hdr
	}
	if h.Drop != nil {
		h.Layer, h.Object = step.LayerDrop, h.Drop.Object
	}
	return &h
}

func (c *comparison) hop(h *step.Hop) *difference {
	next := c.next()
	switch h.Layer {
	case step.LayerLink:
		if h.Iface == "lo" || c.inner(h) {
			return nil
		}
		return c.link(h, next)
	case step.LayerRoute:
		return c.route(h, next)
	case step.LayerNeighbour:
		return c.neighbour(h, next)
	case step.LayerRule:
		return c.translated(h)
	}
	return nil
}

// inner is a link that may be passed or not: a bridge.
func (c *comparison) inner(h *step.Hop) bool {
	l := linkOf(c.links(h.NS), h.Iface)
	return l != nil && (l.Kind == "bridge" || l.Kind == "dummy")
}

func (c *comparison) link(h *step.Hop, next *want) *difference {
	if next == nil {
		return &difference{h.Seq, step.DiffersGoesOn, c.ending()}
	}
	differs := func(what string) *difference { return &difference{h.Seq, what, &next.Hop} }
	switch {
	case next.NS != h.NS || next.Iface != h.Iface || next.Dir != h.Dir:
		return differs(step.DiffersLink)
	case !sameOuter(next.Outer, h.Outer):
		return differs(step.DiffersOuter)
	case !sameEnd(next.Hdr.Dst, h.Hdr.Dst):
		return differs(step.DiffersTarget)
	case !sameEnd(next.Hdr.Src, h.Hdr.Src):
		return differs(step.DiffersSource)
	}
	for c.wants[c.at].Layer != step.LayerLink {
		c.at++
	}
	c.at++
	return nil
}

// route compares a routing decision with the link by which the packet is to
// leave. One about an address that is yet to be translated decides nothing,
// unless the packet came in by a link: then it was to be translated before.
func (c *comparison) route(h *step.Hop, next *want) *difference {
	if next == nil || h.Route == nil || h.Outer != nil || next.NS != h.NS || next.Dir != "out" || next.dev == "" {
		return nil
	}
	if !sameEnd(next.Hdr.Dst, h.Hdr.Dst) {
		if w := c.wants[c.at]; w.Layer == step.LayerRule && c.at > 0 && h.Route.Type == "unicast" && w.was == h.Hdr.Dst {
			return &difference{h.Seq, step.DiffersTarget, &w.Hop}
		}
		return nil
	}
	via := next.via
	if h.Route.Type == "unicast" && h.Route.Dev == next.dev && (via == "?" || via == h.Route.Via) {
		return nil
	}
	want := next.Hop
	want.Layer = step.LayerRoute
	return &difference{h.Seq, step.DiffersRoute, &want}
}

// neighbour compares what an entry says with who is to get the packet. One that
// is missing shows in that the packet ends.
func (c *comparison) neighbour(h *step.Hop, next *want) *difference {
	if h.Neigh == nil || h.Neigh.Found == "" {
		return nil
	}
	if h.Neigh.Table == "fdb" { // behind the link
		for i := range c.at {
			if w := c.wants[i]; w.fdb != "" && w.NS == h.NS && w.Iface == h.Neigh.Dev && w.fdb != h.Neigh.Found {
				return c.otherEntry(h, w, w.fdb)
			}
		}
		return nil
	}
	if next == nil || next.NS != h.NS || next.mac == "" || next.dev != h.Neigh.Dev || next.mac == h.Neigh.Found || !sameEnd(next.Hdr.Dst, h.Hdr.Dst) {
		return nil
	}
	return c.otherEntry(h, *next, next.mac)
}

func (c *comparison) otherEntry(h *step.Hop, w want, found string) *difference {
	want := w.Hop
	want.Layer, want.Route = step.LayerNeighbour, nil
	want.Neigh = &step.HopNeigh{Table: h.Neigh.Table, Key: h.Neigh.Key, Found: found, Dev: h.Neigh.Dev}
	return &difference{h.Seq, step.DiffersNeighbour, &want}
}

// ruleTarget is where a rule of iptables or nft leads packets.
var ruleTarget = regexp.MustCompile(`(?:--to-destination|dnat to) ([0-9a-f.:\[\]]+)`)

// translated compares where a rule leads the packet.
func (c *comparison) translated(h *step.Hop) *difference {
	if h.Verdict != "dnat" || h.Outer != nil || h.Leg != legRequest || h.Rule == nil {
		return nil
	}
	to := h.Hdr.Dst
	if m := ruleTarget.FindStringSubmatch(h.Rule.Text); m != nil && endOf(m[1]).IsValid() {
		to = m[1]
	}
	for i := c.at; i < len(c.wants); i++ {
		w := &c.wants[i]
		if w.Layer == step.LayerLink && w.NS != h.NS {
			break
		}
		if w.Layer == step.LayerRule && w.NS == h.NS && to != w.was && !sameEnd(w.Hdr.Dst, to) {
			return &difference{h.Seq, step.DiffersTarget, &w.Hop}
		}
	}
	return nil
}

// dropped is for a leg that ended on its way.
func (c *comparison) dropped(h *step.Hop) *difference {
	next := c.next()
	switch {
	case next != nil:
		return &difference{h.Seq, step.DiffersLost, &next.Hop}
	case c.end.drop != nil:
		reason := h.Drop.Reason
		if reason == ReasonND { // the same, of IPv6
			reason = ReasonARP
		}
		if c.end.space == h.NS && (reason == c.end.drop.Reason || slices.Contains(c.end.also, reason)) {
			return nil
		}
		return &difference{h.Seq, step.DiffersElsewhere, c.ending()}
	case h.Drop.Reason == ReasonNoListener || h.Drop.Reason == ReasonNoAnswer:
		return nil // it came to where it should; what a process does is its own affair
	}
	return &difference{h.Seq, step.DiffersLost, c.ending()}
}

func sameOuter(a, b *step.HopOuter) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Kind == b.Kind && endOf(a.Dst).Addr() == endOf(b.Dst).Addr() && endOf(a.Src).Addr() == endOf(b.Src).Addr()
}

// sameEnd compares the ends of a packet. Where a port is not known, or there is
// none, any will do.
func sameEnd(a, b string) bool {
	x, y := endOf(a), endOf(b)
	return x.Addr() == y.Addr() && (x.Port() == 0 || y.Port() == 0 || x.Port() == y.Port())
}
