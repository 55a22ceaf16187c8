// Package labclock shows the lab's clock to Kubernetes' own code, which takes
// time from a k8s.io/utils/clock.
//
// Its one noun is Clock: a [step.Clock] together with the label that its timers
// get, so that they are listed as upcoming and recorded when they become due.
// Start with [New].
//
// Guarantees: time stands still while the lab is held; a timer that is stopped
// or reset sends no former value; a ticker drops ticks for a slow receiver.
package labclock

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/klab-project/klab/core/step"
)

// Clock is a k8s.io/utils/clock that reads lab time.
type Clock struct {
	lab   *step.Clock
	label step.Action
}

var _ clock.WithTickerAndDelayedExecution = (*Clock)(nil)

// New returns a clock whose timers and tickers are labelled with label. A label
// without a verb makes them silent: neither listed nor recorded.
func New(lab *step.Clock, label step.Action) *Clock {
	return &Clock{lab: lab, label: label}
}

// Labelled returns the same clock with another label.
func (c *Clock) Labelled(label step.Action) *Clock { return New(c.lab, label) }

// Now is the lab time as a date.
func (c *Clock) Now() time.Time { return c.lab.Now() }

// Since is the lab time that has passed since t.
func (c *Clock) Since(t time.Time) time.Duration { return c.lab.Now().Sub(t) }

// Sleep waits until d of lab time has passed.
func (c *Clock) Sleep(d time.Duration) { _ = c.lab.Sleep(context.Background(), d, c.label) }

// After returns the channel of a new timer.
func (c *Clock) After(d time.Duration) <-chan time.Time { return c.NewTimer(d).C() }

// Tick returns the channel of a ticker that is never stopped.
func (c *Clock) Tick(d time.Duration) <-chan time.Time { return c.NewTicker(d).C() }

// NewTimer returns a timer that sends the lab time once, d from now.
func (c *Clock) NewTimer(d time.Duration) clock.Timer {
	t := &timer{clock: c, ch: make(chan time.Time, 1)}
	t.Reset(d)
	return t
}

// AfterFunc calls f in a goroutine of its own, d from now. The timer's channel
// is nil.
func (c *Clock) AfterFunc(d time.Duration, f func()) clock.Timer {
	t := &timer{clock: c, f: f}
	t.Reset(d)
	return t
}

// NewTicker returns a ticker that sends the lab time every d. Like
// time.NewTicker it panics unless d is positive.
func (c *Clock) NewTicker(d time.Duration) clock.Ticker {
	if d <= 0 {
		panic("labclock: a ticker's period must be positive")
	}
	t := &timer{clock: c, ch: make(chan time.Time, 1), period: d}
	t.Reset(d)
	return ticker{t}
}

// timer is also the ticker's: that is a timer with a period.
type timer struct {
	clock  *Clock
	ch     chan time.Time
	f      func()
	period time.Duration

	mu    sync.Mutex
	turn  int // counts resets and stops: a firing of an earlier turn is void
	inner *step.Timer
}

func (t *timer) C() <-chan time.Time { return t.ch }

func (t *timer) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stop()
}

// stop ends the current turn and tells whether it had still to fire.
func (t *timer) stop() bool {
	t.turn++
	active := t.inner != nil
	if active {
		t.inner.Stop()
		t.inner = nil
	}
	select {
	case <-t.ch:
	default:
	}
	return active
}

func (t *timer) Reset(d time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	active := t.stop()
	t.start(d)
	return active
}

func (t *timer) start(d time.Duration) {
	turn := t.turn
	t.inner = t.clock.lab.AfterFunc(d, t.clock.label, func(uint64) { t.fire(turn) })
}

func (t *timer) fire(turn int) {
	t.mu.Lock()
	if t.turn != turn {
		t.mu.Unlock()
		return
	}
	t.inner = nil
	if t.period > 0 {
		t.start(t.period)
	}
	if t.f == nil {
		select {
		case t.ch <- t.clock.Now():
		default:
		}
	}
	t.mu.Unlock()
	if t.f != nil {
		t.f()
	}
}

type ticker struct{ t *timer }

func (t ticker) C() <-chan time.Time { return t.t.ch }
func (t ticker) Stop()               { t.t.Stop() }
