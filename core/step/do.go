package step

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Errors that a picked action ends with when it is not simply run.
var (
	ErrDropped = errors.New("dropped by the learner")
	ErrCrashed = errors.New("crashed by the learner")
)

// Injected is the error of an action that was picked with [Fail].
type Injected struct{ Msg string }

func (e *Injected) Error() string { return e.Msg }

// Recorder takes events in the order in which they happen.
type Recorder interface{ Record(Event) }

// Lab is a gate, a recorder and a clock that belong together: one in the
// daemon, one in each agent. All three must be set.
type Lab struct {
	Gate     *Gate
	Recorder Recorder
	Clock    *Clock
	Node     string // put on events whose action names no node

	ids atomic.Uint64
}

// StartIDs makes step ids begin after base. Each process of a lab has a range
// of its own: agents get theirs when their stream connects.
func (l *Lab) StartIDs(base uint64) { l.ids.Store(base) }

type scope struct {
	lab   *Lab
	step  uint64
	crash func(error)
	note  *atomic.Pointer[any]
}

type scopeKey struct{}

func scopeOf(ctx context.Context) *scope {
	s, _ := ctx.Value(scopeKey{}).(*scope)
	return s
}

// With returns a context whose actions go through lab. What ctx has from
// [WithCrash] stays: a server in the actor's own process can crash it.
func With(ctx context.Context, lab *Lab) context.Context {
	next := &scope{lab: lab}
	if s := scopeOf(ctx); s != nil {
		next.crash = s.crash
	}
	return context.WithValue(ctx, scopeKey{}, next)
}

// From is the context's lab, or nil.
func From(ctx context.Context) *Lab {
	if s := scopeOf(ctx); s != nil {
		return s.lab
	}
	return nil
}

// Current is the id of the step that encloses ctx, or 0.
func Current(ctx context.Context) uint64 {
	if s := scopeOf(ctx); s != nil {
		return s.step
	}
	return 0
}

// WithParent returns a context whose actions have the step id as their parent.
func WithParent(ctx context.Context, id uint64) context.Context {
	s := scopeOf(ctx)
	if s == nil || id == 0 {
		return ctx
	}
	child := *s
	child.step = id
	return context.WithValue(ctx, scopeKey{}, &child)
}

// WithCrash returns a context in which picking an action with Crash calls
// crash, which ends the actor as a real crash would: it cancels everything the
// actor has under way, or kills the process.
func WithCrash(ctx context.Context, crash func(error)) context.Context {
	s := scopeOf(ctx)
	if s == nil {
		return ctx
	}
	child := *s
	child.crash = crash
	return context.WithValue(ctx, scopeKey{}, &child)
}

// Do performs f as one step: it waits while the gate holds the action, records
// its begin and its end, and gives f a context in which it is the parent of
// further steps. Without a lab in ctx it calls f(ctx) and nothing else.
//
// It returns f's error; or, when somebody picked otherwise, *Injected,
// ErrDropped or ErrCrashed without calling f; or ctx's error if ctx ends first.
func Do(ctx context.Context, a Action, f func(context.Context) error) error {
	s := scopeOf(ctx)
	if s == nil {
		return f(ctx)
	}
	return s.do(ctx, a, f)
}

func (s *scope) do(ctx context.Context, a Action, f func(context.Context) error) error {
	lab := s.lab
	id := lab.ids.Add(1)
	if a.Parent == 0 {
		a.Parent = s.step
	}
	if a.Node == "" {
		a.Node = lab.Node
	}
	a.Class = a.class()
	how, err := lab.Gate.hold(ctx, id, &a)
	if err != nil {
		lab.Recorder.Record(lab.event(&a, id, PhaseEnd, a.Detail, err))
		return err
	}
	if how.Kind == Delay {
		if err := s.delay(ctx, &a, id, how); err != nil {
			return err
		}
	}
	if how.Kind != Run && how.Kind != Delay {
		return s.refuse(&a, id, how)
	}

	// A stage has no event of its own for its beginning: its end says how long it took.
	if a.Class != ClassStage {
		lab.Recorder.Record(lab.event(&a, id, PhaseBegin, a.Detail, nil))
	}
	start := time.Now()
	child := *s
	child.step, child.note = id, new(atomic.Pointer[any])
	err = f(context.WithValue(ctx, scopeKey{}, &child))
	detail := any(nil)
	if note := child.note.Load(); note != nil {
		detail = *note
	} else if a.Class == ClassStage {
		detail = a.Detail
	}
	end := lab.event(&a, id, PhaseEnd, detail, err)
	end.Took, end.How = Seconds(time.Since(start)), how.word()
	lab.Recorder.Record(end)
	return err
}

