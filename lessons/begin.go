package lessons

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Begin brings the lab to the lesson's beginning, or to where the learner was.
// It goes on while events are followed.
func (s *Session) Begin(ctx context.Context) error {
	if s.host == nil {
		return nil
	}
	err := s.exclusively(func() error { return s.begin(ctx) })
	if errors.Is(err, errBusy) {
		return nil // it is being brought there
	}
	s.mu.Lock()
	mode := s.see.state.Mode
	if s.ready = err == nil; s.ready && s.at == 0 {
		mode = step.Mode{State: step.Running}
		if first := s.lesson.Steps[0].Do; len(first) > 0 && first[0].Pause != nil {
			mode.State = step.Paused // so that nothing comes before it
		}
	}
	s.mu.Unlock()
	mode.State = cmp.Or(mode.State, step.Running)
	// An event comes now, so that whoever draws the lesson looks again.
	if woken := s.host.SetMode(ctx, mode); err != nil || woken != nil {
		return cmp.Or(err, woken)
	}
	return s.until(ctx, commandPatience, func() bool { return s.see.state.Mode.State == mode.State })
}

func (s *Session) begin(ctx context.Context) error {
	s.change(func() { s.ready = false })
	if err := s.clear(ctx); err != nil {
		return fmt.Errorf("bring the lab to its beginning: %w", err)
	}
	s.mu.Lock()
	at, token := s.at, s.see.token
	s.see.begun = false
	s.mu.Unlock()
	if err := s.host.Mark(ctx, beginMark(s.lesson, token)); err != nil {
		return err
	}
	if err := s.until(ctx, commandPatience, func() bool { return s.see.begun }); err != nil {
		return err
	}
	if at == 0 { // the first step begins in a paused lab
		if err := s.host.SetMode(ctx, step.Mode{State: step.Paused}); err != nil {
			return err
		}
	}
	for i := range at + 1 {
		if err := s.enter(ctx, i); err != nil {
			return err
		}
		if i == at {
			break
		}
		if err := s.catchUp(ctx, i); err != nil {
			return err
		}
	}
	s.progress.note(Entry{Lesson: s.lesson.ID, Kind: Ready, Lab: s.progress.here()})
	return nil
}

// catchUp does what a step does, and what the learner has done in it.
func (s *Session) catchUp(ctx context.Context, i int) error {
	st := s.lesson.Steps[i]
	if err := s.carryOut(ctx, i, len(st.Do)); err != nil || !st.acts() {
		return err
	}
	if _, err := s.host.Solve(ctx, s.lesson, st); err != nil {
		return fmt.Errorf("do again what you did in the step %q: %w", st.ID, err)
	}
	err := s.reach(ctx, i, time.Minute, func() bool { return s.see.complete(i) })
	if errors.Is(err, errSlow) {
		return fmt.Errorf("the goals of the step %q are not reached again: %w", st.ID, err)
	}
	return err
}

// clear puts away what lessons have made, and brings the lab to run. It changes
// nothing if there is what no lesson has made.
func (s *Session) clear(ctx context.Context) error {
	if err := s.caughtUp(ctx); err != nil {
		return err
	}
	others, err := Catalog(content)
	if err != nil {
		return err
	}
	w, err := newOwner(s.see, append(others, s.lesson))
	if err != nil {
		return err
	}
	if err := s.mine(ctx, w); err != nil {
		return err
	}
	s.progress.note(Entry{Lesson: s.lesson.ID, Kind: Prepares, Lab: s.progress.here()}) // from here on the lab is not as a learner left it
	if err := s.host.SetMode(ctx, step.Mode{State: step.Running}); err != nil {
		return err
	}
	if err := s.takeBack(ctx, others); err != nil {
		return err
	}
	if err := s.caughtUp(ctx); err != nil { // also with what was held until now
		return err
	}
	if err := s.putAway(ctx, w); err != nil {
		return err
	}
	var left []string
	err = s.until(ctx, time.Minute, func() bool {
		left = nil
		for k := range s.see.state.Objects {
			if k.Namespace == "default" && (k.Resource == "pods" || k.Resource == "replicasets.apps") {
				left = append(left, k.Resource+"/"+k.Name)
			}
		}
		return len(left) == 0
	})
	if err != nil {
		slices.Sort(left)
		return fmt.Errorf("a lesson needs the namespace default without pods, and there are %s: delete them, or take it in a new cluster (klab down): %w",
			strings.Join(left, ", "), err)
	}
	return s.quiet(ctx, 200*time.Millisecond, 5*time.Second)
}

// takeBack undoes what the lesson does beside its manifests, and what the one
// did that was taken before in this lab.
func (s *Session) takeBack(ctx context.Context, others []*Lesson) error {
	var list []Do
	s.mu.Lock()
	broken := len(s.see.state.Faults) > 0
	for _, l := range others {
		if l.ID == s.see.begunBefore(math.MaxUint64) && l.ID != s.lesson.ID {
			list = l.Reset
		}
	}
	s.mu.Unlock()
	if broken && !slices.ContainsFunc(list, func(d Do) bool { return d.Mend != "" }) {
		list = append(slices.Clone(list), Do{Mend: "--all"})
	}
	for _, d := range slices.Concat(list, s.lesson.Reset, []Do{{Speed: 1}}) {
		var err error
		switch {
		case len(d.Kubectl) > 0:
			_, err = s.host.Kubectl(ctx, "", d.Kubectl...)
		case len(d.Klab) > 0:
			_, err = s.host.Klab(ctx, d.Klab...)
		case d.Mend != "":
			_, err = s.host.Klab(ctx, d.klab(s.see)...)
		case d.Show != "":
			_, err = s.host.Shell(ctx, d.Show)
		case d.Wait != nil:
			err = s.until(ctx, waitPatience, func() bool { return s.see.holds(d.Wait) })
		default:
			err = s.speed(ctx, d.Speed)
		}
		if err != nil {
			return fmt.Errorf("reset, %s: %w", d.verbs()[0], err)
		}
	}
	return nil
}

func (s *Session) speed(ctx context.Context, rate float64) error {
	s.mu.Lock()
	now := s.see.state.Rate
	s.mu.Unlock()
	if now == rate {
		return nil
	}
	return s.host.SetRate(ctx, rate)
}

// caughtUp waits until the lab's events have been followed up to now.
func (s *Session) caughtUp(ctx context.Context) error {
	name := "reset " + s.see.token
	if err := s.host.Mark(ctx, name); err != nil {
		return err
	}
	return s.until(ctx, commandPatience, func() bool {
		return slices.ContainsFunc(s.see.state.Marks, func(m fold.Mark) bool { return m.Name == name })
	})
}
