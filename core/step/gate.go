package step

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"
)

// State is whether the lab runs by itself.
type State string

const (
	Running State = "running"
	Paused  State = "paused"
)

// Zoom is how fine the steps are that a paused gate holds.
type Zoom int

const (
	Coarse Zoom = iota // writes, deliveries, reconciles, scheduling cycles, timers, CRI and CNI verbs
	Fine               // also the stages of a request, the phases of a scheduling cycle, overlay changes
	Finest             // also quiet actions and reads
)

// Mode says which actions the gate holds. The zero value holds none.
type Mode struct {
	State State `json:"state"`
	Zoom  Zoom  `json:"zoom,omitempty"`
	// Only, if not empty, limits what a paused gate holds to these. Changes of
	// the network that it names by class or verb are held whatever the Zoom.
	Only []Match `json:"only,omitempty"`
	// Breaks are held even while running, and pause the lab when hit.
	Breaks []Match `json:"breaks,omitempty"`
}

// Match names actions; an empty field matches everything. Actor, Node and
// Object are patterns as in path.Match; Object is resource/namespace/name.
type Match struct {
	Actor  string `json:"actor,omitempty"`
	Node   string `json:"node,omitempty"`
	Verb   Verb   `json:"verb,omitempty"`
	Class  Class  `json:"class,omitempty"`
	Object string `json:"object,omitempty"`
	// Once removes a break when it is hit: "run until".
	Once bool `json:"once,omitempty"`
}

// Matches tells whether the pattern names a.
func (m Match) Matches(a *Action) bool {
	return (m.Verb == "" || m.Verb == a.Verb) && (m.Class == "" || m.Class == a.class()) &&
		like(m.Actor, a.Actor) && like(m.Node, a.Node) && like(m.Object, a.Object.String())
}

func like(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, s)
	return ok && err == nil
}

// holds tells whether a gate in this mode keeps a waiting; hit is the index of
// the break that does, or -1.
func (m *Mode) holds(a *Action) (held bool, hit int) {
	if i := slices.IndexFunc(m.Breaks, func(b Match) bool { return b.Matches(a) }); i >= 0 {
		return true, i
	}
	if m.State != Paused {
		return false, -1
	}
	fine := m.fineEnough(a)
	if len(m.Only) == 0 {
		return fine, -1
	}
	return slices.ContainsFunc(m.Only, func(o Match) bool { return (fine || o.names(a)) && o.Matches(a) }), -1
}

// names tells whether the pattern asks for a change of the network by its class
// or verb: then it is meant, however coarse the steps are.
func (m Match) names(a *Action) bool {
	return a.Class == ClassNet && !a.Quiet && (m.Class != "" || m.Verb != "")
}

func (m *Mode) fineEnough(a *Action) bool {
	switch {
	case a.Class == ClassFact:
		return false
	case a.Quiet, a.Verb == Get, a.Verb == List, a.Verb == Watch, a.Verb == Connect, a.Verb == Exec:
		return m.Zoom >= Finest
	case a.Class == ClassStage, a.Verb == Filter, a.Verb == Score, a.Class == ClassNet:
		return m.Zoom >= Fine
	}
	return true
}

// Kind is one way to let a held action go on.
type Kind string

const (
	Run   Kind = "run"
	Fail  Kind = "fail"  // it does not happen; its actor gets an error
	Drop  Kind = "drop"  // it does not happen; a watcher never sees a dropped delivery
	Delay Kind = "delay" // it happens later, on the lab clock
	Crash Kind = "crash" // it does not happen; its actor crashes
)

// How says in which way a held action goes on. The zero value runs it.
type How struct {
	Kind  Kind    `json:"kind,omitempty"`
	Msg   string  `json:"msg,omitempty"`   // of a failure
	Delay Seconds `json:"delay,omitempty"` // of a delay
}

// Duration is s as a time.Duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

func (h How) word() string {
	if h.Kind == Run {
		return ""
	}
	return string(h.Kind)
}

// Pending is a held action.
type Pending struct {
	ID     uint64  `json:"id"` // to pick it by
	Step   uint64  `json:"step"`
	Actor  string  `json:"actor,omitempty"`
	Node   string  `json:"node,omitempty"`
	Verb   Verb    `json:"verb"`
	Class  Class   `json:"class"`
	Object Object  `json:"object"`
	Quiet  bool    `json:"quiet,omitempty"`
	Due    Seconds `json:"due,omitempty"` // of a timer: when, on the lab clock

	action  *Action
	atBreak bool
	answer  chan How
}

// Gate holds actions. Its zero value lets everything through.
type Gate struct {
	mu      sync.Mutex
	mode    Mode
	lastID  uint64
	pending []*Pending // by ID

	// OnHold is told of each action that begins to wait; OnMode of each new
	// mode, also one that a break brought about. Both are called without the
	// gate's lock and must be set before the gate is used.
	OnHold func(Pending, *Action)
	OnMode func(Mode)
	// Upstream, if set, decides about held actions instead of this gate: an
	// agent asks the daemon. If it returns an error other than the context's,
	// the action runs: a lost stream opens the gate.
	Upstream func(ctx context.Context, id uint64, a *Action) (How, error)
}

