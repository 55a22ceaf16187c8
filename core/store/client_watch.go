package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Watch starts a goroutine that translates; the etcd client queues for it, so
// that a slow reader does not hold up etcd, whose own queue for a watcher is
// short and refilled only every 100 ms.
func (s *etcdStore) Watch(ctx context.Context, prefix string, after int64) (<-chan Batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.life.Err() != nil {
		return nil, ErrClosed
	}
	if err := s.failure.err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	from, opts := span(prefix)
	opts = append(opts, clientv3.WithRev(after+1), clientv3.WithPrevKV())
	in := s.client.Watch(ctx, from, opts...)
	out := make(chan Batch)
	s.watches.Go(func() {
		defer close(out)
		defer cancel()
		s.follow(ctx, in, out)
	})
	return out, nil
}

// follow delivers until something ends it.
func (s *etcdStore) follow(ctx context.Context, in clientv3.WatchChan, out chan<- Batch) {
	for {
		var batch Batch
		select {
		case <-s.life.Done():
			return
		case <-s.failure.failed:
			batch.Err = s.failure.err()
		case got, ok := <-in:
			if !ok {
				return // ctx has ended
			}
			batch = fromWatch(got)
		}
		if batch.Err == nil && batch.Revision == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-s.life.Done():
			return
		case out <- batch:
		}
		if batch.Err != nil {
			return
		}
	}
}

func fromWatch(got clientv3.WatchResponse) Batch {
	if got.CompactRevision != 0 {
		return Batch{Err: ErrCompacted}
	}
	if err := got.Err(); err != nil {
		return Batch{Err: translate(err)}
	}
	batch := Batch{Revision: got.Header.Revision}
	for _, e := range got.Events {
		event := Event{Type: Put, Revision: e.Kv.ModRevision}
		if e.Type == clientv3.EventTypeDelete {
			event.Type, event.KV = Delete, KV{Key: string(e.Kv.Key)}
		} else {
			event.KV = fromEtcd(e.Kv)
		}
		if e.PrevKv != nil {
			prev := fromEtcd(e.PrevKv)
			event.Prev = &prev
		}
		batch.Events = append(batch.Events, event)
		// The header's revision may be ahead of events that are still to come.
		batch.Revision = event.Revision
	}
	return batch
}
