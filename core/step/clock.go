package step

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Clock is the lab's time. It runs at a rate, can be held, and can be moved
// forward to the next timer, so that "let 40 s pass" is one decision. Package
// labclock shows it to Kubernetes' own code as a k8s.io/utils/clock.
type Clock struct {
	mu     sync.Mutex
	began  time.Time // the lab's beginning, as a wall time
	anchor time.Time // real time at which lab was read
	lab    time.Duration
	rate   float64
	held   bool
	timers []*Timer // by due, then by age
	lastID uint64
	alarm  *time.Timer

	// OnFire, if set before the clock is used, is told of each labelled timer
	// that becomes due; the id it returns is the step that the timer's
	// consequences have as their parent.
	OnFire func(Action) uint64
}

// NewClock returns a running clock that reads began+since now.
func NewClock(began time.Time, since time.Duration) *Clock {
	return &Clock{began: began, anchor: time.Now(), lab: since, rate: 1}
}

// Timer is a point in lab time at which something is to happen.
type Timer struct {
	clock  *Clock
	id     uint64
	due    time.Duration
	action Action
	fire   func(step uint64)
}

// Upcoming is a labelled timer that is not due yet.
type Upcoming struct {
	ID     uint64
	Due    time.Duration // since the lab began
	Action Action
}

// Since is the lab time since the lab began.
func (c *Clock) Since() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since()
}

func (c *Clock) since() time.Duration {
	if c.held {
		return c.lab
	}
	return c.lab + time.Duration(float64(time.Since(c.anchor))*c.rate)
}

// Now is the lab time as a date.
func (c *Clock) Now() time.Time { return c.began.Add(c.Since()) }

// Began is the date at which the lab's time is zero.
func (c *Clock) Began() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.began
}

// Set makes the clock read now since the lab began, and go on from there at
// rate, or stand still if held. Timers that are due by then fire.
func (c *Clock) Set(now time.Duration, rate float64, held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lab, c.anchor, c.held = now, time.Now(), held
	if rate > 0 {
		c.rate = rate
	}
	c.arm()
}

// Rebase makes the clock count from began: an agent takes over the daemon's.
func (c *Clock) Rebase(began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = began
}

// Hold makes the clock stand still, or go on.
func (c *Clock) Hold(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lab, c.anchor, c.held = c.since(), time.Now(), held
	c.arm()
}

// Reading is what Set takes: the time since the lab began, the rate, and
// whether the clock stands still.
func (c *Clock) Reading() (now time.Duration, rate float64, held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since(), c.rate, c.held
}

// AdvanceTo moves a clock forward to now; it never moves backward.
func (c *Clock) AdvanceTo(now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lab, c.anchor = max(now, c.since()), time.Now()
	c.arm()
}

// Upcoming lists the labelled timers, the next one first.
func (c *Clock) Upcoming() []Upcoming {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Upcoming
	for _, t := range c.timers {
		if t.action.Verb != "" {
			list = append(list, Upcoming{ID: t.id, Due: t.due, Action: t.action})
		}
	}
	return list
}

// AfterFunc calls f in a goroutine of its own once d has passed. A labelled
// action is one with a verb: it is listed as upcoming and recorded when due,
// and step is then its id. f must not block for long.
func (c *Clock) AfterFunc(d time.Duration, a Action, f func(step uint64)) *Timer {
	t := &Timer{clock: c, action: a, fire: f}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start(t, d)
	return t
}

// Sleep waits until d has passed or ctx ends.
func (c *Clock) Sleep(ctx context.Context, d time.Duration, a Action) error {
	done := make(chan struct{})
	t := c.AfterFunc(d, a, func(uint64) { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		t.Stop()
		return context.Cause(ctx)
	}
}

// Stop keeps the timer from firing; it returns whether it was still to fire.
func (t *Timer) Stop() bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stop(t)
}

// Reset lets the timer fire d from now; it returns whether it was still to fire.
func (t *Timer) Reset(d time.Duration) bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	active := c.stop(t)
	c.start(t, d)
	return active
}

func (c *Clock) stop(t *Timer) bool {
	i := slices.Index(c.timers, t)
	if i < 0 {
		return false
	}
	c.timers = slices.Delete(c.timers, i, i+1)
	return true
}

func (c *Clock) start(t *Timer, d time.Duration) {
	c.lastID++
	t.id, t.due = c.lastID, c.since()+max(d, 0)
	i, _ := slices.BinarySearchFunc(c.timers, t, func(a, b *Timer) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.id, b.id))
	})
	c.timers = slices.Insert(c.timers, i, t)
	c.arm()
}

// arm fires what is due and sets the alarm for what comes next.
func (c *Clock) arm() {
	if c.alarm != nil {
		c.alarm.Stop()
	}
	now := c.since()
	n := 0
	for n < len(c.timers) && c.timers[n].due <= now {
		go c.expire(c.timers[n].action, c.timers[n].fire)
		n++
	}
	c.timers = slices.Delete(c.timers, 0, n)
	if c.held || len(c.timers) == 0 {
		return
	}
	wait := time.Duration(float64(c.timers[0].due-now)/c.rate) + 1
	c.alarm = time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.arm()
	})
}

func (c *Clock) expire(a Action, fire func(uint64)) {
	var id uint64
	if a.Verb != "" && c.OnFire != nil {
		id = c.OnFire(a)
	}
	fire(id)
}
