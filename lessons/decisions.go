package lessons

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// decisions words what happens in a lab, a line for each decision: who, what,
// and why. While the lab runs by itself it leaves out what only passes news on.
type decisions struct {
	plain   *Plain
	history *fold.History
	begun   bool
}

func newDecisions(p *Plain) *decisions { return &decisions{plain: p, history: fold.NewHistory()} }

func (d *decisions) see(e *step.Event) {
	d.history.Append(e)
	if e.Verb == step.Mark {
		var m step.MarkDetail
		if e.Decode(&m) == nil && strings.HasPrefix(m.Name, beginMark(d.plain.Session.lesson, d.plain.Session.see.token)) {
			d.begun = true
		}
	}
	if !d.begun || e.Quiet {
		return
	}
	s := d.words(e)
	if s == "" {
		return
	}
	if why := d.why(e); why != "" {
		s += "  <- " + why
	}
	if d.plain.JSON {
		d.plain.print(Line{Kind: "decision", Text: s, Event: e.Seq})
		return
	}
	fmt.Fprintf(d.plain.Out, "  %s\n", printable(s))
}

func (d *decisions) words(e *step.Event) string {
	stepped := d.history.Now().Mode.State == step.Paused
	head := who(e) + ": " + string(e.Verb) + " " + e.Object.String()
	if e.Phase != step.PhaseEnd && e.Phase != step.PhaseBegin && e.Verb != step.Exited {
		return ""
	}
	if e.Err != "" {
		if e.Phase == step.PhaseEnd && e.Class != step.ClassStage {
			return head + " - " + e.Err
		}
		return ""
	}
	end := e.Phase == step.PhaseEnd
	switch e.Class {
	case step.ClassRequest:
		return d.request(e, head, end, stepped)
	case step.ClassDeliver:
		if !end || !stepped {
			return ""
		}
		return head + rev(e.RV)
	case step.ClassReconcile:
		return reconciled(e, head, end, stepped)
	case step.ClassSchedule:
		var s step.ScheduleDetail
		if e.Verb == step.Filter || e.Verb == step.Score || !end || e.Decode(&s) != nil {
			return ""
		}
		if s.Chosen != "" {
			head += " -> " + s.Chosen
		}
		return head
	case step.ClassCRI, step.ClassCNI, step.ClassTimer:
		if !end {
			return ""
		}
		return head
	}
	if e.Verb == step.Exited {
		return head
	}
	return ""
}

func (d *decisions) request(e *step.Event, head string, end, stepped bool) string {
	var r step.RequestDetail
	if !end || e.Decode(&r) != nil {
		return ""
	}
	switch e.Verb {
	case step.Create, step.Delete:
	case step.Update, step.Patch, step.DeleteCollection:
		if !stepped {
			return ""
		}
	default:
		return ""
	}
	if r.Sub != "" {
		head += " (" + r.Sub + ")"
	}
	return head + " = " + strconv.Itoa(r.Code)
}

func reconciled(e *step.Event, head string, end, stepped bool) string {
	var r step.ReconcileDetail
	if e.Decode(&r) != nil {
		return ""
	}
	if !end {
		if stepped {
			return head
		}
		return ""
	}
	if len(r.Plan) == 0 && (!stepped || r.Want == nil) {
		return ""
	}
	if r.Want != nil && r.Have != nil {
		head += fmt.Sprintf(" (want %d, have %d)", *r.Want, *r.Have)
	}
	if len(r.Plan) > 0 {
		head += ": " + strings.Join(r.Plan, ", ")
	}
	return head
}

func rev(rv int64) string {
	if rv == 0 {
		return ""
	}
	return fmt.Sprintf(" (rev %d)", rv)
}

// why is the decision's nearest cause.
func (d *decisions) why(e *step.Event) string {
	chain := d.history.Why(e.Seq)
	if len(chain) < 2 {
		return ""
	}
	c := chain[1]
	return fold.ActorKey{Name: c.Actor, Node: c.Node}.String() + " " + string(c.Verb) + " " + c.Object.String()
}

// printable is a line without anything that moves a cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
