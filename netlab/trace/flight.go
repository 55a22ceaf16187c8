package trace

import (
	"github.com/klab-project/klab/core/step"
)

// in fills in where a hop is.
func (a *assembly) in(f *flight, h step.Hop) step.Hop {
	h.NS, h.Leg, h.Attempt = f.space, f.leg, f.attempt
	if s := a.Capture.space(f.space); s != nil {
		h.Node, h.Pod = s.Node, s.Pod
	}
	if h.At == 0 && len(f.taps) > 0 {
		h.At = step.Seconds(a.taps[f.taps[0]].At - a.Began)
	}
	return h
}

// fly places everything that is known of one packet in one space.
func (a *assembly) fly(f *flight) {
	for _, i := range f.taps {
		a.items = append(a.items, item{tap: i, hop: a.linkHop(f, i)})
	}
	a.wraps(f)
	places := a.places(f)
	n := 0
	for i, r := range f.runs {
		hdr, outer := r.p.header(), (*step.HopOuter)(nil)
		if t := a.carried(f, r); t != nil {
			hdr, outer = t.P.header(), t.P.outer()
			hdr.SrcMAC, hdr.DstMAC = "", ""
		}
		hdr.Mark = r.mark
		for _, h := range r.hops(a.Capture, a.names) {
			n++
			h.Hdr, h.Outer = hdr, outer
			it := places[i]
			h.At = a.timeAt(it)
			it.n, it.hop = n, a.in(f, h)
			a.items = append(a.items, it)
		}
	}
	a.connections(f, places)
	a.balance(f, places)
	a.routes(f, places)
}

// timeAt is the time of the tap that an item is beside.
func (a *assembly) timeAt(it item) step.Seconds {
	if it.tap < 0 || it.tap >= len(a.taps) {
		return 0
	}
	return step.Seconds(a.taps[it.tap].At - a.Began)
}

func (a *assembly) linkHop(f *flight, i int) step.Hop {
	t := a.taps[i]
	h := step.Hop{Layer: step.LayerLink, Iface: t.link.Name, Dir: "in", Hdr: t.P.header(), Outer: t.P.outer(),
		At: step.Seconds(t.At - a.Began), Confidence: confObserved}
	if o := t.P.Outer; o != nil {
		h.Hdr.SrcMAC, h.Hdr.DstMAC = o.SrcMAC, o.DstMAC
	}
	if t.Out {
		h.Dir = "out"
	}
	switch {
	case t.link.Peer != "":
		h.Peer = t.link.PeerSpace + " " + t.link.Peer
	case t.link.Master != "":
		h.Peer = t.link.Master
	}
	return a.in(f, h)
}

// carried is the tap at which the packet of a run is around another, nil if it
// is the packet itself.
func (a *assembly) carried(f *flight, r *run) *tapped {
	if a.leg(r.p) != "" {
		return nil
	}
	for _, i := range f.taps {
		if t := &a.taps[i]; t.P.Outer != nil && same(r.p, t.P) {
			return t
		}
	}
	return nil
}

// wraps places where the packet becomes the load of another, and is itself again.
func (a *assembly) wraps(f *flight) {
	for n, i := range f.taps {
		t := a.taps[i]
		wrapped, came := false, false
		if n > 0 {
			wrapped, came = a.taps[f.taps[n-1]].P.Outer != nil, !a.taps[f.taps[n-1]].Out
		}
		hdr := t.P.header()
		switch {
		case t.P.Outer != nil && t.Out && !(wrapped && came):
			h := step.Hop{Layer: step.LayerEncap, Iface: t.link.Name, Dir: "out", Hdr: hdr, Outer: t.P.outer(),
				At: step.Seconds(t.At - a.Began), Confidence: confObserved}
			if n > 0 {
				h.Iface = a.taps[f.taps[n-1]].link.Name
			}
			h.Hdr.SrcMAC, h.Hdr.DstMAC = "", ""
			a.items = append(a.items, item{tap: i, side: -1, class: classEncap, hop: a.in(f, h)})
		case t.P.Outer == nil && !t.Out && wrapped && came:
			h := step.Hop{Layer: step.LayerDecap, Iface: t.link.Name, Dir: "in", Hdr: hdr, Outer: a.taps[f.taps[n-1]].P.outer(),
				At: step.Seconds(t.At - a.Began), Confidence: confObserved}
			h.Hdr.SrcMAC, h.Hdr.DstMAC = "", ""
			a.items = append(a.items, item{tap: i, side: -1, class: classDecap, hop: a.in(f, h)})
		}
	}
}

