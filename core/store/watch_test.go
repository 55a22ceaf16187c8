package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatch(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		first := mustPut(t, ctx, s, "/pods/a", "1", 0)
		mustPut(t, ctx, s, "/nodes/a", "1", 0)
		second := mustPut(t, ctx, s, "/pods/a", "2", first)
		fromPast, err := s.Watch(ctx, "/pods/", first)
		require.NoError(t, err)
		fromNow, err := s.Watch(ctx, "/pods/", second)
		require.NoError(t, err)
		deleted, err := s.Delete(ctx, "/pods/a", second)
		require.NoError(t, err)

		changed := Event{Type: Put, Revision: second,
			KV:   KV{Key: "/pods/a", Value: []byte("2"), Revision: second, Created: first},
			Prev: &KV{Key: "/pods/a", Value: []byte("1"), Revision: first, Created: first}}
		removed := Event{Type: Delete, Revision: deleted, KV: KV{Key: "/pods/a"}, Prev: &changed.KV}
		require.Equal(t, []Event{changed, removed}, collect(t, fromPast, 2))
		require.Equal(t, []Event{removed}, collect(t, fromNow, 1))
	})
}

func TestWatchFromTheFuture(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		now := mustPut(t, ctx, s, "/a", "1", 0)
		batches, err := s.Watch(ctx, "/", now+2)
		require.NoError(t, err)
		last := now
		for range 3 {
			last = mustPut(t, ctx, s, "/a", "x", last)
		}
		require.Equal(t, last, collect(t, batches, 1)[0].Revision)
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		ctx, cancel := context.WithCancel(ctx)
		batches, err := s.Watch(ctx, "/", 0)
		require.NoError(t, err)
		cancel()
		for b := range batches {
			require.NoError(t, b.Err)
		}
	})
}

// Many watches may end at once while much is written: they all end, and the
// store goes on.
func TestManyWatchesEndAtOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		var writing sync.WaitGroup
		defer writing.Wait()
		written, enough := context.WithCancel(ctx)
		defer enough()
		writing.Go(func() {
			for i := 0; written.Err() == nil; i++ {
				_, _ = s.Put(written, fmt.Sprint("/", i), []byte("x"), 0)
			}
		})
		for range 3 {
			several, cancel := context.WithCancel(ctx)
			var all []<-chan Batch
			for range 60 {
				batches, err := s.Watch(several, "/", 0)
				require.NoError(t, err)
				all = append(all, batches)
			}
			for _, batches := range all {
				receive(t, batches)
			}
			cancel()
			for _, batches := range all {
				ends(t, batches)
			}
		}
	})
}

// ends reads until a watch has ended.
func ends(t *testing.T, batches <-chan Batch) {
	t.Helper()
	for late := time.After(patience); ; {
		select {
		case _, ok := <-batches:
			if !ok {
				return
			}
		case <-late:
			require.FailNow(t, "the watch does not end")
		}
	}
}

// A watcher that does not read gets everything later, in order, while another
// one is not held up. The numbers are beyond what etcd queues for a watcher
// (128 responses) and puts into one response (1,000 revisions).
func TestWatchLags(t *testing.T) {
	const writers, each = 4, 600
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		slow, err := s.Watch(ctx, "/pods/", 1)
		require.NoError(t, err)
		fast, err := s.Watch(ctx, "/pods/", 1)
		require.NoError(t, err)
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				revision := int64(0)
				for i := range each {
					var err error
					if revision, err = s.Put(ctx, fmt.Sprintf("/pods/%d", w), fmt.Append(nil, i), revision); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		events := collect(t, fast, writers*each)
		writing.Wait()
		late, err := s.Watch(ctx, "/pods/", 1)
		require.NoError(t, err)
		for _, got := range [][]Event{events, collect(t, slow, writers*each), collect(t, late, writers*each)} {
			counts := map[string]int{}
			for i, e := range got {
				require.Equal(t, fmt.Sprint(counts[e.KV.Key]), string(e.KV.Value))
				counts[e.KV.Key]++
				if i > 0 {
					require.Greater(t, e.Revision, got[i-1].Revision)
				}
				require.Equal(t, events[i].Revision, e.Revision)
			}
		}
	})
}

// A list and a watch from its revision are together the whole truth, whatever
// is written meanwhile.
func TestListThenWatch(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		const n = 200
		var writing sync.WaitGroup
		writing.Go(func() {
			for i := range n {
				if _, err := s.Put(ctx, fmt.Sprintf("/pods/%03d", i), nil, 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
		kvs, revision, _, err := s.List(ctx, "/pods/", ListOptions{})
		require.NoError(t, err)
		batches, err := s.Watch(ctx, "/pods/", revision)
		require.NoError(t, err)
		seen := map[string]bool{}
		for _, kv := range kvs {
			seen[kv.Key] = true
		}
		for _, e := range collect(t, batches, n-len(kvs)) {
			require.False(t, seen[e.KV.Key], e.KV.Key)
			seen[e.KV.Key] = true
		}
		writing.Wait()
		require.Len(t, seen, n)
	})
}
