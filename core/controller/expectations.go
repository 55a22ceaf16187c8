package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
)

// expectations remember, per key, which creations and deletions a controller
// has asked for and has not seen in its cache yet. Until it has, its cache is
// known to be stale, and acting on it would create or delete too much.
//
// A deletion is remembered by UID, since an update that sets the deletion
// timestamp and the final deletion both tell of it.
type expectations struct {
	clock *step.Clock
	mu    sync.Mutex
	open  map[string]*expectation
}

type expectation struct {
	creations int
	deletions map[types.UID]bool
	since     time.Duration
}

// patience is after which time an expectation is given up, as upstream.
const patience = 5 * time.Minute

func newExpectations(clock *step.Clock) *expectations {
	return &expectations{clock: clock, open: map[string]*expectation{}}
}

func (e *expectations) expect(key string, creations int, deletions ...types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := &expectation{creations: creations, deletions: map[types.UID]bool{}, since: e.clock.Since()}
	for _, uid := range deletions {
		x.deletions[uid] = true
	}
	e.open[key] = x
}

func (e *expectations) created(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.open[key]; x != nil {
		x.creations--
	}
}

func (e *expectations) deleted(key string, uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.open[key]; x != nil {
		delete(x.deletions, uid)
	}
}

// met tells whether the cache has caught up with what was done for key.
func (e *expectations) met(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.open[key]
	return x == nil || x.creations <= 0 && len(x.deletions) == 0 || e.clock.Since()-x.since > patience
}

func (e *expectations) forget(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.open, key)
}