// places is where each run of a flight belongs. They are in order: a run is
// never before the one that came before it.
func (a *assembly) places(f *flight) []item {
	list := make([]item, len(f.runs))
	from := 0 // the first tap of the flight that a run can be at
	last := item{tap: -1}
	if len(f.taps) > 0 {
		last = item{tap: f.taps[0], side: -1}
	}
	for n, r := range f.runs {
		it, wrapped := last, a.carried(f, r) != nil
		seek := func(from int, name string, out, ports bool) int { return a.seek(f, from, name, out, ports, wrapped) }
		switch {
		case a.bridgedRun(f, r):
			if k := seek(from, r.out, true, true); k >= 0 && a.taps[f.taps[k]].link.Name == r.out {
				from = k + 1 // the bridge sent it to itself: its address was translated
			}
			if k := seek(from, r.out, true, true); k >= 0 {
				from, it = k, item{tap: f.taps[k], side: -1}
			}
		case r.hook == "prerouting" || r.hook == "input":
			if k := seek(from, r.in, false, r.hook == "prerouting"); k >= 0 {
				from, it = k, item{tap: f.taps[k], side: 1}
			}
		case r.hook == "forward":
			if k := seek(from, r.in, false, false); k >= 0 && a.before(f, from, k) {
				from, it = k, item{tap: f.taps[k], side: 1}
			}
		case r.hook == "output" && !wrapped: // it may be led to another link yet
			if k := seek(from, "", true, true); k >= 0 {
				from, it = k, item{tap: f.taps[k], side: -1}
			}
		case r.hook == "output" || r.hook == "postrouting":
			if k := seek(from, r.out, true, true); k >= 0 {
				from, it = k, item{tap: f.taps[k], side: -1}
			}
		}
		it.class = a.classOf(f, r)
		if it.tap == last.tap && it.side == last.side && it.class < last.class {
			it.class = last.class
		}
		list[n], last = it, it
	}
	return list
}

// bridgedRun tells whether a run is of a packet that a bridge carries from port
// to port, which is not routed: it has the time to live that it came with.
func (a *assembly) bridgedRun(f *flight, r *run) bool {
	if r.hook != "forward" && r.hook != "postrouting" {
		return false
	}
	for _, i := range f.taps {
		if t := a.taps[i]; !t.Out && r.out != "" && t.link.Master == r.out {
			return t.P.outermost().TTL == r.p.TTL
		}
	}
	return false
}

func (a *assembly) classOf(f *flight, r *run) int {
	switch {
	case a.carried(f, r) != nil && (r.hook == "output" || r.hook == "postrouting"):
		return classOuter
	case r.hook == "prerouting" || r.hook == "output":
		return classPre
	case r.hook == "postrouting":
		return classPost
	}
	return classMid
}

// seek finds the first tap of a flight, from a place on, at a link or, with
// ports, at a port of it if it is a bridge; without a name at any link. -1:
// there is none.
func (a *assembly) seek(f *flight, from int, name string, out, ports, wrapped bool) int {
	for k := from; k < len(f.taps); k++ {
		t := a.taps[f.taps[k]]
		if t.Out == out && (t.P.Outer != nil) == wrapped && (name == "" || t.link.Name == name || ports && t.link.Master == name) {
			return k
		}
	}
	return -1
}

// before tells whether no tap on the way out lies between two places.
func (a *assembly) before(f *flight, from, to int) bool {
	for k := from; k < to; k++ {
		if a.taps[f.taps[k]].Out {
			return false
		}
	}
	return true
}
