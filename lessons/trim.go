package lessons

import (
	"strings"

	"github.com/klab-project/klab/core/step"
)

// Trim leaves out of a recorded lesson what it does not show: how the cluster
// came up, and the machinery's routine. Facts stay, and so does every step
// that another one which stays happened in or was caused by. The events are
// numbered anew.
func Trim(events []*step.Event) []*step.Event {
	begins := 0
	for i, e := range events {
		if begun(e) {
			begins = i
			break
		}
	}
	first := map[uint64]*step.Event{} // of each step
	for _, e := range events {
		if e.Phase != step.PhaseFact && first[e.Step] == nil {
			first[e.Step] = e
		}
	}
	keep := map[uint64]bool{}
	late := map[spot]bool{} // who has done what, from the end of the prologue back
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i]
		of, at := first[e.Step], spot{e.Actor, e.Node, e.Verb}
		switch {
		case of == nil, keep[e.Step]:
		case routine(of), i < begins && bus(of) && (e.Phase == step.PhaseFact || late[at]):
			continue
		}
		late[at] = late[at] || i < begins && e.Phase == step.PhaseEnd
		keep[e.Step], keep[e.Parent] = true, true
		for _, c := range e.Cause {
			keep[c] = true
		}
	}
	var list []*step.Event
	for _, e := range events {
		if e.Phase != step.PhaseFact && !keep[e.Step] {
			continue
		}
		c := *e
		c.Seq = uint64(len(list) + 1)
		list = append(list, &c)
	}
	return list
}

// spot is a kind of step of somebody.
type spot struct {
	actor, node string
	verb        step.Verb
}

// bus tells whether an event is of a step on the bus or of a loop: there are
// so many that one of each kind says enough of how the cluster came up.
func bus(e *step.Event) bool {
	switch e.Class {
	case step.ClassRequest, step.ClassStage, step.ClassDeliver, step.ClassReconcile:
		return true
	}
	return false
}

// routine tells whether an event is of what goes on all the time.
func routine(e *step.Event) bool { return e.Quiet && bus(e) }

// begun tells whether an event is the mark with which a lesson begins.
func begun(e *step.Event) bool {
	var d step.MarkDetail
	return e.Verb == step.Mark && e.Phase == step.PhaseFact && e.Decode(&d) == nil && strings.HasPrefix(d.Name, "lesson ")
}
