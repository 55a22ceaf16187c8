package view

import (
	"encoding/json"
	"slices"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Pending is what waits, in the order in which it is picked.
type Pending struct {
	Rows   []Waiting
	Hidden int
}

// Waiting is a held action, or a timer.
type Waiting struct {
	ID     uint64
	Seq    uint64 // of the event that announced it; 0 for a timer
	Verb   step.Verb
	Class  step.Class
	Object string
	Type   string // + ~ - for deliveries
	Actor  string // who does it, or gets it
	Timer  bool
	Due    step.Seconds // from now
	Quiet  bool
}

// NewPending lists what waits, but what is in without.
func NewPending(s *fold.State, m Mask, without map[uint64]bool) *Pending {
	p := &Pending{}
	for _, w := range s.Pending {
		switch {
		case without[w.ID]:
		case m.On(w.Step.Actor, w.Step.Node, w.Step.Verb, w.Step.Object.Resource):
			p.Hidden++
		default:
			p.Rows = append(p.Rows, Waiting{
				ID: w.ID, Seq: w.Seq, Verb: w.Step.Verb, Class: w.Step.Class, Object: Name(w.Step.Object), Type: deliveryType(w.Step),
				Actor: Actor(w.Step.Actor, w.Step.Node), Quiet: w.Step.Quiet,
			})
		}
	}
	loud := slices.ContainsFunc(s.Timers, func(t step.Pending) bool { return !t.Quiet })
	for i, t := range s.Timers {
		switch {
		case without[t.ID]:
		case t.Quiet && s.Mode.Zoom < step.Finest && (loud || i > 0):
			// Housekeeping: it is passed over on the way to what matters.
		case m.On(t.Actor, t.Node, t.Verb, t.Object.Resource):
			p.Hidden++
		default:
			p.Rows = append(p.Rows, Waiting{
				ID: t.ID, Verb: t.Verb, Class: step.ClassTimer, Object: Name(t.Object), Actor: Actor(t.Actor, t.Node),
				Timer: true, Due: max(0, t.Due-s.At), Quiet: t.Quiet,
			})
		}
	}
	return p
}

func deliveryType(st *fold.Step) string {
	if st.Class != step.ClassDeliver {
		return ""
	}
	var d step.DeliverDetail
	if len(st.Detail) > 0 {
		_ = json.Unmarshal(st.Detail, &d)
	}
	switch d.Type {
	case "ADDED":
		return "+"
	case "MODIFIED":
		return "~"
	case "DELETED":
		return "-"
	}
	return ""
}
