package view

import (
	"cmp"
	"slices"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Names are the names that were looked up, and the questions that servers' logs
// tell of, the newest first.
type Names struct{ Rows []NameRow }

// NameRow is one of them: either is not nil, unless it is hidden.
type NameRow struct {
	Seq    uint64 // of its first event
	At     step.Seconds
	Lookup *Lookup
	Asked  *step.AskedDetail
	Hidden bool
}

// Lookup is a name that somebody looked up on purpose.
type Lookup struct {
	step.ResolveDetail
	Ended   bool
	Held    bool // nothing was asked yet
	Err     string
	Queries []Question
}

// Question is one of its questions; without an answer so far it is not Ended.
type Question struct {
	step.QueryDetail
	Ended, Held, Hidden bool
}

// How much of names is listed, and through how many events it is looked for.
const (
	namesListed = 200
	namesScan   = 50_000
)

// NewNames lists what there was at or before seq.
func NewNames(h *fold.History, m Mask, seq uint64) *Names {
	v := &Names{}
	latest := map[uint64]*step.Event{}    // by step
	queries := map[string][]*step.Event{} // first events, by the resolve's ID, the newest first
	scanned := 0
	h.Back(seq, func(e *step.Event) bool {
		scanned++
		switch e.Verb {
		case step.Asked:
			v.asked(m, e)
		case step.Query, step.Resolve:
			if latest[e.Step] == nil {
				latest[e.Step] = e
			}
			if first, _ := h.Step(e.Step); first != nil && first.Seq != e.Seq {
				break
			}
			if e.Verb == step.Resolve {
				v.lookup(m, e, latest, queries)
				break
			}
			var d step.QueryDetail
			if decodeAny(e, &d) == nil {
				queries[d.Resolve] = append(queries[d.Resolve], e)
			}
		}
		return len(v.Rows) < namesListed && scanned < namesScan
	})
	return v
}

// decodeAny reads the detail of an action, also of one that is held.
func decodeAny(e *step.Event, into any) error {
	if e.Phase != step.PhasePending {
		return e.Decode(into)
	}
	return e.Decode(&step.PendingDetail{Detail: into})
}

// asked adds a question of a server's log. Whoever must not see how a name is
// looked up must not see it there.
func (v *Names) asked(m Mask, e *step.Event) {
	r := NameRow{Seq: e.Seq, At: e.At, Hidden: m.Event(e) || m.Step(e.Actor, step.Query)}
	d := &step.AskedDetail{}
	if !r.Hidden && e.Decode(d) == nil {
		r.Asked = d
	}
	if r.Hidden || r.Asked != nil {
		v.Rows = append(v.Rows, r)
	}
}

// lookup adds a name whose first event was found; what came of it was found before.
func (v *Names) lookup(m Mask, first *step.Event, latest map[uint64]*step.Event, queries map[string][]*step.Event) {
	last := latest[first.Step]
	r := NameRow{Seq: first.Seq, At: first.At, Hidden: m.Event(first) || m.Event(last)}
	l := &Lookup{Ended: last.Phase == step.PhaseEnd, Held: last.Phase == step.PhasePending, Err: last.Err}
	if decodeAny(first, &l.ResolveDetail) != nil {
		return
	}
	if !r.Hidden {
		_ = decodeAny(last, &l.ResolveDetail)
		r.Lookup = l
	}
	for _, q := range slices.Backward(queries[l.ID]) {
		end := latest[q.Step]
		question := Question{Hidden: m.Event(q) || m.Event(end), Ended: end.Phase == step.PhaseEnd, Held: end.Phase == step.PhasePending}
		_ = decodeAny(q, &question.QueryDetail)
		if !question.Hidden {
			_ = decodeAny(end, &question.QueryDetail)
			question.Error = cmp.Or(question.Error, end.Err)
		}
		l.Queries = append(l.Queries, question)
	}
	v.Rows = append(v.Rows, r)
}

// At is the row with that number, or the newest one; with lookup the newest one
// that somebody looked up on purpose.
func (v *Names) At(seq uint64, lookup bool) int {
	return max(0, slices.IndexFunc(v.Rows, func(r NameRow) bool { return r.Seq == seq || seq == 0 && lookup && r.Lookup != nil }))
}
