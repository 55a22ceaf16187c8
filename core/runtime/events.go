package runtime

import (
	"context"
	"os"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/shim"
)

// tracker is the states as klab-rt's event stream told them.
type tracker struct {
	known    map[string]*shim.State
	loaded   []string // containers on disk when the client opened, until the first sync
	watchers map[*watcher]bool
}

// watcher is one reader of events, with a queue that has no bound.
type watcher struct {
	mu     sync.Mutex
	queue  []*cri.ContainerEventResponse
	wakeup chan struct{}
}

func (w *watcher) put(e *cri.ContainerEventResponse) {
	w.mu.Lock()
	w.queue = append(w.queue, e)
	w.mu.Unlock()
	select {
	case w.wakeup <- struct{}{}:
	default:
	}
}

func (w *watcher) take() *cri.ContainerEventResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil
	}
	e := w.queue[0]
	w.queue = w.queue[1:]
	return e
}

// Events implements Runtime.
func (c *Client) Events(ctx context.Context) (<-chan *cri.ContainerEventResponse, error) {
	w := &watcher{wakeup: make(chan struct{}, 1)}
	c.mu.Lock()
	if c.states.watchers == nil {
		c.states.watchers = map[*watcher]bool{}
	}
	c.states.watchers[w] = true
	c.mu.Unlock()
	out := make(chan *cri.ContainerEventResponse)
	go func() {
		defer close(out)
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.states.watchers, w)
		}()
		for {
			for e := w.take(); e != nil; e = w.take() {
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-w.wakeup:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// track follows klab-rt's events, over its restarts, until ctx ends.
func (c *Client) track(ctx context.Context) {
	for ctx.Err() == nil {
		seen := map[string]bool{}
		synced := false
		_ = c.rt.Events(ctx, func(e shim.Event) {
			switch {
			case e.State != nil:
				seen[e.State.ID] = true
				c.changed(e.State)
			case e.Gone != "":
				c.gone(e.Gone)
			case e.Synced && !synced:
				synced = true
				c.resync(seen)
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// resync forgets what klab-rt does not know, and containers on disk that were
// never made.
func (c *Client) resync(seen map[string]bool) {
	c.mu.Lock()
	loaded := c.states.loaded
	c.states.loaded = nil
	var gone []string
	for id := range c.states.known {
		if !seen[id] {
			gone = append(gone, id)
		}
	}
	c.mu.Unlock()
	for _, id := range loaded {
		if m, err := c.containerMeta(id); err == nil && !seen[id] {
			c.forget(m.ID)
			os.RemoveAll(c.dir(m.ID))
		}
	}
	for _, id := range gone {
		c.gone(id)
	}
}

// changed takes a new state and tells of it, once per turn of a life.
func (c *Client) changed(s *shim.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.states.known == nil {
		c.states.known = map[string]*shim.State{}
	}
	old := c.states.known[s.ID]
	c.states.known[s.ID] = s
	m := c.metas[s.ID]
	if m == nil || old != nil && old.Status == s.Status {
		return
	}
	if (old == nil || old.Status == shim.Creating) && s.Status != shim.Creating {
		c.emit(m, cri.ContainerEventType_CONTAINER_CREATED_EVENT, s.Created)
	}
	started := old != nil && (old.Status == shim.Running || old.Status == shim.Exited)
	if (s.Status == shim.Running || s.Status == shim.Exited && s.Reason != "StartError") && !started {
		c.emit(m, cri.ContainerEventType_CONTAINER_STARTED_EVENT, s.Started)
	}
	if s.Status == shim.Exited {
		c.emit(m, cri.ContainerEventType_CONTAINER_STOPPED_EVENT, s.Finished)
	}
}

func (c *Client) gone(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.states.known[id]; !known {
		return
	}
	delete(c.states.known, id)
	if m := c.metas[id]; m != nil {
		c.emit(m, cri.ContainerEventType_CONTAINER_DELETED_EVENT, time.Now().UnixNano())
		return
	}
	e := &cri.ContainerEventResponse{
		ContainerId: id, ContainerEventType: cri.ContainerEventType_CONTAINER_DELETED_EVENT, CreatedAt: time.Now().UnixNano(),
	}
	for w := range c.states.watchers {
		w.put(e)
	}
}

// emit tells the watchers, with the state of the whole pod. c.mu is held.
func (c *Client) emit(m *meta, kind cri.ContainerEventType, at int64) {
	e := &cri.ContainerEventResponse{ContainerId: m.ID, ContainerEventType: kind, CreatedAt: at}
	pod := first(m.SandboxID, m.ID)
	if sandbox := c.metas[pod]; sandbox != nil {
		e.PodSandboxStatus = sandbox.sandboxStatus(c.states.known[pod])
	}
	for _, other := range c.metas {
		if other.SandboxID != pod {
			continue
		}
		if s := c.states.known[other.ID]; s != nil {
			e.ContainersStatuses = append(e.ContainersStatuses, c.containerStatus(other, s))
		}
	}
	for w := range c.states.watchers {
		w.put(e)
	}
}
