package trace

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

// Way is what became of a packet: the hops of the request, of its answer, and
// of errors about it.
type Way struct {
	Hops    []step.Hop
	Outcome string // of step.PacketDetail
	Drop    *step.HopDrop
	Notes   []string
}

// Assemble makes the ordered list of hops of a capture, and says what became of
// the packet. It is a pure function. What it would ask the kernel, and what is
// not among the capture's answers, is missing: with the answers the list is
// better.
//
// Order: what a tap saw is in order within its space, and between spaces by
// time. A rule's place is between taps, by its hook: prerouting behind the link
// by which the packet came, which of a bridge is the port; postrouting before
// the link by which it leaves. What is inferred from answers lies where the
// kernel decides it: routing between prerouting and the rest.
func Assemble(c *Capture, names Names) (w Way, missing []Question) {
	a := &assembly{Capture: c, names: names, asker: newAsker(c.Answers)}
	a.sortTaps()
	a.group()
	for _, f := range a.flights {
		a.fly(f)
	}
	w.Hops = a.list()
	a.conclude(&w)
	number(w.Hops)
	if c.Lost {
		w.Notes = append(w.Notes, "the kernel had more to say about rules than could be heard: rules may be missing")
	}
	if c.Watching && c.Ask.Proto == "tcp" && c.Ask.To.Port() == dnsPort {
		w.Notes = append(w.Notes, "what DNS is asked by TCP is not decoded: of a connection only the packets that begin it are listened to")
	}
	w.Notes = append(w.Notes, a.legacyNotes()...)
	w.Notes = append(w.Notes, a.balancedNotes()...)
	return w, a.missing
}

// assembly is a capture that is being put in order.
type assembly struct {
	*Capture
	*asker
	names   Names
	taps    []tapped
	flights []*flight
	items   []item
}

// tapped is a packet at a link, with its place in the order of all.
type tapped struct {
	Seen
	leg   string
	order int64
	link  Link
}

// flight is one packet within one space: a leg, and the time it was sent.
type flight struct {
	space   string
	leg     string
	attempt int
	taps    []int // indices of taps
	runs    []*run
}

// item is a hop with its place: beside a tap (before or after it), and there by
// class and number.
type item struct {
	tap   int // index; -1: before all
	side  int // -1 before the tap, 0 the tap itself, 1 behind it
	class int
	n     int
	hop   step.Hop
}

// The order of what is on the same side of a tap.
const (
	classDecap = iota
	classLocalRoute
	classPre // prerouting and output, with connection tracking in between
	classRoute
	classMid // input, forward
	classPost
	classNeighbour
	classEncap
	classOuter // the rules of the outer packet on its way out
	classEnd
)

func (a *assembly) sortTaps() {
	last := map[string]int64{}
	for _, s := range a.Seen {
		leg := a.leg(s.P)
		if leg == "" || a.flooded(s) {
			continue
		}
		// What a bridge hands up has the time at which it came in.
		order := max(s.At, last[s.Space])
		last[s.Space] = order
		a.taps = append(a.taps, tapped{Seen: s, leg: leg, order: order, link: a.Capture.link(s.Space, s.Index)})
	}
	slices.SortStableFunc(a.taps, func(x, y tapped) int { return cmp.Compare(x.order, y.order) })
}

// flooded is a copy that a bridge sent to somebody whom it is not for, because
// it did not know the port of the one whom it is for.
func (a *assembly) flooded(s Seen) bool {
	l := a.Capture.link(s.Space, s.Index)
	if !s.Out {
		return s.Other && l.Master == "" && !a.handedOn(s, l)
	}
	if l.PeerSpace == "" || l.Master == "" {
		return false
	}
	for _, x := range a.Seen {
		far := a.Capture.link(x.Space, x.Index)
		if x.Space == l.PeerSpace && x.Other && !x.Out && far.Name == l.Peer && alike(x.P, s.P) && far.Master == "" && !a.handedOn(x, far) {
			return true
		}
	}
	return false
}

// handedOn tells whether a card took a packet that is for a link that shares it.
func (a *assembly) handedOn(s Seen, card Link) bool {
	return slices.ContainsFunc(a.Seen, func(x Seen) bool {
		l := a.Capture.link(x.Space, x.Index)
		return l.shares() && l.PeerSpace == s.Space && l.Peer == card.Name && !x.Out && alike(x.P, s.P)
	})
}

// alike tells whether a packet that was seen twice is the same.
func alike(x, y *Packet) bool { return x.ID == y.ID && x.Src == y.Src && x.SPort == y.SPort }

