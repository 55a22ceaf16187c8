package apiserver

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/kubernetes/pkg/apis/core"
)

// eventTTL is how long an event stays, as upstream's default.
const eventTTL = time.Hour

// eventPruner removes old events when new ones are written, so that an idle
// cluster does nothing.
type eventPruner struct {
	mu   sync.Mutex
	next time.Time // not before
}

// pruneEvents looks at most once in a minute of lab time.
func (s *Server) pruneEvents(ctx context.Context, r *request) {
	if !isEvents(r.path.Resource) {
		return
	}
	now := s.now()
	s.events.mu.Lock()
	due := !now.Before(s.events.next)
	if due {
		s.events.next = now.Add(time.Minute)
	}
	s.events.mu.Unlock()
	if !due {
		return
	}
	var old []*entry
	r.cache.each(func(e *entry) {
		if m, err := meta.Accessor(e.obj); err == nil && now.Sub(lastSeen(e, m.GetCreationTimestamp().Time)) > eventTTL {
			old = append(old, e)
		}
	})
	for _, e := range old {
		// What cannot be removed now is removed another time.
		_, _ = r.cache.write(ctx, e.key, func() (int64, error) {
			ctx, cancel := bounded(ctx)
			defer cancel()
			return s.cfg.Store.Delete(ctx, e.key, e.rev)
		}, func(rev int64) { r.committed(ctx, e.obj, nil, rev) })
	}
}

// lastSeen is when an event happened for the last time.
func lastSeen(e *entry, created time.Time) time.Time {
	event, ok := e.obj.(*core.Event)
	if ok && event.LastTimestamp.After(created) {
		return event.LastTimestamp.Time
	}
	return created
}
