package step

import (
	"fmt"
	"time"
)

// NewLab joins a gate, a recorder and a clock: what the gate holds and what
// the clock fires is recorded, and the clock stands still while the gate is
// paused.
func NewLab(recorder Recorder, clock *Clock) *Lab {
	lab := &Lab{Gate: &Gate{}, Recorder: recorder, Clock: clock}
	lab.Gate.OnHold = func(p Pending, a *Action) {
		lab.Recorder.Record(lab.event(a, p.Step, PhasePending, PendingDetail{ID: p.ID, Detail: a.Detail}, nil))
	}
	lab.Gate.OnMode = func(m Mode) {
		clock.Hold(m.State == Paused)
		lab.Fact(Action{Actor: "gate", Verb: ModeSet, Detail: ModeDetail{Mode: m}})
	}
	clock.OnFire = lab.fired
	return lab
}

// fired records a timer as a step of its own.
func (l *Lab) fired(a Action) uint64 {
	id := l.ids.Add(1)
	if a.Node == "" {
		a.Node = l.Node
	}
	a.Class = ClassTimer
	l.Recorder.Record(l.event(&a, id, PhaseEnd, a.Detail, nil))
	return id
}

// SetRate lets lab time pass rate times as fast as real time.
func (l *Lab) SetRate(rate float64) error {
	if !(rate > 0 && rate <= 1000) {
		return fmt.Errorf("a clock rate is between 0 and 1000, not %v", rate)
	}
	now, _, held := l.Clock.Reading()
	l.Clock.Set(now, rate, held)
	l.clockFact()
	return nil
}

// AdvanceTo moves the lab clock forward; everything due until then fires.
func (l *Lab) AdvanceTo(now time.Duration) {
	l.Clock.AdvanceTo(now)
	l.clockFact()
}

func (l *Lab) clockFact() {
	now, rate, held := l.Clock.Reading()
	l.Fact(Action{Actor: "clock", Verb: ClockSet, Detail: ClockDetail{Now: Seconds(now), Rate: rate, Held: held}})
}

// Ask is the pending event of an action that an agent asks the daemon about.
func (l *Lab) Ask(a *Action, id uint64) Event {
	e := l.event(a, id, PhasePending, a.Detail, nil)
	e.encode()
	return e
}

// Action is the action of a pending event.
func (e *Event) Action() Action {
	a := Action{
		Actor: e.Actor, Node: e.Node, Verb: e.Verb, Object: e.Object, Class: e.Class,
		Revisions: e.Revs, Causes: e.Cause, Parent: e.Parent, Quiet: e.Quiet,
	}
	if len(e.Detail) > 0 {
		a.Detail = e.Detail
	}
	return a
}

// Encoded is the event with its detail as JSON, ready to be sent.
func (e Event) Encoded() Event {
	e.encode()
	return e
}
