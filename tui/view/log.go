package view

import (
	"fmt"
	"slices"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Log is a window of the events.
type Log struct{ Rows []Entry }

// Entry is an event in a list.
type Entry struct {
	Seq    uint64
	At     step.Seconds
	Phase  step.Phase
	Actor  string
	Verb   step.Verb
	Object string
	RV     int64
	Err    string
	Hidden bool
	Quiet  bool
}

// logScan is how many events a filter looks through at most.
const logScan = 20_000

// NewLog lists the last n events at or before seq that match the filter, the
// oldest first, as fine as z.
func NewLog(h *fold.History, m Mask, seq uint64, n int, filter string, z step.Zoom) *Log {
	l := &Log{}
	scanned := 0
	h.Back(seq, func(e *step.Event) bool {
		scanned++
		if !listed(e, z) {
			return scanned < logScan
		}
		r := Entry{Seq: e.Seq, At: e.At, Phase: e.Phase, Actor: Actor(e.Actor, e.Node), Verb: EventVerb(e), Object: Name(e.Object), RV: e.RV, Err: e.Err, Quiet: e.Quiet}
		if note := DNSNote(e); note != "" {
			r.Object += "  " + note
		}
		if m.Event(e) {
			r = Entry{Seq: e.Seq, At: e.At, Hidden: true}
		}
		if match(filter, r.Actor, string(r.Verb), r.Object, r.Err, string(r.Phase)) {
			l.Rows = append(l.Rows, r)
		}
		return len(l.Rows) < n && scanned < logScan
	})
	slices.Reverse(l.Rows)
	return l
}

// listed tells whether an event is in the list at a zoom: quiet ones and what
// the clock says only at the finest, stages and the beginnings of what soon
// ends only from the fine one on.
func listed(e *step.Event, z step.Zoom) bool {
	switch {
	case z == step.Finest:
		return true
	case e.Phase == step.PhaseFact && fold.Housekeeping(e.Object.Resource):
		return false
	case e.Quiet, e.Verb == step.Timers, e.Verb == step.ClockSet, e.Verb == step.Snapshot, e.Verb == step.Links, e.Verb == step.Usage, e.Verb == step.PodSeen, e.Verb == step.Processes, e.Verb == step.Cgroup:
		return false
	case z == step.Fine:
		return true
	case e.Phase == step.PhaseBegin:
		return e.Class == step.ClassReconcile || e.Verb == step.Schedule
	}
	return e.Class != step.ClassStage && heldByDefault(e.Verb)
}

// Ran is what really ran, the newest first.
type Ran struct{ Rows []Line }

// Line is a command line.
type Line struct {
	Seq    uint64
	Where  string
	Text   string
	Took   step.Seconds
	Exit   int
	Via    string
	Bad    bool
	Hidden bool
}

// NewRan lists the last n commands.
func NewRan(s *fold.State, m Mask, n int) *Ran {
	r := &Ran{}
	for i := len(s.Ran) - 1; i >= 0 && len(r.Rows) < n; i-- {
		x := s.Ran[i]
		l := Line{Seq: x.Seq, Where: x.Node, Text: x.Line, Took: x.Took, Exit: x.Exit, Via: x.Via}
		if l.Where == "" {
			l.Where = Actor(x.Actor, "")
		}
		l.Bad = x.Exit != 0 && (x.Via != "http" || x.Exit >= 400)
		if m.On(x.Actor, x.Node, step.Ran, x.Object.Resource) {
			l = Line{Seq: x.Seq, Hidden: true}
		}
		r.Rows = append(r.Rows, l)
	}
	return r
}

// Took words a duration shortly.
func Took(s step.Seconds) string {
	d := s.Duration()
	switch {
	case d == 0:
		return ""
	case d.Seconds() >= 100:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d.Seconds() >= 1:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d.Milliseconds() >= 10:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
