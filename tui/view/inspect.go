package view

import (
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Inspect is what led to one event and what it changed.
type Inspect struct {
	Event  uint64
	Title  string // what happened, in names
	Verb   step.Verb
	Actor  string
	RV     int64
	Err    string
	Note   []string // facts about it: want, have, plan, verdicts
	Whole  bool     // the object is new
	Gone   bool
	Diff   []fold.Line
	Object string
	Causes []Link
	Root   bool
	Lost   bool
}

// Link is a link of a chain of causes.
type Link struct {
	Cause  fold.Cause
	Object string
	Actor  string
	Hidden bool
}

// NewInspect looks at the event seq of h, or at the last step before it that
// is worth a look.
func NewInspect(h *fold.History, s *fold.State, m Mask, seq uint64) *Inspect {
	e := worth(h, m, seq)
	if e == nil {
		return nil
	}
	in := &Inspect{Event: e.Seq, Title: Name(e.Object), Verb: EventVerb(e), Actor: Actor(e.Actor, e.Node), RV: e.RV, Err: e.Err}
	in.note(h, e)
	for _, c := range h.Why(e.Seq) {
		l := Link{Cause: c, Hidden: m.Cause(c)}
		l.Object, l.Actor = shortNames(c)
		if l.Hidden {
			l.Object, l.Actor, l.Cause.Args = "", "", nil
		}
		in.Causes = append(in.Causes, l)
		in.Root, in.Lost = c.Root, c.Lost
		if c.RV != 0 && in.RV == 0 {
			in.RV = c.RV
		}
	}
	in.change(s, m, e)
	return in
}

// worth is the last event at or before seq that says something by itself.
func worth(h *fold.History, m Mask, seq uint64) *step.Event {
	var found *step.Event
	n := 0
	h.Back(seq, func(e *step.Event) bool {
		n++
		_, fact := worthFacts[e.Verb]
		if !m.Event(e) && !e.Quiet && !fold.Housekeeping(e.Object.Resource) && e.Class != step.ClassStage && (e.Phase != step.PhaseFact || fact) {
			found = e
		}
		return found == nil && n < 2000
	})
	return found
}

var worthFacts = map[step.Verb]bool{step.Commit: true, step.Exited: true, step.Lost: true, step.Connected: true, step.Asked: true}

// note adds what the step found and decided.
func (in *Inspect) note(h *fold.History, e *step.Event) {
	first, last := h.Step(e.Step)
	if first == nil || e.Phase == step.PhaseFact || last.Seq > e.Seq {
		last = e
	}
	switch {
	case last.Verb == step.Query, last.Verb == step.Resolve, last.Verb == step.Asked:
		in.dns(last)
	case last.Class == step.ClassReconcile:
		var d step.ReconcileDetail
		if last.Decode(&d) == nil {
			in.Note = append(in.Note, d.Plan...)
		}
	case last.Verb == step.Schedule:
		var d step.ScheduleDetail
		if last.Decode(&d) == nil {
			in.Note = verdicts(d)
		}
	}
}

func verdicts(d step.ScheduleDetail) []string {
	byNode := map[string][]string{}
	for _, v := range d.Verdicts {
		what := v.Plugin + " " + fold.Scalar(float64(v.Score))
		if v.Reason != "" {
			what = v.Plugin + ": " + v.Reason
		}
		byNode[v.Node] = append(byNode[v.Node], what)
	}
	var list []string
	for _, n := range sorted(byNode) {
		mark := "  "
		if n == d.Chosen {
			mark = "→ "
		}
		list = append(list, mark+n+"  "+strings.Join(byNode[n], ", "))
	}
	return list
}

// change finds the revision that the event, or its step, made or is about.
func (in *Inspect) change(s *fold.State, m Mask, e *step.Event) {
	key, rv := fold.KeyOf(e.Object), e.RV
	if len(in.Causes) > 0 && in.Causes[0].Cause.Step == e.Step && in.Causes[0].Cause.RV != 0 && !in.Causes[0].Hidden {
		key, rv = fold.KeyOf(in.Causes[0].Cause.Object), in.Causes[0].Cause.RV
	}
	o := s.Objects[key]
	if o == nil {
		o = s.Gone[key]
	}
	if o == nil || rv == 0 {
		return
	}
	r := o.Revision(rv)
	if r == nil {
		return
	}
	in.Object, in.RV = KeyName(key), r.RV
	in.Whole, in.Gone = r.Prev == nil && r.Type != "delete", r.Type == "delete"
	in.Diff = Hide(m, key.Resource, r.Diff())
	if in.Whole {
		in.Diff = slices.DeleteFunc(in.Diff, func(l fold.Line) bool {
			own := strings.HasPrefix(l.Path, "metadata.") && !strings.HasPrefix(l.Path, "metadata.labels") && !strings.HasPrefix(l.Path, "metadata.ownerReferences")
			return own || l.Path == "apiVersion" || l.Path == "kind"
		})
	}
}

// Hide takes hidden fields, and heartbeats, out of a difference.
func Hide(m Mask, resource string, lines []fold.Line) []fold.Line {
	out := slices.DeleteFunc(slices.Clone(lines), func(l fold.Line) bool {
		return strings.HasSuffix(l.Path, ".lastHeartbeatTime") // news only to whoever counts them
	})
	for i := range out {
		if m.Field(resource, out[i].Path) {
			out[i].Value = hidden
		}
	}
	return out
}