// group puts taps and runs together to flights.
func (a *assembly) group() {
	sent := attempts{ids: map[string][]uint32{}, passed: map[string]int{}}
	find := func(space, leg string, attempt int) *flight {
		for _, f := range a.flights {
			if f.space == space && f.leg == leg && f.attempt == attempt {
				return f
			}
		}
		f := &flight{space: space, leg: leg, attempt: attempt}
		a.flights = append(a.flights, f)
		return f
	}
	for i, t := range a.taps {
		f := find(t.Space, t.leg, sent.of(t.leg, t.P, t.Space, t.Index, t.Out))
		f.taps = append(f.taps, i)
	}
	for _, r := range a.runs(a.asker) {
		if leg := a.leg(r.p); leg != "" {
			f := find(r.space, leg, sent.of(leg, r.p, r.space, r.hook, r.prio, r.events[0].Table, r.events[0].Chain))
			f.runs = append(f.runs, r)
			continue
		}
		for _, t := range a.taps {
			if t.Space == r.space && same(r.p, t.P) {
				f := find(r.space, t.leg, sent.of(t.leg, t.P, "outer", r.space, r.hook, r.prio, r.events[0].Table, r.events[0].Chain))
				f.runs = append(f.runs, r)
				break
			}
		}
	}
}

// attempts numbers the packets of a leg: what was sent again has a number of
// its own in its header.
type attempts struct {
	ids    map[string][]uint32 // by leg, in the order in which they were sent
	passed map[string]int
}

// of is which attempt a packet is that was at a place. A datagram of IPv6 has the
// number of the one before it: which one it is, is how often it has been there.
func (s *attempts) of(leg string, p *Packet, place ...any) int {
	if p.Src.Is6() && p.Proto != unix.IPPROTO_TCP {
		at := fmt.Sprint(leg, p.from(), p.to(), p.TTL, p.Outer != nil, place)
		s.passed[at]++
		return s.passed[at]
	}
	if !slices.Contains(s.ids[leg], p.ID) {
		s.ids[leg] = append(s.ids[leg], p.ID)
	}
	return slices.Index(s.ids[leg], p.ID) + 1
}

// list puts the items in their order, and works out what follows from it.
func (a *assembly) list() (hops []step.Hop) {
	slices.SortStableFunc(a.items, func(x, y item) int {
		return cmp.Or(cmp.Compare(x.tap, y.tap), cmp.Compare(x.side, y.side), cmp.Compare(x.class, y.class), cmp.Compare(x.n, y.n))
	})
	for _, it := range a.items {
		hops = append(hops, it.hop)
	}
	translated(hops)
	return hops
}

// number gives the hops their numbers, and says what changed from each to the
// next of the same leg.
func number(hops []step.Hop) {
	type packet struct {
		leg     string
		attempt int
	}
	last := map[packet]step.HopHeader{}
	for i := range hops {
		h := &hops[i]
		h.Seq, h.Changed = i+1, nil
		if h.Attempt == 1 {
			h.Attempt = 0
		}
		key := packet{h.Leg, h.Attempt}
		if was, ok := last[key]; ok {
			h.Changed = changes(was, h.Hdr)
		}
		is := h.Hdr
		if is.DstMAC == "" {
			is.SrcMAC, is.DstMAC = last[key].SrcMAC, last[key].DstMAC
		}
		last[key] = is
	}
}

// translated gives the hop of a rule that translates addresses the header that
// it makes, which is that of the next place at which the packet was seen.
func translated(hops []step.Hop) {
	for i := range hops {
		h := &hops[i]
		if h.Verdict != "dnat" && h.Verdict != "snat" && h.Verdict != "masquerade" {
			continue
		}
		for _, next := range hops[i+1:] {
			if next.Leg == h.Leg && next.Attempt == h.Attempt && next.NS == h.NS && (next.Layer == step.LayerLink || next.Hook != h.Hook) {
				if h.Verdict == "dnat" {
					h.Hdr.Dst = next.Hdr.Dst
				} else {
					h.Hdr.Src = next.Hdr.Src
				}
				carry(hops[i+1:], h)
				break
			}
		}
	}
}

// carry gives the translated address to what follows in the same hook.
func carry(hops []step.Hop, h *step.Hop) {
	for i := range hops {
		next := &hops[i]
		if next.NS != h.NS || next.Leg != h.Leg || next.Attempt != h.Attempt || next.Hook != h.Hook || next.Layer != step.LayerRule || next.Table != h.Table {
			return
		}
		if h.Verdict == "dnat" {
			next.Hdr.Dst = h.Hdr.Dst
		} else {
			next.Hdr.Src = h.Hdr.Src
		}
	}
}
