package sim

import (
	"context"
	"fmt"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/step"
)

// Scenario is something that happens in a world and how it is to end.
type Scenario struct {
	Config
	// Acts are what kubectl does: the first one at the beginning, each further
	// one when the world has reached the goal of the one before.
	Acts []Act
	// Invariants, made anew for each run; nil means Invariants.
	Invariants func() []Invariant
	// MaxSteps ends a run that does not; zero means 2000.
	MaxSteps int
}

// Act is one thing that kubectl does, and the state that is to follow.
type Act struct {
	Do   func(context.Context, kubernetes.Interface) error
	Goal func(State) error // nil when reached
}

// Result is how a run went.
type Result struct {
	Choices step.Choices
	State   State
	Err     error // an invariant that did not hold, or a goal that was not reached
}

// Run plays a scenario once, with chooser.
func Run(sc Scenario, chooser step.Chooser) (r Result) {
	w, err := NewWorld(sc.Config)
	if err != nil {
		return Result{Err: fmt.Errorf("start the world: %w", err)}
	}
	defer w.Close()
	run := &run{World: w, chooser: step.Recording(chooser, &r.Choices), left: sc.MaxSteps}
	run.invariants = Invariants()
	if sc.Invariants != nil {
		run.invariants = sc.Invariants()
	}
	if run.left == 0 {
		run.left = 2000
	}
	for i, act := range sc.Acts {
		if err := run.act(act); err != nil {
			r.Err = fmt.Errorf("act %d, after %d choices: %w", i+1, len(r.Choices), err)
			break
		}
	}
	r.State, err = w.State()
	if r.Err == nil {
		r.Err = err
	}
	return r
}

type run struct {
	*World
	chooser    step.Chooser
	invariants []Invariant
	left       int
}

func (r *run) act(a Act) error {
	if err := r.Do(a.Do); err != nil {
		return fmt.Errorf("kubectl: %w", err)
	}
	for idle := 0; r.left > 0; r.left-- {
		state, err := r.check()
		if err != nil {
			return err
		}
		pending := step.Stable(r.Lab.Gate.Pending())
		if len(pending) > 0 {
			idle = 0
			i, how := r.chooser.Choose(pending)
			if err := r.Lab.Gate.Pick(pending[i].ID, how); err != nil {
				return err
			}
			continue
		}
		goal := a.Goal(state)
		if goal == nil {
			return nil
		}
		if idle++; idle > 50 {
			return fmt.Errorf("nothing moves any more: %w", goal)
		}
		r.passTime()
	}
	return fmt.Errorf("it does not come to rest")
}

// check waits until everything waits, and then looks at the state.
func (r *run) check() (State, error) {
	synctest.Wait()
	state, err := r.State()
	if err != nil {
		return state, err
	}
	for _, holds := range r.invariants {
		if err := holds(state); err != nil {
			return state, err
		}
	}
	return state, nil
}

// passTime lets client-go's own timers fire, and if there is still nothing to
// choose, the lab's next timer.
func (r *run) passTime() {
	time.Sleep(2 * time.Second)
	synctest.Wait()
	if len(r.Lab.Gate.Pending()) > 0 {
		return
	}
	if next := r.Lab.Clock.Upcoming(); len(next) > 0 {
		r.Lab.AdvanceTo(next[0].Due)
	}
}
