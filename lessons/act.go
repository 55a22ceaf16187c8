package lessons

import (
	"context"
	"errors"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/lesson"
)

// ErrReplay is the error of what a recording cannot do.
var ErrReplay = errors.New("a recording only plays; take the lesson live to act in it")

// Act implements lesson.Lesson.
func (s *Session) Act(ctx context.Context, act lesson.Act) error {
	switch act {
	case lesson.Do:
		return s.do(ctx)
	case lesson.Next:
		return s.next(ctx)
	case lesson.Prev:
		s.change(func() { s.look = max(0, s.look-1) })
	case lesson.Hint:
		s.change(s.hint)
	case lesson.Check:
		s.change(func() { s.learner[s.look].asked = true })
		return s.probe(ctx, s.at)
	case lesson.Reveal:
		s.change(func() { s.reveal = !s.reveal })
	case lesson.Reset:
		if s.host == nil {
			return ErrReplay
		}
		return s.Begin(ctx)
	}
	return nil
}

// calm leaves out that the lesson was busy: a key that was pressed twice.
func calm(err error) error {
	if errors.Is(err, errBusy) {
		return nil
	}
	return err
}

func (s *Session) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.wake()
}

// next goes on to the next step, or comes back from a look at an earlier one.
func (s *Session) next(ctx context.Context) error {
	s.mu.Lock()
	switch {
	case s.look < s.at:
		s.look++
		s.wake()
		s.mu.Unlock()
		return nil
	case s.last(s.at) || !s.over(s.at) && !s.handIn():
		s.wake()
		s.mu.Unlock()
		return nil
	}
	s.at++
	s.look = s.at
	i := s.at
	s.progress.note(Entry{Lesson: s.lesson.ID, Step: s.lesson.Steps[i].ID, Kind: Entered})
	s.wake()
	s.mu.Unlock()
	return s.enter(ctx, i)
}

// enter marks that a step begins, and waits until the mark has come back.
func (s *Session) enter(ctx context.Context, i int) error {
	if s.host == nil {
		return nil
	}
	if err := s.host.Mark(ctx, stepMark(s.lesson, s.lesson.Steps[i])); err != nil {
		return err
	}
	return s.until(ctx, commandPatience, func() bool { return s.see.steps[i].entered })
}

// errBusy is the error of what is asked for while something is carried out.
var errBusy = errors.New("the lesson is still busy")

// exclusively runs f while the lesson shows that it is busy.
func (s *Session) exclusively(f func() error) error {
	s.mu.Lock()
	if s.busy {
		s.mu.Unlock()
		return errBusy
	}
	s.busy, s.failed = true, nil
	s.wake()
	s.mu.Unlock()
	err := f()
	s.change(func() { s.busy, s.failed = false, err })
	return err
}

// do carries out the next chunk of the step.
func (s *Session) do(ctx context.Context) error {
	s.mu.Lock()
	i := s.at
	open := s.lesson.Steps[i].Predict != nil && !s.learner[i].locked
	unready := !s.ready && !s.busy
	s.look = i
	s.mu.Unlock()
	switch {
	case unready:
		return errors.New("the lab is not at the lesson's beginning: r tries it again")
	case open:
		return errors.New("lock your prediction first")
	case s.host == nil:
		return nil // the recording is played by whoever shows it
	}
	return calm(s.exclusively(func() error { return s.carryOn(ctx, i) }))
}

// carryOn carries out the next chunk of a step, and while the lab runs by
// itself also what only waits after it.
func (s *Session) carryOn(ctx context.Context, i int) error {
	list := s.lesson.Steps[i].Do
	s.mu.Lock()
	_, to := chunk(list, s.see.steps[i].did)
	s.mu.Unlock()
	for {
		if err := s.carryOut(ctx, i, to); err != nil {
			return err
		}
		s.mu.Lock()
		runs := s.see.state.Mode.State != step.Paused
		s.mu.Unlock()
		if !runs || to == len(list) || !list[to].waits() {
			return nil
		}
		_, to = chunk(list, to)
	}
}
