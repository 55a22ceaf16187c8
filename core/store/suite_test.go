package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must come; it is no measurement.
const patience = time.Minute

// eachStore runs a test on a new, empty store of every kind.
func eachStore(t *testing.T, test func(t *testing.T, ctx context.Context, s Store)) {
	t.Helper()
	kinds := []struct {
		name string
		open func(t *testing.T, ctx context.Context) Store
	}{
		{"memory", func(t *testing.T, _ context.Context) Store { return NewMemory() }},
		{"etcd", func(t *testing.T, ctx context.Context) Store { return openEtcd(t, ctx, t.TempDir()) }},
		{"dialed", func(t *testing.T, ctx context.Context) Store {
			dir := t.TempDir()
			openEtcd(t, ctx, dir)
			s, err := Dial(ctx, clientOf(t, dir))
			require.NoError(t, err)
			return s
		}},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
			t.Cleanup(cancel)
			s := kind.open(t, ctx)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			test(t, ctx, s)
		})
	}
}

func TestPut(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		_, err := s.Get(ctx, "/a")
		require.ErrorIs(t, err, ErrNotFound)
		first, err := s.Put(ctx, "/a", []byte("1"), 0)
		require.NoError(t, err)
		_, err = s.Put(ctx, "/a", []byte("2"), 0)
		require.ErrorIs(t, err, ErrExists)
		_, err = s.Put(ctx, "/a", []byte("2"), first+1)
		require.ErrorIs(t, err, ErrConflict)
		_, err = s.Put(ctx, "/b", []byte("2"), first)
		require.ErrorIs(t, err, ErrNotFound)
		second, err := s.Put(ctx, "/a", []byte("2"), first)
		require.NoError(t, err)
		require.Greater(t, second, first)
		kv, err := s.Get(ctx, "/a")
		require.NoError(t, err)
		require.Equal(t, &KV{Key: "/a", Value: []byte("2"), Revision: second, Created: first}, kv)
		revision, err := s.Revision(ctx)
		require.NoError(t, err)
		require.Equal(t, second, revision, "refused writes have no revision")
	})
}

func TestDelete(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		for _, expect := range []int64{0, 5} {
			_, err := s.Delete(ctx, "/a", expect)
			require.ErrorIs(t, err, ErrNotFound)
		}
		put := mustPut(t, ctx, s, "/a", "1", 0)
		_, err := s.Delete(ctx, "/a", put+1)
		require.ErrorIs(t, err, ErrConflict)
		deleted, err := s.Delete(ctx, "/a", put)
		require.NoError(t, err)
		require.Greater(t, deleted, put)
		_, err = s.Get(ctx, "/a")
		require.ErrorIs(t, err, ErrNotFound)
		again := mustPut(t, ctx, s, "/a", "2", 0)
		kv, err := s.Get(ctx, "/a")
		require.NoError(t, err)
		require.Equal(t, again, kv.Created, "a new life")
		_, err = s.Delete(ctx, "/a", 0)
		require.NoError(t, err)
	})
}

func TestRefuses(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		_, err := s.Put(ctx, "", []byte("1"), 0)
		require.ErrorIs(t, err, ErrBadKey)
		_, err = s.Get(ctx, "")
		require.ErrorIs(t, err, ErrBadKey)
		_, err = s.Delete(ctx, "", 0)
		require.ErrorIs(t, err, ErrBadKey)
		_, err = s.Put(ctx, "/big", make([]byte, MaxValue+1), 0)
		require.ErrorIs(t, err, ErrTooLarge)
		_, err = s.Put(ctx, "/big", make([]byte, MaxValue), 0)
		require.NoError(t, err, "etcd takes what we let through")
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err = s.Put(ended, "/a", nil, 0)
		require.ErrorIs(t, err, context.Canceled)
		_, err = s.Get(ctx, "/a")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestList(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		for _, key := range []string{"/pods/b/2", "/pods/a/1", "/podsets/x", "/pods/b/1", "/aaa", "/pods"} {
			mustPut(t, ctx, s, key, key, 0)
		}
		before, err := s.Revision(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"/pods/a/1", "/pods/b/1", "/pods/b/2"}, keys(t, ctx, s, "/pods/", ListOptions{}))
		require.Len(t, keys(t, ctx, s, "", ListOptions{}), 6)
		require.Empty(t, keys(t, ctx, s, "/none/", ListOptions{}))

		_, err = s.Delete(ctx, "/pods/a/1", 0)
		require.NoError(t, err)
		mustPut(t, ctx, s, "/pods/a/0", "late", 0)
		require.Equal(t, []string{"/pods/a/0", "/pods/b/1", "/pods/b/2"}, keys(t, ctx, s, "/pods/", ListOptions{}))
		require.Equal(t, []string{"/pods/a/1", "/pods/b/1", "/pods/b/2"}, keys(t, ctx, s, "/pods/", ListOptions{Revision: before}))

		page, revision, more, err := s.List(ctx, "/pods/", ListOptions{Limit: 2, Revision: before})
		require.NoError(t, err)
		require.True(t, more)
		require.Equal(t, before, revision)
		require.Equal(t, "/pods/b/1", page[1].Key)
		page, _, more, err = s.List(ctx, "/pods/", ListOptions{Limit: 2, Revision: before, After: page[1].Key})
		require.NoError(t, err)
		require.False(t, more)
		require.Len(t, page, 1)
		_, _, more, err = s.List(ctx, "/pods/", ListOptions{Limit: 3})
		require.NoError(t, err)
		require.False(t, more, "exactly as many as there are")
		_, _, _, err = s.List(ctx, "/pods/", ListOptions{Revision: before + 100})
		require.ErrorIs(t, err, ErrFuture)
	})
}

