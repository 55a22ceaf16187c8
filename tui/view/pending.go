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
	Folded int // timers of housekeeping that are not listed
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
	Due    step.Seconds // of a timer: from now
	For    string       // of a timer: the key of what it is for
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
				ID: w.ID, Seq: w.Seq, Verb: Verb(w.Step.Verb, w.Step.Request.Sub), Class: w.Step.Class, Object: Name(w.Step.Object), Type: deliveryType(w.Step),
				Actor: Actor(w.Step.Actor, w.Step.Node), Quiet: w.Step.Quiet,
			})
		}
	}
	p.timers(s, m, without)
	return p
}

// timers adds what time brings. Housekeeping is folded, unless it is all that
// there is, or every step counts.
func (p *Pending) timers(s *fold.State, m Mask, without map[uint64]bool) {
	loud := slices.ContainsFunc(s.Timers, func(t step.Pending) bool { return !housekeeping(s, t) })
	for i, t := range s.Timers {
		switch {
		case without[t.ID]:
		case housekeeping(s, t) && s.Mode.Zoom < step.Finest && (loud || i > 0):
			p.Folded++
		case m.On(t.Actor, t.Node, t.Verb, t.Object.Resource):
			p.Hidden++
		default:
			p.Rows = append(p.Rows, Waiting{
				ID: t.ID, Verb: t.Verb, Class: step.ClassTimer, Object: Name(t.Object), Actor: Actor(t.Actor, t.Node),
				Timer: true, Due: max(0, t.Due-s.At), For: purpose(s, t), Quiet: t.Quiet,
			})
		}
	}
}

// housekeeping tells whether a timer comes and goes without anything new:
// heartbeats, and the watch over those of a node that is well.
func housekeeping(s *fold.State, t step.Pending) bool {
	if t.Quiet || t.Actor != "node-lifecycle-controller" || t.Object.Resource != "nodes" {
		return t.Quiet
	}
	n := s.Object("nodes", "", t.Object.Name)
	return n != nil && n.Text("status.conditions[Ready].status") == "True"
}

// purpose is the key of what a timer is for, as far as it shows from whose it
// is and what it is about.
func purpose(s *fold.State, t step.Pending) string {
	switch {
	case t.Verb != step.Fire:
		return "timer.delayed"
	case t.Object.Resource == "controllers":
		return "timer.restart"
	case t.Object.Resource == "containers":
		return "timer.grace"
	case t.Actor == "node-lifecycle-controller":
		return "timer.deadnode"
	case t.Object.Resource == "nodes":
		return "timer.heartbeat"
	case t.Actor == "deployment-controller":
		return "timer.progress"
	case t.Actor != "kubelet":
		return "timer.retry"
	}
	o := s.Objects[fold.KeyOf(t.Object)]
	switch {
	case o == nil:
		return "timer.check"
	case o.Text("metadata.deletionTimestamp") != "":
		return "timer.grace"
	}
	statuses, _ := o.Get("status.containerStatuses").([]any)
	for _, c := range statuses {
		if fold.Scalar(fold.Lookup(c, "state.waiting.reason")) == "CrashLoopBackOff" {
			return "timer.backoff"
		}
	}
	return "timer.check"
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
