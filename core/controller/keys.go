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

// AddAfter queues key once d of lab time has passed, or earlier if an earlier
// AddAfter said so.
func (l *Loop) AddAfter(key string, d time.Duration) { l.schedule(key, d, false) }

// Deadline queues key once d of lab time has passed. It replaces what an
// earlier Deadline or AddAfter said.
func (l *Loop) Deadline(key string, d time.Duration) { l.schedule(key, d, true) }

func (l *Loop) schedule(key string, d time.Duration, replace bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timers == nil {
		return // this life is over
	}
	due := l.Clock.Since() + d
	if old := l.timers[key]; old != nil {
		if !replace && old.due <= due {
			return
		}
		old.Stop()
	}
	label := step.Action{Actor: l.Name, Verb: step.Fire, Object: l.object(key), Quiet: l.Quiet,
		Detail: step.TimerDetail{Due: step.Seconds(due)}}
	t := &keyedTimer{due: due}
	t.Timer = l.Clock.AfterFunc(d, label, func(id uint64) { l.expired(key, t, id) })
	l.timers[key] = t
}

// NoDeadline takes back what Deadline or AddAfter said, and tells whether
// there was anything to take back.
func (l *Loop) NoDeadline(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.timers[key]
	if t != nil {
		t.Stop()
		delete(l.timers, key)
	}
	return t != nil
}

func (l *Loop) expired(key string, t *keyedTimer, id uint64) {
	l.mu.Lock()
	if l.timers[key] != t {
		l.mu.Unlock()
		return
	}
	delete(l.timers, key)
	if id != 0 {
		why := l.reasons[key]
		why.timers = append(why.timers, id)
		l.reasons[key] = why
	}
	l.mu.Unlock()
	l.queue.Add(key)
}