// delay lets lab time pass before an action that was picked to happen later.
func (s *scope) delay(ctx context.Context, a *Action, id uint64, how How) error {
	e := s.lab.event(a, id, PhaseFact, TimerDetail{Due: Seconds(s.lab.Clock.Since()) + how.Delay}, nil)
	e.Verb, e.Class, e.How = Delayed, ClassFact, how.word()
	s.lab.Recorder.Record(e)
	err := s.lab.Clock.Sleep(ctx, how.Delay.Duration(), *a)
	if err != nil {
		end := s.lab.event(a, id, PhaseEnd, a.Detail, err)
		end.How = how.word()
		s.lab.Recorder.Record(end)
	}
	return err
}

// refuse ends an action that was picked but is not to run.
func (s *scope) refuse(a *Action, id uint64, how How) error {
	var err error
	switch how.Kind {
	case Drop:
		err = ErrDropped
	case Crash:
		err = fmt.Errorf("%s: %w", a.Actor, ErrCrashed)
	default:
		err = &Injected{Msg: how.Msg}
	}
	e := s.lab.event(a, id, PhaseEnd, a.Detail, err)
	e.How = how.word()
	s.lab.Recorder.Record(e)
	if how.Kind == Crash && s.crash != nil {
		s.crash(err)
	}
	return err
}

func (l *Lab) event(a *Action, id uint64, phase Phase, detail any, err error) Event {
	e := Event{
		Step: id, Phase: phase, At: Seconds(l.Clock.Since()), Wall: time.Now().UnixMicro(),
		Actor: a.Actor, Node: a.Node, Verb: a.Verb, Class: a.Class, Object: a.Object,
		Parent: a.Parent, Quiet: a.Quiet, value: detail,
	}
	if phase == PhaseBegin || phase == PhasePending || a.Class == ClassStage {
		e.Cause, e.Revs = a.Causes, a.Revisions
	}
	if a.Class == ClassDeliver && len(a.Revisions) == 1 {
		e.RV = a.Revisions[0]
	}
	if err != nil {
		e.Err = err.Error()
	}
	return e
}

// Note sets the detail of the enclosing step's end event: what came of it.
// The last call wins. Detail must not change afterwards.
func Note(ctx context.Context, detail any) {
	if s := scopeOf(ctx); s != nil && s.note != nil {
		s.note.Store(&detail)
	}
}

// Fact records state that was seen, as part of the step that encloses ctx. Of
// the action only actor, node, verb, object, revisions and detail are used.
func Fact(ctx context.Context, a Action) {
	if s := scopeOf(ctx); s != nil {
		a.Class = ClassFact
		s.lab.fact(a, s.step)
	}
}

// Fact records state that was seen outside any step.
func (l *Lab) Fact(a Action) {
	a.Class = ClassFact
	l.fact(a, 0)
}

func (l *Lab) fact(a Action, in uint64) {
	if a.Node == "" {
		a.Node = l.Node
	}
	e := l.event(&a, in, PhaseFact, a.Detail, nil)
	e.Cause, e.Revs = a.Causes, a.Revisions
	l.Recorder.Record(e)
}

// Committed records that the store took an object at revision rv. It is a
// fact of the enclosing request, and what later steps are caused by.
func Committed(ctx context.Context, object Object, rv int64, detail any) {
	s := scopeOf(ctx)
	if s == nil {
		return
	}
	a := Action{Actor: "etcd", Verb: Commit, Object: object, Class: ClassFact}
	e := s.lab.event(&a, s.step, PhaseFact, detail, nil)
	e.RV = rv
	s.lab.Recorder.Record(e)
}