// Mode is the gate's current mode.
func (g *Gate) Mode() Mode {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mode
}

// SetMode changes what is held. Actions that the new mode does not hold run.
func (g *Gate) SetMode(m Mode) {
	if m.State == "" {
		m.State = Running
	}
	g.mu.Lock()
	g.mode = m
	g.pending = slices.DeleteFunc(g.pending, func(p *Pending) bool {
		held := p.heldBy(&m)
		if !held {
			p.answer <- How{Kind: Run}
		}
		return !held
	})
	g.mu.Unlock()
	if g.OnMode != nil {
		g.OnMode(m)
	}
}

// Pending lists the held actions, the longest held first.
func (g *Gate) Pending() []Pending {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Pending, len(g.pending))
	for i, p := range g.pending {
		list[i] = *p
		list[i].action, list[i].answer = nil, nil
	}
	return list
}

// ErrNotPending is the error of Pick for an action that is not held (any more).
var ErrNotPending = fmt.Errorf("no such pending action")

// Pick lets one held action go on.
func (g *Gate) Pick(id uint64, how How) error {
	if how.Kind == "" {
		how.Kind = Run
	}
	if how.Kind == Fail && how.Msg == "" {
		how.Msg = "failed by the learner"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.pending, func(p *Pending) bool { return p.ID == id })
	if i < 0 {
		return fmt.Errorf("%w: %d", ErrNotPending, id)
	}
	g.pending[i].answer <- how
	g.pending = slices.Delete(g.pending, i, i+1)
	return nil
}

// NextID returns an unused id, for something else that can be picked.
func (g *Gate) NextID() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastID++
	return g.lastID
}

// hold waits while the mode holds a.
func (g *Gate) hold(ctx context.Context, step uint64, a *Action) (How, error) {
	g.mu.Lock()
	held, _ := g.mode.holds(a)
	upstream := g.Upstream
	g.mu.Unlock()
	if !held {
		return How{Kind: Run}, nil
	}
	if upstream == nil {
		return g.Wait(ctx, step, a)
	}
	how, err := upstream(ctx, step, a)
	if err != nil && ctx.Err() == nil {
		return How{Kind: Run}, nil
	}
	return how, err
}

// Wait holds a if the mode says so, until it is picked. It is hold without
// the upstream: the daemon calls it on behalf of an agent that asks.
func (g *Gate) Wait(ctx context.Context, step uint64, a *Action) (How, error) {
	g.mu.Lock()
	held, hit := g.mode.holds(a)
	if !held {
		g.mu.Unlock()
		return How{Kind: Run}, nil
	}
	stopped := hit >= 0 && g.stopAt(hit)
	g.lastID++
	p := &Pending{
		ID: g.lastID, Step: step, Actor: a.Actor, Node: a.Node, Verb: a.Verb, Class: a.class(),
		Object: a.Object, Quiet: a.Quiet, action: a, atBreak: hit >= 0, answer: make(chan How, 1),
	}
	mode := g.mode
	g.mu.Unlock()

	// Everybody hears that it waits before anybody can pick it.
	if stopped && g.OnMode != nil {
		g.OnMode(mode)
	}
	if g.OnHold != nil {
		g.OnHold(*p, a)
	}
	g.mu.Lock()
	if !p.heldBy(&g.mode) {
		g.mu.Unlock()
		return How{Kind: Run}, nil
	}
	g.pending = append(g.pending, p)
	slices.SortFunc(g.pending, func(a, b *Pending) int { return cmp.Compare(a.ID, b.ID) })
	g.mu.Unlock()
	select {
	case how := <-p.answer:
		return how, nil
	case <-ctx.Done():
		g.forget(p)
		return How{}, context.Cause(ctx)
	}
}

// heldBy tells whether p goes on waiting in mode m. What a break stopped
// waits until the lab runs, even if the pause alone would not hold it.
func (p *Pending) heldBy(m *Mode) bool {
	held, _ := m.holds(p.action)
	return held || p.atBreak && m.State == Paused
}

// stopAt pauses the lab at a break, and removes the break if it was for once.
// It returns whether the mode changed.
func (g *Gate) stopAt(hit int) bool {
	changed := g.mode.State != Paused
	g.mode.State = Paused
	if g.mode.Breaks[hit].Once {
		g.mode.Breaks = slices.Delete(slices.Clone(g.mode.Breaks), hit, hit+1)
		changed = true
	}
	return changed
}

func (g *Gate) forget(p *Pending) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending = slices.DeleteFunc(g.pending, func(q *Pending) bool { return q == p })
}
