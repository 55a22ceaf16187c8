package store

import (
	"context"
	"strings"
)

// Watch starts a goroutine that reads the log; it ends with ctx or the store.
func (m *Memory) Watch(ctx context.Context, prefix string, after int64) (<-chan Batch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if after < m.compacted {
		return nil, ErrCompacted
	}
	out := make(chan Batch)
	m.watches.Add(1)
	go func() {
		defer m.watches.Done()
		defer close(out)
		m.follow(ctx, prefix, after, out)
	}()
	return out, nil
}

// follow delivers until something ends it.
func (m *Memory) follow(ctx context.Context, prefix string, after int64, out chan<- Batch) {
	for {
		batch, changed := m.next(prefix, after)
		if batch == nil {
			select {
			case <-ctx.Done():
				return
			case <-m.done:
				return
			case <-changed:
				continue
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-m.done:
			return
		case out <- *batch:
		}
		if batch.Err != nil {
			return
		}
		after = batch.Revision
	}
}

// next is the batch after a revision, or nil and a channel to wait on.
func (m *Memory) next(prefix string, after int64) (*Batch, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case after < m.compacted:
		return &Batch{Err: ErrCompacted}, nil
	case after >= m.revision:
		return nil, m.changed
	}
	batch := &Batch{Revision: m.revision}
	for _, e := range m.log[m.since(after):] {
		if strings.HasPrefix(e.KV.Key, prefix) {
			batch.Events = append(batch.Events, e)
		}
	}
	return batch, nil
}
