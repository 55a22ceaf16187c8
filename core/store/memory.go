package store

import (
	"context"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Memory is a Store in memory that behaves as etcd does. It uses neither time
// nor randomness, its goroutines block on channels only, and it may be used
// inside a testing/synctest bubble, if made there.
type Memory struct {
	mu        sync.Mutex
	keys      []string             // sorted: all that have versions
	versions  map[string][]version // oldest first
	log       []Event              // since the compacted revision
	revision  int64
	compacted int64
	changed   chan struct{} // closed and replaced at each write and compaction
	closed    bool
	done      chan struct{} // closed by Close
	watches   sync.WaitGroup
}

// version is a state of a key that began at a revision.
type version struct {
	revision int64
	kv       *KV // nil when deleted
}

// NewMemory returns an empty store. Like that of an empty etcd its revision
// is 1.
func NewMemory() *Memory {
	return &Memory{versions: map[string][]version{}, revision: 1, changed: make(chan struct{}), done: make(chan struct{})}
}

// at is the state of key as of a revision, or nil.
func (m *Memory) at(key string, revision int64) *KV {
	vs := m.versions[key]
	i := sort.Search(len(vs), func(i int) bool { return vs[i].revision > revision })
	if i == 0 {
		return nil
	}
	return vs[i-1].kv
}

func (m *Memory) Get(ctx context.Context, key string) (*KV, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if key == "" {
		return nil, ErrBadKey
	}
	kv := m.at(key, m.revision)
	if kv == nil {
		return nil, ErrNotFound
	}
	found := *kv
	return &found, nil
}

func (m *Memory) List(ctx context.Context, prefix string, o ListOptions) ([]KV, int64, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	revision := o.Revision
	switch {
	case m.closed:
		return nil, 0, false, ErrClosed
	case revision == 0:
		revision = m.revision
	case revision > m.revision:
		return nil, 0, false, ErrFuture
	case revision < m.compacted:
		return nil, 0, false, ErrCompacted
	}
	from, found := slices.BinarySearch(m.keys, max(prefix, o.After))
	if found && o.After != "" && m.keys[from] == o.After {
		from++
	}
	var kvs []KV
	for _, key := range m.keys[from:] {
		if !strings.HasPrefix(key, prefix) {
			if key > prefix {
				break
			}
			continue
		}
		kv := m.at(key, revision)
		if kv == nil {
			continue
		}
		if o.Limit > 0 && len(kvs) == o.Limit {
			return kvs, revision, true, nil
		}
		kvs = append(kvs, *kv)
	}
	return kvs, revision, false, nil
}

func (m *Memory) Put(ctx context.Context, key string, value []byte, expect int64) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := check(key, value); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, err := m.expected(key, expect)
	if err != nil {
		return 0, err
	}
	kv := KV{Key: key, Value: slices.Clone(value), Revision: m.revision + 1, Created: m.revision + 1}
	if old != nil {
		kv.Created = old.Created
	}
	m.commit(key, &kv, Event{Type: Put, KV: kv, Prev: old, Revision: kv.Revision})
	return kv.Revision, nil
}

func (m *Memory) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if key == "" {
		return 0, ErrBadKey
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if expect == 0 {
		if kv := m.at(key, m.revision); kv != nil {
			expect = kv.Revision
		} else if !m.closed {
			return 0, ErrNotFound
		}
	}
	old, err := m.expected(key, expect)
	if err != nil {
		return 0, err
	}
	revision := m.revision + 1
	m.commit(key, nil, Event{Type: Delete, KV: KV{Key: key}, Prev: old, Revision: revision})
	return revision, nil
}

// expected returns the present state of key if it is the one expected.
func (m *Memory) expected(key string, expect int64) (*KV, error) {
	kv := m.at(key, m.revision)
	switch {
	case m.closed:
		return nil, ErrClosed
	case expect == 0 && kv != nil:
		return nil, ErrExists
	case expect != 0 && kv == nil:
		return nil, ErrNotFound
	case expect != 0 && kv.Revision != expect:
		return nil, ErrConflict
	}
	return kv, nil
}

// commit makes kv, or nil for a deletion, the state of key at the next
// revision.
func (m *Memory) commit(key string, kv *KV, e Event) {
	m.revision++
	if i, found := slices.BinarySearch(m.keys, key); !found {
		m.keys = slices.Insert(m.keys, i, key)
	}
	m.versions[key] = append(m.versions[key], version{revision: m.revision, kv: kv})
	m.log = append(m.log, e)
	m.wake()
}

func (m *Memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Memory) Revision(ctx context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	return m.revision, ctx.Err()
}

// Compact forgets, and lets watchers that lag behind revision know.
func (m *Memory) Compact(ctx context.Context, revision int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return ErrClosed
	case revision > m.revision:
		return ErrFuture
	case revision <= m.compacted:
		return ErrCompacted
	}
	m.compacted = revision
	m.log = slices.Clone(m.log[m.since(revision):])
	m.keys = slices.DeleteFunc(m.keys, func(key string) bool {
		vs := m.versions[key]
		i := sort.Search(len(vs), func(i int) bool { return vs[i].revision > revision })
		if i > 0 && vs[i-1].kv != nil {
			i-- // still the state as of revision
		}
		if i == len(vs) {
			delete(m.versions, key)
			return true
		}
		m.versions[key] = slices.Clone(vs[i:])
		return false
	})
	m.wake()
	return nil
}

// since is the index in the log of the first event after a revision.
func (m *Memory) since(revision int64) int {
	return sort.Search(len(m.log), func(i int) bool { return m.log[i].Revision > revision })
}

// Close ends all watches and waits for their goroutines.
func (m *Memory) Close() error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.done)
	}
	m.mu.Unlock()
	m.watches.Wait()
	return nil
}
