// Package tui is klab's terminal interface: a pure fold over events, drawn.
//
// There are only a few nouns: a [Source] gives events, from a daemon or from a
// recording; a [Control] passes on what the learner decides; a lesson.Lesson
// leads through it; the Model is the one bubbletea model, and everything else
// is a struct or a function that it calls. Start at [Run], then model.go.
//
// A frame is made in steps that know nothing of each other: fold gives the
// state at a moment, view says what each pane shows of it, layout says where
// panes are, pane draws them on a canvas. The package needs no root, no
// client-go and no daemon.
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/view"
)

// Source gives the events of a lab in order.
type Source interface {
	// Next returns the events from number from on, at least one, and waits for
	// it. After the last event of a recording the error is io.EOF.
	Next(ctx context.Context, from uint64) ([]*step.Event, error)
	Header() step.Header
	// Live tells whether more events come by themselves.
	Live() bool
}

// Control passes on what the learner decides.
type Control interface {
	// Pick lets a held action go on, or time pass to a timer.
	Pick(ctx context.Context, id uint64, how step.How) error
	SetMode(ctx context.Context, m step.Mode) error
	SetRate(ctx context.Context, rate float64) error
	Mark(ctx context.Context, name string) error
	// Run runs a line of kubectl, or of klab's packet, break and mend, and
	// returns what it printed.
	Run(ctx context.Context, line string) (output string, err error)
	// Shell is a shell in a pod or on a node, to run in a terminal.
	Shell(ctx context.Context, of fold.Key) (*exec.Cmd, error)
}

// Config says what to show and how.
type Config struct {
	Source  Source
	Control Control       // nil: only look
	Lesson  lesson.Lesson // nil: none
	Cards   []view.Card   // ways to break the lab

	Lang  i18n.Lang // "" is English
	ASCII bool      // signs of ASCII only
	Light bool      // colours for a light background; asked from the terminal if it answers
	Start uint64    // the event to begin at; 0 is now, or the beginning of a recording

	Input   io.Reader // nil: the terminal's
	Output  io.Writer
	Options []tea.ProgramOption
}

// Run shows the interface until the learner quits, ctx ends, or the terminal
// is lost.
func Run(ctx context.Context, c Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := New(ctx, c)
	options := append([]tea.ProgramOption{tea.WithContext(ctx), tea.WithFPS(30)}, c.Options...)
	if c.Input != nil {
		options = append(options, tea.WithInput(c.Input))
	}
	if c.Output != nil {
		options = append(options, tea.WithOutput(c.Output))
	}
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		m.pump.run(ctx)
	}()
	_, err := tea.NewProgram(m, options...).Run()
	cancel()
	<-reading
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("run the terminal interface: %w", err)
	}
	return nil
}

func glyphs(ascii bool) *canvas.Glyphs {
	if ascii {
		return canvas.ASCII()
	}
	return canvas.Unicode()
}
