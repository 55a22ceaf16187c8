package controller

import (
	"time"

	"github.com/klab-project/klab/core/step"
)

// This file is how keys come into a loop's queue: because of events, which
// merge until the key's turn, and because time has passed.

// Add queues key because of an object at revision; 0 for no object.
func (l *Loop) Add(key string, revision int64) {
	l.mu.Lock()
	why := l.reasons[key]
	why.events++
	if revision != 0 && len(why.revisions) < maxRevisions {
		why.revisions = append(why.revisions, revision)
	}
	l.reasons[key] = why
	l.mu.Unlock()
	l.queue.Add(key)
}

// Deadline queues key once d of lab time has passed. It replaces the key's
// former deadline.
func (l *Loop) Deadline(key string, d time.Duration) { l.schedule(timerKey{key, false}, d) }

// NoDeadline takes the key's deadline back, and tells whether it had one.
func (l *Loop) NoDeadline(key string) bool { return l.unschedule(timerKey{key, false}) }

// timerKey keeps a key's deadline and its back-off apart: neither moves the other.
type timerKey struct {
	key     string
	backOff bool
}

func (l *Loop) schedule(k timerKey, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timers == nil {
		return // this life is over
	}
	if old := l.timers[k]; old != nil {
		old.Stop()
	}
	label := step.Action{Actor: l.Name, Verb: step.Fire, Object: l.object(k.key), Quiet: l.Quiet,
		Detail: step.TimerDetail{Due: step.Seconds(l.Clock.Since() + d)}}
	t := new(keyedTimer)
	t.Timer = l.Clock.AfterFunc(d, label, func(id uint64) { l.expired(k, t, id) })
	l.timers[k] = t
}

func (l *Loop) unschedule(k timerKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.timers[k]
	if t != nil {
		t.Stop()
		delete(l.timers, k)
	}
	return t != nil
}

func (l *Loop) expired(k timerKey, t *keyedTimer, id uint64) {
	l.mu.Lock()
	if l.timers[k] != t {
		l.mu.Unlock()
		return
	}
	delete(l.timers, k)
	if id != 0 {
		why := l.reasons[k.key]
		why.timers = append(why.timers, id)
		l.reasons[k.key] = why
	}
	l.mu.Unlock()
	l.queue.Add(k.key)
}
