package step

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Chooser decides which held action happens next, and how. Pending is never
// empty and in the order of [Stable].
type Chooser interface {
	Choose(pending []Pending) (index int, how How)
}

// Stable sorts held actions by what they are rather than by when they began to
// wait, so that the same choices lead to the same run.
func Stable(pending []Pending) []Pending {
	slices.SortFunc(pending, func(a, b Pending) int {
		return cmp.Or(cmp.Compare(a.Actor, b.Actor), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Class, b.Class),
			cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.Object.String(), b.Object.String()), cmp.Compare(a.ID, b.ID))
	})
	return pending
}

// What is the action in a few words, the same in every run.
func (p Pending) What() string {
	actor := p.Actor
	if p.Node != "" {
		actor += "@" + p.Node
	}
	return fmt.Sprintf("%s %s %s", actor, p.Verb, p.Object)
}

// Random chooses at random, the same for the same seed. Everything runs.
func Random(seed uint64) Chooser { return random{rand.New(rand.NewPCG(seed, seed))} }

type random struct{ *rand.Rand }

func (r random) Choose(pending []Pending) (int, How) { return r.IntN(len(pending)), How{Kind: Run} }

// Faulty chooses as another chooser does, but lets one in every so many
// actions fail, be dropped or crash its actor, with the kinds given.
func Faulty(next Chooser, seed uint64, every int, kinds ...Kind) Chooser {
	return faulty{next, rand.New(rand.NewPCG(seed, ^seed)), every, kinds}
}

type faulty struct {
	Chooser
	rand  *rand.Rand
	every int
	kinds []Kind
}

func (f faulty) Choose(pending []Pending) (int, How) {
	i, how := f.Chooser.Choose(pending)
	if f.rand.IntN(f.every) == 0 {
		how = How{Kind: f.kinds[f.rand.IntN(len(f.kinds))], Msg: "injected"}
	}
	return i, how
}

// Choice is one decision of a schedule.
type Choice struct {
	Index int    `json:"index"`
	How   How    `json:"how,omitzero"`
	What  string `json:"what"` // for people, and to see that a replay is one
}

// Choices are a run, as the decisions that were taken in it.
type Choices []Choice

// Recording chooses as next does and notes the decisions in schedule.
func Recording(next Chooser, schedule *Choices) Chooser { return recording{next, schedule} }

type recording struct {
	next     Chooser
	schedule *Choices
}

func (r recording) Choose(pending []Pending) (int, How) {
	i, how := r.next.Choose(pending)
	*r.schedule = append(*r.schedule, Choice{Index: i, How: how, What: pending[i].What()})
	return i, how
}

// Replay takes the decisions of a schedule again. After its end it lets the
// first action run.
func Replay(schedule Choices) *Replayer { return &Replayer{schedule: schedule} }

// Replayer is a chooser that knows whether it could do as it was told.
type Replayer struct {
	schedule Choices
	next     int
	diverged error
}

// Choose implements Chooser.
func (r *Replayer) Choose(pending []Pending) (int, How) {
	if r.next >= len(r.schedule) {
		return 0, How{Kind: Run}
	}
	c := r.schedule[r.next]
	r.next++
	i := min(c.Index, len(pending)-1)
	if got := pending[i].What(); got != c.What && r.diverged == nil {
		r.diverged = fmt.Errorf("choice %d was %q and is now %q", r.next, c.What, got)
	}
	return i, c.How
}

// Err says where the run became another one than the schedule's, if it did.
func (r *Replayer) Err() error { return r.diverged }

// DepthFirst tries one schedule after the other, systematically. Each run
// begins with Next; the first run always takes the first action. Depth bounds
// how far into a run it tries alternatives, and deviations how many of a run's
// choices are not the first: most faults need only few.
type DepthFirst struct {
	Depth, Deviations int

	started bool
	path    []branch
	at      int
}

type branch struct{ chosen, of int }

// Next prepares the next run; it returns false when all have been tried.
func (d *DepthFirst) Next() bool {
	d.at = 0
	if !d.started {
		d.started = true
		return true
	}
	for len(d.path) > 0 {
		last := &d.path[len(d.path)-1]
		last.chosen++
		if last.chosen < last.of && d.deviations() <= d.Deviations {
			return true
		}
		d.path = d.path[:len(d.path)-1]
	}
	return false
}

func (d *DepthFirst) deviations() (n int) {
	for _, b := range d.path {
		if b.chosen > 0 {
			n++
		}
	}
	return n
}

// Choose implements Chooser.
func (d *DepthFirst) Choose(pending []Pending) (int, How) {
	i := 0
	switch {
	case d.at < len(d.path):
		i = min(d.path[d.at].chosen, len(pending)-1)
	case d.at < d.Depth:
		d.path = append(d.path, branch{0, len(pending)})
	}
	d.at++
	return i, How{Kind: Run}
}
