package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

// history is how many changes of a resource a watcher may lag behind when it
// begins: fewer of large objects, of which so many bytes as stored are kept, but
// always some. A watcher that is under way may lag without limit.
const (
	history      = 1024
	historyBytes = 1 << 20
	historyLeast = 256
)

// entry is an object at a revision, as the store has it. It is shared and
// never changed.
type entry struct {
	key string
	rev int64
	raw []byte         // as stored
	obj runtime.Object // internal

	mu    sync.Mutex
	views map[string][]byte // encoded for watchers, by version and media type
}

// change is one revision of one object.
type change struct {
	rev       int64
	old, next *entry // nil before a creation, after a deletion
}

// size is that of the object as stored.
func (c *change) size() int {
	if c.next == nil {
		return 0
	}
	return len(c.next.raw)
}

// link is a place in a resource's chain of changes. Watchers walk along the
// chain, each at its own pace; what all have passed is garbage.
type link struct {
	change *change       // nil for the first link
	next   *link         // valid once ready is closed
	ready  chan struct{} // closed when there is a next link, or the chain broke
}

func newLink(c *change) *link { return &link{change: c, ready: make(chan struct{})} }

// cacher watches one prefix of the store on behalf of all watchers of a
// resource, and keeps the decoded objects. The store remains the truth: reads
// ask it and only spare themselves the decoding.
type cacher struct {
	row   *api.Resource
	store store.Store
	log   *slog.Logger

	mu      sync.Mutex
	objects map[string]*entry
	oldest  *link // the chain holds every change after since
	newest  *link
	length  int
	bytes   int // of the changes in the chain
	since   int64
	rev     int64 // the newest revision that was looked at
	flights map[string]chan struct{}
}

// errTooOld is the error of follow for a revision that the chain has lost.
var errTooOld = errors.New("too old resource version")

// start reads the present objects and begins to watch.
func (c *cacher) start(ctx context.Context) (<-chan store.Batch, error) {
	kvs, rev, _, err := c.store.List(ctx, c.row.Prefix, store.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", c.row.Name, err)
	}
	changes, err := c.store.Watch(ctx, c.row.Prefix, rev)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", c.row.Name, err)
	}
	objects := make(map[string]*entry, len(kvs))
	for i := range kvs {
		e, err := c.decode(&kvs[i])
		if err != nil {
			c.log.Error("skipping an object that does not decode", "key", kvs[i].Key, "err", err)
			continue
		}
		objects[e.key] = e
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	broken := c.newest
	c.objects, c.since, c.rev, c.length, c.bytes = objects, rev, rev, 0, 0
	c.oldest = newLink(nil)
	c.newest = c.oldest
	if broken != nil {
		close(broken.ready) // without a next link: watchers begin anew
	}
	return changes, nil
}

// run follows the store until ctx ends. After an error (the store compacted
// what was not seen yet, or went away) it starts again.
func (c *cacher) run(ctx context.Context, changes <-chan store.Batch) {
	for ctx.Err() == nil {
		for batch := range changes {
			if batch.Err != nil {
				c.log.Warn("the store's watch ended", "resource", c.row.Name, "err", batch.Err)
				break
			}
			c.apply(ctx, batch)
		}
		var err error
		for changes, err = c.start(ctx); err != nil && ctx.Err() == nil; changes, err = c.start(ctx) {
			if errors.Is(err, store.ErrClosed) {
				return
			}
			c.log.Error("the store does not answer", "resource", c.row.Name, "err", err)
			select {
			case <-time.After(time.Second): //nolint:forbidigo // the machine's time: the store is no part of the lab
			case <-ctx.Done():
			}
		}
	}
}

func (c *cacher) apply(ctx context.Context, batch store.Batch) {
	for i := range batch.Events {
		event := &batch.Events[i]
		c.landed(ctx, event.KV.Key)
		var next *entry
		if event.Type == store.Put {
			var err error
			if next, err = c.decode(&event.KV); err != nil {
				c.log.Error("skipping a change that does not decode", "key", event.KV.Key, "err", err)
				continue
			}
		}
		c.append(event.KV.Key, &change{rev: event.Revision, next: next})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev = max(c.rev, batch.Revision)
}

func (c *cacher) append(key string, ch *change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch.old = c.objects[key]
	if ch.next == nil {
		delete(c.objects, key)
	} else {
		c.objects[key] = ch.next
	}
	c.rev = ch.rev
	tail := c.newest
	tail.next = newLink(ch)
	c.newest = tail.next
	close(tail.ready)
	c.length++
	c.bytes += ch.size()
	for c.length > history || c.bytes > historyBytes && c.length > historyLeast {
		c.oldest = c.oldest.next
		c.since = c.oldest.change.rev
		c.length--
		c.bytes -= c.oldest.change.size()
	}
}

// follow returns the place in the chain after which the changes later than
// rev come (and perhaps some earlier ones).
func (c *cacher) follow(rev int64) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rev < c.since {
		return nil, fmt.Errorf("%w: %d (%d)", errTooOld, rev, c.since)
	}
	if rev >= c.rev {
		return c.newest, nil
	}
	at := c.oldest
	for at.next != nil && at.next.change.rev <= rev {
		at = at.next
	}
	return at, nil
}

// decode makes an entry of a value, or finds the one that was made before.
func (c *cacher) decode(kv *store.KV) (*entry, error) {
	c.mu.Lock()
	e := c.objects[kv.Key]
	c.mu.Unlock()
	if e != nil && e.rev == kv.Revision {
		return e, nil
	}
	obj, err := c.row.DecodeStored(kv.Value, kv.Revision)
	if err != nil {
		return nil, err
	}
	return &entry{key: kv.Key, rev: kv.Revision, raw: kv.Value, obj: obj}, nil
}

// each calls f for the objects that the cache has now, in no order.
func (c *cacher) each(f func(*entry)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.objects {
		f(e)
	}
}

// write performs put, which writes key, and done with its revision before any
// watcher hears of it: the journal knows a commit before its deliveries.
func (c *cacher) write(ctx context.Context, key string, put func() (int64, error), done func(rev int64)) (int64, error) {
	landed := make(chan struct{})
	c.mu.Lock()
	for {
		other, busy := c.flights[key]
		if !busy {
			break
		}
		c.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		c.mu.Lock()
	}
	c.flights[key] = landed
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.flights, key)
		c.mu.Unlock()
		close(landed)
	}()
	rev, err := put()
	if err != nil {
		return 0, err
	}
	done(rev)
	return rev, nil
}

// landed waits until no write of key is under way.
func (c *cacher) landed(ctx context.Context, key string) {
	c.mu.Lock()
	flight := c.flights[key]
	c.mu.Unlock()
	if flight == nil {
		return
	}
	select {
	case <-flight:
	case <-ctx.Done():
	}
}
