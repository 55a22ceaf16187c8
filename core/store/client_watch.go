package store

import (
	"context"
	"strconv"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
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
	lane := s.lanes.take()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(clientv3.WithRequireLeader(ctx), "klab-lane", strconv.Itoa(lane)))
	from, opts := span(prefix)
	opts = append(opts, clientv3.WithRev(after+1), clientv3.WithPrevKV())
	in := s.client.Watch(ctx, from, opts...)
	out := make(chan Batch)
	s.watches.Go(func() {
		defer close(out)
		defer s.lanes.give(lane)
		defer cancel()
		s.follow(ctx, in, out)
	})
	return out, nil
}

// lanes are numbers for watches. The etcd client has one stream for all watches
// whose contexts say the same, and within one process such a stream keeps
// nothing back: as soon as more watches end than the server has places for the
// news of it, while events come, client and server wait for each other for
// ever. With a number of its own each watch has a stream of its own. Numbers are
// used again, and with them what the client may have kept.
type lanes struct {
	mu   sync.Mutex
	free []int
	made int
}

func (l *lanes) take() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		lane := l.free[n-1]
		l.free = l.free[:n-1]
		return lane
	}
	l.made++
	return l.made
}

func (l *lanes) give(lane int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, lane)
}

// follow delivers until something ends it.
func (s *etcdStore) follow(ctx context.Context, in clientv3.WatchChan, out chan<- Batch) {
	for {
		var batch Batch
		select {
		case <-s.life.Done():
			return
		case <-ctx.Done(): // the etcd client may need a while to see it
			return
		case <-s.failure.failed:
			batch.Err = s.failure.err()
		case got, ok := <-in:
			if !ok {
				return // it has seen it
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
