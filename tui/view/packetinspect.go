package view

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// NewHopInspect explains the hop at which a packet is: what decided there, and
// of the object that owns the decision its last change and what led to it.
func NewHopInspect(h *fold.History, s *fold.State, m Mask, v *PacketStage) *Inspect {
	p := s.Packet(v.ID)
	r := v.Row()
	if p == nil || r == nil {
		return NewInspect(h, s, m, s.Seq)
	}
	in := &Inspect{Event: r.Seq, Verb: step.HopSeen, Title: strings.TrimSpace(strconv.Itoa(r.N) + " " + r.Ground + " " + r.Pod + " " + r.Place), Actor: v.From + " → " + v.To}
	in.Note = hopNotes(r)
	if v.Differs != nil && v.Differs.N == r.N {
		in.Note = append([]string{v.Differs.Says()}, in.Note...)
	}
	seq := p.Seq
	if r.Owner != nil && r.Owner.Resource != "" {
		o := s.Objects[fold.KeyOf(*r.Owner)]
		if o == nil {
			o = s.Gone[fold.KeyOf(*r.Owner)]
		}
		in.Object = Name(*r.Owner)
		if o != nil && o.Last != nil {
			seq = o.Last.Seq
			led := NewInspect(h, s, m, seq)
			if led != nil {
				in.Causes, in.Root, in.Lost = led.Causes, led.Root, led.Lost
			}
			in.RV, in.Whole, in.Gone = o.Last.RV, o.Last.Prev == nil && o.Last.Type != "delete", o.Last.Type == "delete"
			in.Diff = Hide(m, o.Resource, o.Last.Diff())
			return in
		}
	}
	for _, c := range h.Why(seq) {
		l := Link{Cause: c, Hidden: m.Cause(c)}
		if l.Object, l.Actor = shortNames(c); l.Hidden {
			l.Object, l.Actor, l.Cause.Args = "", "", nil
		}
		in.Causes = append(in.Causes, l)
		in.Root, in.Lost = c.Root, c.Lost
	}
	return in
}

// hopNotes are the facts of a hop in the system's own words.
func hopNotes(r *HopRow) []string {
	var list []string
	add := func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	if r.Drop != nil {
		add(r.Drop.Reason + ": " + r.Drop.Says)
		for _, e := range r.Drop.Evidence {
			add("· " + e)
		}
	}
	if r.Rule != nil {
		add(r.Rule.Text)
		add(r.Rule.Comment)
	}
	if r.Route != nil {
		s := r.Route.Type + " " + r.Route.Dst
		for _, part := range [][2]string{{"via", r.Route.Via}, {"dev", r.Route.Dev}, {"src", r.Route.Src}, {"table", r.Route.Table}} {
			if part[1] != "" {
				s += " " + part[0] + " " + part[1]
			}
		}
		add(s)
	}
	if r.Neigh != nil {
		add(r.Neigh.Table + " " + r.Neigh.Key + " → " + r.Neigh.Found + " " + r.Neigh.Dev + " " + r.Neigh.State)
	}
	if r.CT != nil {
		add(r.CT.Orig)
		add(r.CT.Reply + " " + r.CT.Status)
	}
	if r.Out.SrcMAC+r.Out.DstMAC != "" {
		add(r.Out.SrcMAC + " > " + r.Out.DstMAC)
	}
	return list
}

// PacketLine is the ends of a packet as "klab packet" takes them.
func PacketLine(p *fold.Packet) string {
	to, six := placeWord(p.To), strings.Contains(p.To.Address, ":")
	literal := six && to == p.To.Address
	if p.Port > 0 {
		if literal {
			to = "[" + to + "]"
		}
		to += ":" + strconv.Itoa(p.Port)
	}
	line := placeWord(p.From) + " " + to
	if p.Proto != "tcp" && p.Proto != "" {
		line += " " + p.Proto
	}
	if six && !literal {
		line += " -6"
	}
	return line
}

func placeWord(p step.Place) string {
	other := p.Namespace != "" && p.Namespace != "default"
	switch {
	case p.Name == "" && p.Address != "":
		return p.Address
	case p.Name == "":
		return p.Kind
	case p.Kind == "pod" && other:
		return p.Namespace + "/" + p.Name
	case p.Kind == "pod":
		return "pod/" + p.Name
	case p.Kind == "service" && other:
		return "svc/" + p.Name + "." + p.Namespace
	case p.Kind == "service":
		return "svc/" + p.Name
	}
	return p.Name
}
