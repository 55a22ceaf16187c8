package lessons

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// carryOut does the entries of a step up to entry to, from where it is.
func (s *Session) carryOut(ctx context.Context, i, to int) error {
	for {
		s.mu.Lock()
		k := s.see.steps[i].did
		s.mu.Unlock()
		if k >= to {
			return nil
		}
		d := &s.lesson.Steps[i].Do[k]
		err := s.one(ctx, i, k, d)
		if err == nil {
			err = s.until(ctx, commandPatience, func() bool { return s.see.steps[i].did > k })
		}
		if err != nil {
			return fmt.Errorf("%s (%s:%d): %w", d.verbs()[0], s.lesson.Path, d.Line, err)
		}
	}
}

// one brings about entry k of step i.
func (s *Session) one(ctx context.Context, i, k int, d *Do) error {
	done := func() bool { return s.see.steps[i].did > k }
	switch {
	case d.Pause != nil:
		return s.host.SetMode(ctx, step.Mode{State: step.Paused, Zoom: step.Zoom(d.Pause.Zoom), Only: d.Pause.Only, Breaks: d.Pause.Breaks})
	case d.Run != nil:
		m := step.Mode{State: step.Running, Breaks: d.Run.Until}
		for b := range m.Breaks {
			m.Breaks[b].Once = true
		}
		return s.host.SetMode(ctx, m)
	case d.Step != nil:
		return s.stepOn(ctx, done)
	case d.waits():
		return s.until(ctx, waitPatience, done)
	case d.Speed > 0:
		return s.host.SetRate(ctx, d.Speed)
	case d.Mark != "":
		return s.host.Mark(ctx, d.Mark)
	case d.Show != "":
		return s.print(ctx, i, k, d.Show)
	case d.Apply != "":
		text, err := fs.ReadFile(s.lesson.Files, d.Apply)
		if err != nil {
			return err
		}
		manifest, err := marked(text, s.lesson)
		if err != nil {
			return err
		}
		return s.send(ctx, done, func(ctx context.Context) (string, error) {
			return s.host.Kubectl(ctx, manifest, "apply", "-f", "-")
		})
	case len(d.Kubectl) > 0, len(d.Exec) > 0:
		s.mu.Lock()
		args := s.see.args(d.Kubectl)
		if len(d.Exec) > 0 {
			args = append([]string{"exec"}, s.see.args(d.Exec)...)
		}
		s.mu.Unlock()
		return s.send(ctx, done, func(ctx context.Context) (string, error) { return s.host.Kubectl(ctx, "", args...) })
	case d.Packet != "", d.Break != "", d.Mend != "":
		return s.perform(ctx, i, k, done)
	case len(d.Klab) > 0:
		s.mu.Lock()
		args := s.see.args(d.Klab)
		s.mu.Unlock()
		return s.send(ctx, done, func(ctx context.Context) (string, error) { return s.host.Klab(ctx, args...) })
	}
	return nil
}

// send runs a command in the background until its request is seen: it may be
// held then, and goes on when it is let go.
func (s *Session) send(ctx context.Context, done func() bool, run func(context.Context) (string, error)) error {
	failed := make(chan error, 1)
	background := context.WithoutCancel(ctx)
	go func() {
		_, err := run(background)
		failed <- err
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, commandPatience, errSlow)
	defer cancel()
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case err := <-failed:
			if err != nil {
				return err
			}
			failed = nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// stepOn lets the longest held action happen, and so on until done. Time
// passes only when nothing else is left.
func (s *Session) stepOn(ctx context.Context, done func() bool) error {
	idle := time.Now()
	for {
		s.mu.Lock()
		state, over, changed := s.see.state, done(), s.changed
		var top uint64
		var of uint64
		if len(state.Pending) > 0 {
			top, of = state.Pending[0].ID, state.Pending[0].Step.ID
		}
		timer, due := uint64(0), time.Duration(0)
		if len(state.Timers) > 0 {
			timer, due = state.Timers[0].ID, state.Timers[0].Due.Duration()
		}
		s.mu.Unlock()
		switch {
		case over:
			return nil
		case top != 0:
			if err := s.host.Pick(ctx, top, step.How{Kind: step.Run}); err != nil {
				if err := s.quiet(ctx, settled, time.Second); err != nil { // it may have gone already
					return err
				}
			}
			if err := s.effect(ctx, of, done); err != nil {
				return err
			}
			idle = time.Now()
			continue
		case time.Since(idle) > idlePatience && timer != 0:
			if err := s.host.AdvanceTo(ctx, due); err != nil {
				return err
			}
			idle = time.Now()
			continue
		case time.Since(idle) > waitPatience:
			return errSlow
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// effect waits until a step that was let go has ended, or something within it
// is held, or it is done; and then until its events have come.
func (s *Session) effect(ctx context.Context, id uint64, done func() bool) error {
	err := s.until(ctx, 2*time.Second, func() bool {
		if done() {
			return true
		}
		st := s.see.state.Open[id]
		held := slices.ContainsFunc(s.see.state.Pending, func(p *fold.Pending) bool { return p.Step.ID == id })
		return st == nil || !held && s.heldWithin(id)
	})
	if err != nil && !errors.Is(err, errSlow) {
		return err
	}
	return s.quiet(ctx, settled, 200*time.Millisecond)
}

// heldWithin tells whether something is held whose parents include id.
func (s *Session) heldWithin(id uint64) bool {
	for _, p := range s.see.state.Pending {
		for parent, n := p.Step.Parent, 0; parent != 0 && n < 8; n++ {
			if parent == id {
				return true
			}
			up := s.see.state.Open[parent]
			if up == nil {
				break
			}
			parent = up.Parent
		}
	}
	return false
}

// printMost is how much of what a command prints is kept.
const printMost = 4000

// print runs a line in a shell and keeps what it prints among the lab's events.
// That it fails is no failure of the lesson.
func (s *Session) print(ctx context.Context, i, k int, line string) error {
	cmd, cancel := context.WithTimeoutCause(ctx, commandPatience, errSlow)
	defer cancel()
	out, err := s.host.Shell(cmd, line)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || cmd.Err() != nil) {
		return fmt.Errorf("%s: %w", line, err)
	}
	if len(out) > printMost {
		out = strings.ToValidUTF8(out[:printMost], "") + " ..."
	}
	return s.host.Note(ctx, outputMark(s.lesson, s.lesson.Steps[i], k), out)
}
