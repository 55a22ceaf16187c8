package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klab-project/klab/core/step"
)

var errStalled = errors.New("the registry has stopped sending")

// progress ends a pull of which nothing has arrived for too long. Time is that
// of the store's clock: while the lab is held, no pull is given up.
type progress struct {
	store *Store
	give  context.CancelCauseFunc

	mu    sync.Mutex
	last  time.Duration
	timer *step.Timer
	ended bool
}

func (s *Store) watch(ctx context.Context) (context.Context, *progress) {
	ctx, give := context.WithCancelCause(ctx)
	p := &progress{store: s, give: give}
	p.moved()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arm(s.o.Stall)
	return ctx, p
}

// moved notes that something arrived.
func (p *progress) moved() {
	now := p.store.o.Clock.Since()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = now
}

// arm looks again in d. p.mu is held.
func (p *progress) arm(d time.Duration) {
	a := step.Action{Actor: "kubelet", Verb: step.Fire, Object: step.Object{Resource: "images"}, Quiet: true}
	p.timer = p.store.o.Clock.AfterFunc(d, a, func(uint64) { p.look() })
}

func (p *progress) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if left := p.last + p.store.o.Stall - p.store.o.Clock.Since(); left > 0 {
		p.arm(left)
		return
	}
	p.give(fmt.Errorf("%w: nothing has arrived for %v", errStalled, p.store.o.Stall))
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.timer.Stop()
	p.give(nil)
}

// arriving counts what comes from a registry.
type arriving struct {
	io.Reader
	progress *progress
	n        atomic.Int64
}

func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if n > 0 {
		a.n.Add(int64(n))
		a.progress.moved()
	}
	return n, err
}
