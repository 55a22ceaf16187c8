package tui

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step"
)

// pump reads a source and hands its events on in batches: View runs once per
// message, so a message per event would be far too many.
type pump struct {
	source Source

	mu     sync.Mutex
	events []*step.Event
	err    error
	ready  chan struct{} // has an element when there is something to take
	last   time.Time
}

// A batch comes at most every batchEvery and has at most batchMost events.
const (
	batchEvery = 33 * time.Millisecond
	batchMost  = 20_000
)

type (
	batchMsg  []*step.Event
	sourceMsg struct{ err error } // the source has ended
)

func newPump(s Source) *pump { return &pump{source: s, ready: make(chan struct{}, 1)} }

// run reads until the source or ctx ends.
func (p *pump) run(ctx context.Context) {
	from := uint64(1)
	for ctx.Err() == nil {
		events, err := p.source.Next(ctx, from)
		if n := len(events); n > 0 {
			from = events[n-1].Seq + 1
		}
		p.mu.Lock()
		p.events = append(p.events, events...)
		if err != nil && !errors.Is(err, io.EOF) {
			p.err = err
		}
		if errors.Is(err, io.EOF) && p.source.Live() {
			p.err = err
		}
		p.mu.Unlock()
		p.wake()
		if err != nil {
			return
		}
	}
}

func (p *pump) wake() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// next waits for the next batch.
func (p *pump) next(ctx context.Context) tea.Cmd {
	return func() tea.Msg {
		select {
		case <-p.ready:
		case <-ctx.Done():
			return nil
		}
		if wait := batchEvery - time.Since(p.last); wait > 0 {
			time.Sleep(wait)
		}
		p.last = time.Now()
		return p.take()
	}
}

func (p *pump) take() tea.Msg {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.events), batchMost)
	if n == 0 && p.err != nil {
		return sourceMsg{p.err}
	}
	batch := batchMsg(p.events[:n:n])
	p.events = p.events[n:]
	if len(p.events) > 0 || p.err != nil {
		p.wake()
	}
	return batch
}