func TestCompact(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		first := mustPut(t, ctx, s, "/a", "1", 0)
		second := mustPut(t, ctx, s, "/a", "2", first)
		mustPut(t, ctx, s, "/b", "1", 0)
		_, err := s.Delete(ctx, "/b", 0)
		require.NoError(t, err)
		now, err := s.Revision(ctx)
		require.NoError(t, err)
		require.ErrorIs(t, s.Compact(ctx, now+1), ErrFuture)
		require.NoError(t, s.Compact(ctx, now))
		require.ErrorIs(t, s.Compact(ctx, second), ErrCompacted)
		_, _, _, err = s.List(ctx, "/", ListOptions{Revision: second})
		require.ErrorIs(t, err, ErrCompacted)
		require.Equal(t, []string{"/a"}, keys(t, ctx, s, "/", ListOptions{Revision: now}))
		kv, err := s.Get(ctx, "/a")
		require.NoError(t, err)
		require.Equal(t, first, kv.Created)

		batches, err := s.Watch(ctx, "/", first)
		if err == nil {
			batch := receive(t, batches)
			require.Empty(t, batch.Events)
			err = batch.Err
			_, open := <-batches
			require.False(t, open)
		}
		require.ErrorIs(t, err, ErrCompacted)
		batches, err = s.Watch(ctx, "/", now)
		require.NoError(t, err)
		put := mustPut(t, ctx, s, "/a", "3", second)
		e := collect(t, batches, 1)[0]
		require.Equal(t, put, e.Revision)
	})
}

func TestClosed(t *testing.T) {
	eachStore(t, func(t *testing.T, ctx context.Context, s Store) {
		batches, err := s.Watch(ctx, "/", 0)
		require.NoError(t, err)
		for i := range 3 {
			mustPut(t, ctx, s, fmt.Sprintf("/%d", i), "x", 0)
		}
		require.NoError(t, s.Close(), "nobody reads the watch")
		for range batches {
		}
		_, err = s.Get(ctx, "/a")
		require.ErrorIs(t, err, ErrClosed)
		_, err = s.Put(ctx, "/a", nil, 0)
		require.ErrorIs(t, err, ErrClosed)
		_, err = s.Delete(ctx, "/a", 0)
		require.ErrorIs(t, err, ErrClosed)
		_, err = s.Watch(ctx, "/", 0)
		require.ErrorIs(t, err, ErrClosed)
		require.NoError(t, s.Close(), "again")
	})
}

func mustPut(t *testing.T, ctx context.Context, s Store, key, value string, expect int64) int64 {
	t.Helper()
	revision, err := s.Put(ctx, key, []byte(value), expect)
	require.NoError(t, err)
	return revision
}

func keys(t *testing.T, ctx context.Context, s Store, prefix string, o ListOptions) []string {
	t.Helper()
	kvs, _, _, err := s.List(ctx, prefix, o)
	require.NoError(t, err)
	var keys []string
	for _, kv := range kvs {
		keys = append(keys, kv.Key)
	}
	return keys
}

func receive(t *testing.T, batches <-chan Batch) Batch {
	t.Helper()
	select {
	case b, ok := <-batches:
		require.True(t, ok, "the watch ended")
		return b
	case <-time.After(patience):
		require.Fail(t, "no batch came")
	}
	return Batch{}
}

// collect reads until there are n events.
func collect(t *testing.T, batches <-chan Batch, n int) []Event {
	t.Helper()
	var events []Event
	for len(events) < n {
		b := receive(t, batches)
		require.NoError(t, b.Err)
		for _, e := range b.Events {
			require.LessOrEqual(t, e.Revision, b.Revision)
		}
		events = append(events, b.Events...)
	}
	require.Len(t, events, n, "%s", describe(events))
	return events
}

func describe(events []Event) string {
	var s strings.Builder
	for _, e := range events {
		fmt.Fprintf(&s, "%d %s %s=%s\n", e.Revision, e.Type, e.KV.Key, e.KV.Value)
	}
	return s.String()
}
