package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkPut is one write after the other, each on disk before the next.
func BenchmarkPut(b *testing.B) {
	benchmark(b, func(b *testing.B, ctx context.Context, s Store) {
		revision := int64(0)
		for b.Loop() {
			var err error
			revision, err = s.Put(ctx, "/registry/pods/default/web", make([]byte, 4000), revision)
			require.NoError(b, err)
		}
	})
}

func BenchmarkPutParallel(b *testing.B) {
	benchmark(b, func(b *testing.B, ctx context.Context, s Store) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			key, revision := fmt.Sprintf("/registry/pods/%p", pb), int64(0)
			for pb.Next() {
				var err error
				revision, err = s.Put(ctx, key, make([]byte, 4000), revision)
				require.NoError(b, err)
			}
		})
	})
}

func BenchmarkGet(b *testing.B) {
	benchmark(b, func(b *testing.B, ctx context.Context, s Store) {
		_, err := s.Put(ctx, "/registry/pods/default/web", make([]byte, 4000), 0)
		require.NoError(b, err)
		for b.Loop() {
			_, err := s.Get(ctx, "/registry/pods/default/web")
			require.NoError(b, err)
		}
	})
}

// BenchmarkOpen is an etcd from nothing to ready, and its end.
func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		s, err := OpenEtcd(b.Context(), EtcdConfig{Dir: b.TempDir()})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, s.Close())
		b.StartTimer()
	}
}

func benchmark(b *testing.B, run func(b *testing.B, ctx context.Context, s Store)) {
	b.Run("memory", func(b *testing.B) {
		s := NewMemory()
		defer s.Close()
		run(b, b.Context(), s)
	})
	b.Run("etcd", func(b *testing.B) {
		s, err := OpenEtcd(b.Context(), EtcdConfig{Dir: b.TempDir()})
		require.NoError(b, err)
		defer s.Close()
		run(b, b.Context(), s)
	})
}
