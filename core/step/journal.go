package step

import (
	"context"
	"errors"
	"sync"
)

// Journal puts the events of a lab in order, finds their causes, and hands
// them to readers. It keeps the newest events in memory; an archive (package
// recording) that reads along keeps them all.
type Journal struct {
	encoding sync.Mutex // held while details are turned into JSON

	mu        sync.Mutex
	keep      int
	first     uint64   // sequence number of events[0]
	events    []*Event // contiguous
	archived  uint64   // events up to this number may be forgotten
	archiving bool
	changed   chan struct{} // closed when an event comes; nil while nobody waits
	closed    bool
	committed *recent[int64, uint64]
	delivered *recent[delivery, uint64]
}

type delivery struct {
	actor, node string
	rv          int64
}

// causesKept is how many commits and deliveries a journal remembers: enough
// for everything that can still be under way.
const causesKept = 1 << 15

// NewJournal returns a journal whose next event has the number next (from 1),
// and which keeps at least the keep newest events in memory.
func NewJournal(next uint64, keep int) *Journal {
	return &Journal{
		keep: keep, first: next, archived: next - 1,
		committed: newRecent[int64, uint64](causesKept), delivered: newRecent[delivery, uint64](causesKept),
	}
}

// Record gives the event its number and its causes.
func (j *Journal) Record(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	e.Seq = j.first + uint64(len(j.events))
	j.resolve(&e)
	j.events = append(j.events, &e)
	j.trim()
	j.wake()
}

func (j *Journal) wake() {
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// resolve turns revisions into steps, and remembers which step this one is.
func (j *Journal) resolve(e *Event) {
	for _, rv := range e.Revs {
		id, ok := j.delivered.get(delivery{e.Actor, e.Node, rv})
		if !ok || e.Class == ClassDeliver {
			id, ok = j.committed.get(rv)
		}
		if ok && id != e.Step {
			e.Cause = append(e.Cause, id)
		}
	}
	e.Revs = nil
	switch {
	case e.RV == 0:
	case e.Verb == Commit && e.Phase == PhaseFact:
		j.committed.put(e.RV, e.Step)
	case e.Class == ClassDeliver && e.Phase == PhaseBegin:
		j.delivered.put(delivery{e.Actor, e.Node, e.RV}, e.Step)
	}
}

// trim forgets the oldest events, in bulk, as soon as they are archived.
func (j *Journal) trim() {
	n := len(j.events) - j.keep
	if j.archiving {
		n = min(n, int(j.archived-j.first+1))
	}
	if n < j.keep/2 || n <= 0 {
		return
	}
	j.events = append([]*Event(nil), j.events[n:]...)
	j.first += uint64(n)
}

// ErrForgotten is the error of Next for events that only the archive has.
var ErrForgotten = errors.New("events are no longer in memory")

// ErrClosed is the error of Next after the last event of a closed journal.
var ErrClosed = errors.New("journal closed")

// Next returns the events from number from on, waiting for at least one. The
// events are shared: they must not be changed.
func (j *Journal) Next(ctx context.Context, from uint64) ([]*Event, error) {
	for {
		j.mu.Lock()
		first, closed := j.first, j.closed
		var batch []*Event
		if from >= first && from < first+uint64(len(j.events)) {
			batch = append(batch, j.events[from-first:]...)
		} else if j.changed == nil {
			j.changed = make(chan struct{})
		}
		changed := j.changed
		j.mu.Unlock()
		switch {
		case from < first:
			return nil, ErrForgotten
		case len(batch) > 0:
			j.encode(batch)
			return batch, nil
		case closed:
			return nil, ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (j *Journal) encode(batch []*Event) {
	j.encoding.Lock()
	defer j.encoding.Unlock()
	for _, e := range batch {
		e.encode()
	}
}

// Archived tells the journal that an archive exists and has all events up to
// through; before the first call nothing waits for an archive.
func (j *Journal) Archived(through uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.archiving, j.archived = true, max(j.archived, through)
	j.trim()
}

// Last is the number of the newest event, or 0.
func (j *Journal) Last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first + uint64(len(j.events)) - 1
}

// First is the number of the oldest event in memory.
func (j *Journal) First() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first
}

// Remember tells the journal of a commit that an earlier run recorded.
func (j *Journal) Remember(rv int64, step uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.committed.put(rv, step)
}

// Close ends the journal: readers get what there is and then ErrClosed.
func (j *Journal) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.wake()
}

// recent is a map of bounded size that forgets what was put first.
type recent[K comparable, V any] struct {
	values map[K]V
	order  []K // a ring
	next   int
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{values: map[K]V{}, order: make([]K, 0, size)}
}

func (l *recent[K, V]) get(k K) (V, bool) { v, ok := l.values[k]; return v, ok }

func (l *recent[K, V]) put(k K, v V) {
	if _, ok := l.values[k]; !ok {
		if len(l.order) < cap(l.order) {
			l.order = append(l.order, k)
		} else {
			delete(l.values, l.order[l.next])
			l.order[l.next] = k
			l.next = (l.next + 1) % len(l.order)
		}
	}
	l.values[k] = v
}
