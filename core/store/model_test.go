package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is what the contract says, in the plainest way: each revision with all
// that was true then, and the event that made it so.
type model struct {
	base      int64           // the revision at which it begins
	states    []map[string]KV // by revision-base
	events    []Event
	compacted int64
}

func (m *model) revision() int64 { return m.base + int64(len(m.states)) - 1 }

func (m *model) put(key, value string, expect int64) error {
	old, exists := m.states[len(m.states)-1][key]
	switch {
	case expect == 0 && exists:
		return ErrExists
	case expect != 0 && !exists:
		return ErrNotFound
	case expect != 0 && old.Revision != expect:
		return ErrConflict
	}
	kv := KV{Key: key, Value: []byte(value), Revision: m.revision() + 1, Created: m.revision() + 1}
	e := Event{Type: Put, Revision: kv.Revision}
	if exists {
		kv.Created, e.Prev = old.Created, &old
	}
	e.KV = kv
	m.commit(e, func(state map[string]KV) { state[key] = kv })
	return nil
}

func (m *model) delete(key string, expect int64) error {
	old, exists := m.states[len(m.states)-1][key]
	if !exists {
		return ErrNotFound
	}
	if expect != 0 && old.Revision != expect {
		return ErrConflict
	}
	e := Event{Type: Delete, KV: KV{Key: key}, Prev: &old, Revision: m.revision() + 1}
	m.commit(e, func(state map[string]KV) { delete(state, key) })
	return nil
}

func (m *model) commit(e Event, change func(map[string]KV)) {
	state := maps.Clone(m.states[len(m.states)-1])
	change(state)
	m.states, m.events = append(m.states, state), append(m.events, e)
}

func (m *model) list(prefix string, o ListOptions) (kvs []KV, more bool) {
	at := o.Revision
	if at == 0 {
		at = m.revision()
	}
	for _, key := range slices.Sorted(maps.Keys(m.states[at-m.base])) {
		if strings.HasPrefix(key, prefix) && key > o.After {
			kvs = append(kvs, m.states[at-m.base][key])
		}
	}
	if o.Limit > 0 && len(kvs) > o.Limit {
		return kvs[:o.Limit], true
	}
	return kvs, false
}

// checkModel does random things to a store and the model, below a root that
// nobody else uses.
func checkModel(t *rapid.T, ctx context.Context, s Store, root string) {
	base, err := s.Revision(ctx)
	require.NoError(t, err)
	if err := s.Compact(ctx, base); !errors.Is(err, ErrCompacted) {
		require.NoError(t, err)
	}
	m := &model{base: base, states: []map[string]KV{{}}, compacted: base}
	below := func(name string) string { return root + name }
	key := rapid.Map(rapid.SampledFrom([]string{"/a/1", "/a/2", "/ab", "/b/1", "/b"}), below)
	prefix := rapid.Map(rapid.SampledFrom([]string{"", "/", "/a", "/a/", "/b", "/c", "/b/1"}), below)
	expect := func(t *rapid.T, key string) int64 {
		if kv, ok := m.states[len(m.states)-1][key]; ok && rapid.Bool().Draw(t, "right") {
			return kv.Revision
		}
		return rapid.Int64Range(0, m.revision()+1).Draw(t, "expect")
	}
	same := func(t *rapid.T, want error, revision int64, err error) {
		require.ErrorIs(t, err, want)
		if err == nil {
			require.Equal(t, m.revision(), revision)
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			k, v := key.Draw(t, "key"), rapid.StringN(0, 4, -1).Draw(t, "value")
			e := expect(t, k)
			revision, err := s.Put(ctx, k, []byte(v), e)
			same(t, m.put(k, v, e), revision, err)
		},
		"delete": func(t *rapid.T) {
			k := key.Draw(t, "key")
			e := expect(t, k)
			revision, err := s.Delete(ctx, k, e)
			same(t, m.delete(k, e), revision, err)
		},
		"list": func(t *rapid.T) {
			o := ListOptions{Limit: rapid.IntRange(0, 3).Draw(t, "limit")}
			if rapid.Bool().Draw(t, "past") {
				o.Revision = rapid.Int64Range(m.base, m.revision()).Draw(t, "at")
			}
			if rapid.Bool().Draw(t, "page") {
				o.After = key.Draw(t, "after")
			}
			p := prefix.Draw(t, "prefix")
			kvs, _, more, err := s.List(ctx, p, o)
			if o.Revision != 0 && o.Revision < m.compacted {
				require.ErrorIs(t, err, ErrCompacted)
				return
			}
			require.NoError(t, err)
			want, wantMore := m.list(p, o)
			sameKVs(t, want, kvs)
			require.Equal(t, wantMore, more)
		},
		"watch": func(t *rapid.T) { m.checkWatch(t, ctx, s, prefix.Draw(t, "prefix")) },
		"compact": func(t *rapid.T) {
			at := rapid.Int64Range(m.base, m.revision()+1).Draw(t, "at")
			err := s.Compact(ctx, at)
			switch {
			case at > m.revision():
				require.ErrorIs(t, err, ErrFuture)
			case at <= m.compacted:
				require.ErrorIs(t, err, ErrCompacted)
			default:
				require.NoError(t, err)
				m.compacted = at
			}
		},
		"": func(t *rapid.T) {
			revision, err := s.Revision(ctx)
			require.NoError(t, err)
			require.Equal(t, m.revision(), revision)
		},
	})
}

func sameKVs(t *rapid.T, want, got []KV) {
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Key, got[i].Key)
		require.Equal(t, string(want[i].Value), string(got[i].Value))
		require.Equal(t, want[i].Revision, got[i].Revision)
		require.Equal(t, want[i].Created, got[i].Created)
	}
}

// checkWatch reads all events there are after some revision.
func (m *model) checkWatch(t *rapid.T, ctx context.Context, s Store, prefix string) {
	after := rapid.Int64Range(m.compacted, m.revision()).Draw(t, "after")
	var want []Event
	for _, e := range m.events {
		if e.Revision > after && strings.HasPrefix(e.KV.Key, prefix) {
			want = append(want, e)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, err := s.Watch(ctx, prefix, after)
	require.NoError(t, err)
	for len(want) > 0 {
		b := <-batches
		require.NoError(t, b.Err)
		for _, e := range b.Events {
			require.NotEmpty(t, want)
			require.Equal(t, want[0].Type, e.Type)
			require.Equal(t, want[0].Revision, e.Revision)
			sameKVs(t, []KV{want[0].KV}, []KV{e.KV})
			if e.Prev != nil {
				sameKVs(t, []KV{*want[0].Prev}, []KV{*e.Prev})
			} else if want[0].Prev != nil {
				require.Less(t, want[0].Prev.Revision, m.compacted, "only a compacted value may be missing")
			}
			want = want[1:]
		}
	}
}

func TestModel(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		n := 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			checkModel(t, ctx, s, fmt.Sprintf("/%06d", n))
		})
	})
}

// In a bubble of synctest the memory store is idle when nobody uses it, and
// delivers at one point in time.
func TestMemoryInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := NewMemory()
		batches, err := s.Watch(ctx, "/", 0)
		require.NoError(t, err)
		began, seen := time.Now(), 0
		go func() {
			for b := range batches {
				seen += len(b.Events)
			}
		}()
		last := int64(0)
		for range 1000 {
			last = mustPut(t, ctx, s, "/a", "x", last)
		}
		synctest.Wait()
		require.Equal(t, 1000, seen)
		require.Equal(t, began, time.Now())
		time.Sleep(time.Hour)
		cancel()
		require.NoError(t, s.Close())
	})
}
