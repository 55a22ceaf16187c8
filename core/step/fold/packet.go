package fold

import (
	"slices"

	"github.com/klab-project/klab/core/step"
)

// Packet is a packet's way as far as it is known. It is shared and must not be
// changed.
type Packet struct {
	step.PacketDetail // as asked, and from its end on as it came out
	Step              uint64
	Seq               uint64 // of its first event
	At                step.Seconds
	Held              bool // nothing was sent yet
	Ended             bool
	EndSeq            uint64 // of the event that ended it
	Err               string // why it could not be sent or followed
	Walk              []Hop  // in the order in which the packet came by
}

// Hop is a place on a packet's way, and the event that told of it.
type Hop struct {
	step.Hop
	EventSeq uint64
}

// Fault is something that somebody broke on purpose and has not mended.
type Fault struct {
	step.FaultDetail
	Seq uint64
	At  step.Seconds
}

// How much of packets a State keeps.
const (
	packetsKept = 32
	hopsKept    = 400
)

// Packet returns the packet with that id, or nil.
func (s *State) Packet(id string) *Packet {
	for i := len(s.Packets) - 1; i >= 0; i-- {
		if s.Packets[i].ID == id {
			return s.Packets[i]
		}
	}
	return nil
}

// packet notes that a packet is held, sent, or has come to its end.
func (s *State) packet(e *step.Event, st *Step) {
	s.follow(e.Step, "", func(p *Packet) {
		if p.Seq == 0 {
			p.Step, p.Seq, p.At = e.Step, e.Seq, e.At
		}
		p.Held = e.Phase == step.PhasePending
		switch {
		case e.Phase == step.PhasePending:
			_ = (&step.Event{Detail: st.Detail}).Decode(&p.PacketDetail)
		default:
			_ = e.Decode(&p.PacketDetail)
		}
		if e.Phase == step.PhaseEnd {
			p.Ended, p.EndSeq, p.Err = true, e.Seq, e.Err
		}
	}, e.Phase != step.PhaseEnd)
}

// hop notes a place on a packet's way.
func (s *State) hop(e *step.Event) {
	var d step.HopDetail
	if e.Decode(&d) != nil {
		return
	}
	s.follow(e.Step, d.Packet, func(p *Packet) {
		if p.Seq == 0 {
			p.ID, p.Step, p.Seq, p.At = d.Packet, e.Step, e.Seq, e.At
		}
		if len(p.Walk) >= hopsKept {
			return
		}
		at := len(p.Walk)
		for at > 0 && p.Walk[at-1].Hop.Seq > d.Hop.Seq && d.Hop.Seq > 0 {
			at--
		}
		p.Walk = slices.Insert(slices.Clip(p.Walk), at, Hop{d.Hop, e.Seq})
	}, true)
}

// follow changes a copy of the packet with that id, or of that step; if there
// is none it is made, if so asked.
func (s *State) follow(of uint64, id string, change func(*Packet), make bool) {
	for i := len(s.Packets) - 1; i >= 0; i-- {
		p := s.Packets[i]
		if id != "" && p.ID == id || id == "" && of != 0 && p.Step == of {
			c := *p
			change(&c)
			s.Packets = slices.Clone(s.Packets)
			s.Packets[i] = &c
			return
		}
	}
	if !make {
		return
	}
	p := &Packet{}
	change(p)
	list := s.Packets[max(0, len(s.Packets)-packetsKept+1):]
	s.Packets = append(slices.Clone(list), p)
}

// fault notes what is broken on purpose, or no longer is, when the step st of it
// has ended.
func (s *State) fault(e *step.Event, st *Step) {
	var d step.FaultDetail
	if e.Err != "" || (&step.Event{Detail: st.Detail}).Decode(&d) != nil || e.Decode(&d) != nil {
		return
	}
	same := func(f Fault) bool {
		return d.ID != "" && f.ID == d.ID || d.ID == "" && f.Card == d.Card && f.Node == d.Node
	}
	s.Faults = slices.DeleteFunc(slices.Clone(s.Faults), same)
	if e.Verb == step.Break {
		s.Faults = append(s.Faults, Fault{d, e.Seq, e.At})
	}
}
