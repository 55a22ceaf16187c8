package fold

import (
	"strconv"

	"github.com/klab-project/klab/core/step"
)

// cause words a step that has these first and last events.
func (h *History) cause(first, last *step.Event) Cause {
	c := Cause{
		Seq: first.Seq, Step: first.Step, RV: first.RV, Actor: first.Actor, Node: first.Node,
		Verb: first.Verb, Class: first.Class, Object: first.Object, Key: WhyOther,
		Args: map[string]string{
			"actor": ActorKey{first.Actor, first.Node}.String(), "node": first.Node,
			"verb": string(first.Verb), "object": first.Object.String(),
		},
	}
	if last.Object.Name != "" {
		c.Object = last.Object // a name that the server made up
		c.Args["object"] = last.Object.String()
	}
	if last.Err != "" {
		c.Args["err"] = last.Err
	}
	h.explain(&c, first, last)
	if c.RV != 0 {
		c.Args["rv"] = strconv.FormatInt(c.RV, 10)
	}
	return c
}

// explain says why by the class of the event.
func (h *History) explain(c *Cause, first, last *step.Event) {
	switch first.Class {
	case step.ClassRequest:
		var d step.RequestDetail
		_ = detail(first, last, &d)
		c.Key, c.Sub = WhyRequest, d.Sub
		if commit := h.commitOf(first, last); commit != nil {
			c.Key, c.RV, c.Object = WhyCommit, commit.RV, commit.Object
			c.Args["object"] = commit.Object.String()
		}
	case step.ClassStage:
		c.Key = WhyStage
	case step.ClassDeliver:
		var d step.DeliverDetail
		_ = detail(first, last, &d)
		c.Key, c.Args["type"] = WhyDeliver, d.Type
	case step.ClassReconcile:
		var d step.ReconcileDetail
		_ = last.Decode(&d)
		c.Key = WhyReconcile
		if first.Verb == step.Sync {
			c.Key = WhySync
		} else if len(d.Plan) > 0 {
			c.Key, c.Args["plan"] = WhyPlan, d.Plan[0]
		}
	case step.ClassSchedule:
		c.Key = WhySchedule
	case step.ClassTimer:
		c.Key = WhyTimer
	case step.ClassCRI:
		c.Key = WhyCRI
	case step.ClassVolume:
		c.Key = WhyVolume
		var d step.VolumeDetail
		_ = detail(first, last, &d)
		c.Args["volume"] = d.Volume
	case step.ClassCNI, step.ClassNet:
		c.Key = WhyCNI
	case step.ClassFact:
		c.Key = WhyFact
		var d step.RanDetail
		if first.Verb == step.Ran && first.Decode(&d) == nil {
			c.Key, c.Args["line"] = WhyRan, d.Line
		}
	}
}

func detail(first, last *step.Event, v any) error {
	if err := first.Decode(v); err != nil || len(first.Detail) > 0 && first.Phase != step.PhasePending {
		return err
	}
	if first.Phase == step.PhasePending {
		return first.Decode(&step.PendingDetail{Detail: v})
	}
	return last.Decode(v)
}

// commitOf finds the commit among the events of a request.
func (h *History) commitOf(first, last *step.Event) *step.Event {
	var found *step.Event
	stages := map[uint64]bool{first.Step: true}
	n := 0
	h.Range(first.Seq, last.Seq, func(e *step.Event) bool {
		if e.Class == step.ClassStage && e.Parent == first.Step {
			stages[e.Step] = true
		}
		if e.Verb == step.Commit && e.Phase == step.PhaseFact {
			if stages[e.Step] {
				found = e
				return false
			}
			// A stage's own event comes after what was seen in it.
			if f, _ := h.Step(e.Step); f != nil && f.Parent == first.Step {
				found = e
				return false
			}
		}
		n++
		return n < 4096
	})
	return found
}
