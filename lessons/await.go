package lessons

import (
	"context"
	"errors"
	"slices"
	"time"
)

// How long a session waits for what it brought about. They are real time.
const (
	commandPatience = 30 * time.Second        // until a command's request arrives
	waitPatience    = 2 * time.Minute         // until an object has a value
	idlePatience    = 1500 * time.Millisecond // until nothing more comes but timers
	settled         = 12 * time.Millisecond   // without an event, a decision has had its effect
)

// until waits until ok, which is called with the lock held, is true.
func (s *Session) until(ctx context.Context, patience time.Duration, ok func() bool) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return errSlow
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errSlow = errors.New("it does not happen")

// quiet waits until no event has come for a while, at most most.
func (s *Session) quiet(ctx context.Context, while, most time.Duration) error {
	end := time.Now().Add(most)
	for time.Now().Before(end) {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(while):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// probeEvery is how often packets of a check are sent again while somebody is
// at work.
const probeEvery = 2 * time.Second

// reach waits until the step is complete; while it is to send packets for its
// checks, it does so again and again.
func (s *Session) reach(ctx context.Context, i int, patience time.Duration, complete func() bool) error {
	if !slices.ContainsFunc(s.lesson.Steps[i].Checks, func(c Check) bool { return len(c.Packet) > 0 }) {
		return s.until(ctx, patience, complete)
	}
	for end := time.Now().Add(patience); ; {
		if err := s.probe(ctx, i); err != nil {
			return err
		}
		err := s.until(ctx, probeEvery, complete)
		if !errors.Is(err, errSlow) || time.Now().After(end) {
			return err
		}
	}
}
