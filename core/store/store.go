// Package store keeps values by key and revision: the part of etcd that an API
// server needs, as an interface with three makers.
//
// The nouns are Store, KV, Event and Batch. Start at Store; NewMemory makes a
// deterministic twin in memory for simulations, OpenEtcd runs an etcd inside
// this process, and Dial uses an etcd cluster that exists.
//
// Guarantees, of every Store:
//   - Each successful Put or Delete has a revision of its own, one or more
//     greater than the one before; a write that was refused has none.
//   - A Put or Delete that returned without error is seen by every later Get and
//     List, and survives the death of the process (except in memory).
//   - A watcher gets every event of its prefix exactly once, in the order of
//     revisions, however far it lags behind, unless the store was compacted
//     beyond it: then its last Batch says ErrCompacted.
//
// Callers may not assume that revisions are consecutive (etcd counts its own
// transactions too), nor how events are grouped into batches, nor that
// a write that failed with another error than the ones below was not done.
package store

import (
	"context"
	"errors"
)

// The errors that are part of the contract; compare with errors.Is.
var (
	ErrNotFound  = errors.New("key not found")
	ErrExists    = errors.New("key already exists")
	ErrConflict  = errors.New("key has another revision")
	ErrCompacted = errors.New("the revision has been compacted away: list again and go on from there")
	ErrFuture    = errors.New("the revision is in the future")
	ErrTooLarge  = errors.New("value is too large (the limit is 1.5 MiB)")
	ErrNoSpace   = errors.New("no space left for the store: make room on its disk and start again")
	ErrTimeout   = errors.New("the store did not answer in time: a write may or may not have been carried out")
	ErrClosed    = errors.New("store is closed")
	ErrBadKey    = errors.New("a key must not be empty")
)

// MaxValue is the size in bytes of the largest value that every Store takes:
// etcd's limit of 1.5 MiB for a request, less room for the key.
const MaxValue = 3<<19 - 8<<10

// KV is one key with its value.
type KV struct {
	Key      string
	Value    []byte // must not be changed
	Revision int64  // of the last change
	Created  int64  // revision at which the key came into being
}

// EventType says what happened to a key.
type EventType uint8

const (
	Put    EventType = iota + 1 // the key was created (KV.Created == KV.Revision) or changed
	Delete                      // the key was removed
)

func (t EventType) String() string {
	switch t {
	case Put:
		return "put"
	case Delete:
		return "delete"
	}
	return "unknown"
}

// Event is one change. For a Delete, KV has only its Key, and Prev the last
// value. Prev is nil when the key was created, or when its earlier value has
// been compacted away.
type Event struct {
	Type     EventType
	KV       KV
	Prev     *KV
	Revision int64
}

// Batch is what a watcher gets at once. Revision is progress: every event of
// the prefix up to and including it has been delivered with this batch; a batch
// without events tells only that. The batch with Err is the last one, without
// events.
type Batch struct {
	Events   []Event
	Revision int64
	Err      error
}

// ListOptions select a part of a list. The zero value is: everything, now.
type ListOptions struct {
	Revision int64  // as of this revision; 0 is now
	Limit    int    // at most so many; 0 is no limit
	After    string // only keys greater than this one, for the next page
}

// Store is a set of keys with one revision counter.
type Store interface {
	// Get returns the value of key, or ErrNotFound.
	Get(ctx context.Context, key string) (*KV, error)
	// List returns the values whose keys begin with prefix, in the order of
	// keys, the revision at which that was true, and whether there are more
	// after a Limit. Errors: ErrCompacted, ErrFuture.
	List(ctx context.Context, prefix string, o ListOptions) (kvs []KV, revision int64, more bool, err error)
	// Put writes value. With expect 0 the key must not exist (ErrExists), else it
	// must have the mod revision expect (ErrConflict, ErrNotFound).
	Put(ctx context.Context, key string, value []byte, expect int64) (revision int64, err error)
	// Delete removes key if its mod revision is expect, or whatever it is if
	// expect is 0. Errors: ErrNotFound, ErrConflict.
	Delete(ctx context.Context, key string, expect int64) (revision int64, err error)
	// Watch delivers the events of prefix with revisions greater than after, which
	// may be in the future. The channel is closed when ctx or the store ends, or
	// after a batch with Err. Revisions compacted before the call may be reported by the error
	// or by the first batch.
	Watch(ctx context.Context, prefix string, after int64) (<-chan Batch, error)
	// Revision is that of the latest write.
	Revision(ctx context.Context) (int64, error)
	// Compact forgets all superseded values older than revision. Errors:
	// ErrCompacted if that was done already, ErrFuture.
	Compact(ctx context.Context, revision int64) error
	// Close ends all watches and releases everything that the store holds.
	Close() error
}

// check refuses what etcd refuses of any write.
func check(key string, value []byte) error {
	if key == "" {
		return ErrBadKey
	}
	if len(value) > MaxValue {
		return ErrTooLarge
	}
	return nil
}
