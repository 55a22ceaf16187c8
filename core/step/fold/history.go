package fold

import (
	"sort"

	"github.com/klab-project/klab/core/step"
)

// History is all events of a lab, in order, and the state after any of them.
// Older events are kept compressed, and states at intervals, so that a day's
// events fit into memory and any moment is found quickly. It is not safe for
// concurrent use.
type History struct {
	log    log
	now    *State
	points []*State // states at intervals, ascending; the first is the empty one
	every  int      // events between two of them
	since  int      // events since the last of them
	seen   *State   // the state that At returned last
	steps  map[uint64]span
	rvs    map[int64]uint32 // revision → position of its commit
	spare  map[string]string
}

// span is where a step's first and last event are, as positions.
type span struct{ first, last uint32 }

const (
	pointEvery = 1024
	pointsKept = 256
)

// NewHistory returns an empty history.
func NewHistory() *History {
	h := &History{now: New(), every: pointEvery, steps: map[uint64]span{}, rvs: map[int64]uint32{}, spare: map[string]string{}}
	h.points = []*State{New()}
	return h
}

// Append takes further events; it copies them, their details excepted. An
// event that is not newer than the last one is ignored.
func (h *History) Append(events ...*step.Event) {
	for _, e := range events {
		if e == nil || h.log.n > 0 && e.Seq <= h.now.Seq {
			continue
		}
		e = h.share(*e)
		h.index(e, uint32(h.log.n))
		h.log.append(e)
		h.now.Apply(e)
		if h.since++; h.since >= h.every {
			h.point()
		}
	}
}

// point keeps the present state; with too many kept, every second one goes.
func (h *History) point() {
	h.since = 0
	h.points = append(h.points, h.now.Clone())
	if len(h.points) <= pointsKept {
		return
	}
	kept := h.points[:0]
	for i, p := range h.points {
		if i%2 == 0 {
			kept = append(kept, p)
		}
	}
	clear(h.points[len(kept):])
	h.points, h.every = kept, 2*h.every
}

// share makes equal words one string: there are few different ones.
func (h *History) share(e step.Event) *step.Event {
	word := func(s string) string {
		if w, ok := h.spare[s]; ok {
			return w
		}
		if len(h.spare) < 1<<14 {
			h.spare[s] = s
		}
		return s
	}
	e.Actor, e.Node, e.Phase, e.Verb, e.Class = word(e.Actor), word(e.Node), step.Phase(word(string(e.Phase))),
		step.Verb(word(string(e.Verb))), step.Class(word(string(e.Class)))
	e.Object.Resource, e.Object.Namespace, e.Object.Name = word(e.Object.Resource), word(e.Object.Namespace), word(e.Object.Name)
	e.Object.UID = word(e.Object.UID)
	return &e
}

func (h *History) index(e *step.Event, at uint32) {
	if e.Phase != step.PhaseFact && e.Step != 0 {
		s, ok := h.steps[e.Step]
		if !ok {
			s.first = at
		}
		s.last = at
		h.steps[e.Step] = s
	}
	if e.Verb == step.Commit && e.Phase == step.PhaseFact && e.RV != 0 {
		h.rvs[e.RV] = at
	}
}

// Len is the number of events.
func (h *History) Len() int { return h.log.n }

// First is the number of the oldest event, or 0.
func (h *History) First() uint64 {
	if h.log.n == 0 {
		return 0
	}
	return h.log.at(0).Seq
}

// Last is the number of the newest event, or 0.
func (h *History) Last() uint64 { return h.now.Seq }

// Now is the state after the newest event. It is the history's own: it must
// not be changed, and changes with Append; Clone it to keep it.
func (h *History) Now() *State { return h.now }

// At is the state after the event seq, or after the newest one before it. It
// must not be changed.
func (h *History) At(seq uint64) *State {
	if seq >= h.now.Seq {
		return h.now
	}
	if h.seen != nil && h.seen.Seq == seq {
		return h.seen
	}
	i := sort.Search(len(h.points), func(i int) bool { return h.points[i].Seq > seq }) - 1
	from := h.points[max(i, 0)]
	if h.seen != nil && h.seen.Seq > from.Seq && h.seen.Seq < seq {
		from = h.seen
	}
	s := from.Clone()
	for at := h.log.find(from.Seq + 1); at < h.log.n; at++ {
		e := h.log.at(at)
		if e.Seq > seq {
			break
		}
		s.Apply(e)
	}
	h.seen = s
	return s
}

// Event returns the event seq, or nil.
func (h *History) Event(seq uint64) *step.Event {
	at := h.log.find(seq)
	if at >= h.log.n {
		return nil
	}
	if e := h.log.at(at); e.Seq == seq {
		return e
	}
	return nil
}

// Range calls f for the events from..to, both included, until it returns false.
func (h *History) Range(from, to uint64, f func(*step.Event) bool) {
	for at := h.log.find(from); at < h.log.n; at++ {
		e := h.log.at(at)
		if e.Seq > to || !f(e) {
			return
		}
	}
}

// Back calls f for the events from seq back to the first, until it returns false.
func (h *History) Back(seq uint64, f func(*step.Event) bool) {
	at := h.log.find(seq)
	if at >= h.log.n {
		at = h.log.n - 1
	}
	for ; at >= 0; at-- {
		e := h.log.at(at)
		if e.Seq <= seq && !f(e) {
			return
		}
	}
}

// Step returns the first and the last event of a step, or nil, nil.
func (h *History) Step(id uint64) (first, last *step.Event) {
	s, ok := h.steps[id]
	if !ok {
		return nil, nil
	}
	return h.log.at(int(s.first)), h.log.at(int(s.last))
}

// Committed returns the event that made the revision rv, or nil.
func (h *History) Committed(rv int64) *step.Event {
	at, ok := h.rvs[rv]
	if !ok {
		return nil
	}
	return h.log.at(int(at))
}
