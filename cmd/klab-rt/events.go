//go:build linux && cgo

package main

import (
	"net"
	"sync"

	"github.com/klab-project/klab/core/runtime/shim"
)

// subscriber is one caller that follows events. Its queue has no bound: a
// slow reader loses nothing, and events are few.
type subscriber struct {
	mu     sync.Mutex
	queue  []shim.Event
	wakeup chan struct{}
}

func (b *subscriber) put(e shim.Event) {
	b.mu.Lock()
	b.queue = append(b.queue, e)
	b.mu.Unlock()
	select {
	case b.wakeup <- struct{}{}:
	default:
	}
}

func (b *subscriber) take() []shim.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.queue
	b.queue = nil
	return events
}

// publish tells all subscribers.
func (s *server) publish(e shim.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.subscribers {
		b.put(e)
	}
}

// follow sends events until the caller hangs up.
func (s *server) follow(conn *net.UnixConn) {
	b := &subscriber{wakeup: make(chan struct{}, 1)}
	s.mu.Lock()
	for _, c := range s.containers {
		b.put(shim.Event{State: c.snapshot()})
	}
	b.put(shim.Event{Synced: true})
	s.subscribers[b] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.subscribers, b)
		s.mu.Unlock()
	}()
	gone := hungUp(conn)
	for {
		for _, e := range b.take() {
			if shim.Send(conn, e) != nil {
				return
			}
		}
		select {
		case <-b.wakeup:
		case <-gone:
			return
		}
	}
}
