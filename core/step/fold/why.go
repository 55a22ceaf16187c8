package fold

import (
	"slices"

	"github.com/klab-project/klab/core/step"
)

// Cause is one link of the chain that leads from an event back to its root.
// Key and Args make a short sentence in any language; Key is one of the Why…
// constants.
type Cause struct {
	Seq    uint64 // the step's first event, or the fact
	Step   uint64
	RV     int64 // what it committed or delivered, 0 if nothing
	Actor  string
	Node   string
	Verb   step.Verb
	Class  step.Class
	Object step.Object
	Sub    string // of a request: its subresource
	Key    string
	Args   map[string]string // actor, verb, object, rv, type, plan, node, note, err, line
	Others int               // how many other causes there were besides the one that the chain follows
	Root   bool              // nothing led to it: somebody's own decision, or time
	Lost   bool              // what led to it is no longer known
}

// The sentences. The comment gives the English one.
const (
	WhyRequest   = "why.request"   // {actor} sends {verb} {object}
	WhyCommit    = "why.commit"    // {actor}: {verb} {object}, stored as rev {rv}
	WhyDeliver   = "why.deliver"   // {object} {type} at rev {rv} is delivered to {actor}
	WhyReconcile = "why.reconcile" // {actor} reconciles {object}
	WhyPlan      = "why.plan"      // {actor} reconciles {object}: {plan}
	WhySync      = "why.sync"      // {actor} syncs {object}
	WhySchedule  = "why.schedule"  // {actor} looks for a node for {object}
	WhyStage     = "why.stage"     // API server: {verb}
	WhyCRI       = "why.cri"       // runtime on {node}: {verb} {object}
	WhyVolume    = "why.volume"    // {actor} on {node}: {verb} volume {volume} of {object}
	WhyCNI       = "why.cni"       // network on {node}: {verb} {object}
	WhyTimer     = "why.timer"     // the clock reaches: {verb} {object}
	WhyRan       = "why.ran"       // {node} runs: {line}
	WhyFact      = "why.fact"      // seen: {verb} {object}
	WhyOther     = "why.other"     // {actor}: {verb} {object}
)

// WhyKeys lists all sentence keys.
func WhyKeys() []string {
	return []string{WhyRequest, WhyCommit, WhyDeliver, WhyReconcile, WhyPlan, WhySync, WhySchedule, WhyStage,
		WhyCRI, WhyVolume, WhyCNI, WhyTimer, WhyRan, WhyFact, WhyOther}
}

// causesMax is the longest chain that Why follows.
const causesMax = 64

// Why answers why the event seq happened: the event's own step first, the
// root last. Where there are several causes it follows the newest one, which
// is the one that completed what was needed.
func (h *History) Why(seq uint64) []Cause {
	e := h.Event(seq)
	if e == nil {
		return nil
	}
	var chain []Cause
	seen := map[uint64]bool{}
	if e.Phase == step.PhaseFact && e.Verb != step.Commit {
		chain = append(chain, h.cause(e, e))
		if e = h.causeOf(&chain[0], seen, e, e.Step); e == nil {
			return chain
		}
	} else if e = h.beginning(e.Step, e); e == nil {
		return nil
	}
	for len(chain) < causesMax {
		_, last := h.Step(e.Step)
		if last == nil {
			last = e
		}
		seen[e.Step] = true
		chain = append(chain, h.cause(e, last))
		if e = h.causeOf(&chain[len(chain)-1], seen, e, e.Parent); e == nil {
			break
		}
	}
	return chain
}

// causeOf is the first event of the step that led to e, or nil. It goes from
// a stage to its request, so that only requests appear as causes.
func (h *History) causeOf(c *Cause, seen map[uint64]bool, e *step.Event, parent uint64) *step.Event {
	ids := slices.Clone(e.Cause)
	if len(ids) == 0 && parent != 0 {
		ids = []uint64{parent}
	}
	if len(ids) == 0 && e.Class == step.ClassDeliver && e.RV != 0 {
		if commit := h.Committed(e.RV); commit != nil {
			ids = []uint64{commit.Step}
		}
	}
	var newest *step.Event
	found := 0
	for _, id := range ids {
		if f := h.beginning(id, nil); f != nil && f.Seq < e.Seq && !seen[f.Step] {
			if found++; newest == nil || f.Seq > newest.Seq {
				newest = f
			}
		}
	}
	c.Others = max(0, found-1)
	c.Root, c.Lost = len(ids) == 0, len(ids) > 0 && newest == nil
	return newest
}

// beginning is the first event of a step, or of the request that it is a stage of.
func (h *History) beginning(id uint64, otherwise *step.Event) *step.Event {
	for range 4 {
		first, _ := h.Step(id)
		if first == nil {
			return otherwise
		}
		if first.Class != step.ClassStage || first.Parent == 0 {
			return first
		}
		otherwise, id = first, first.Parent
	}
	return otherwise
}
