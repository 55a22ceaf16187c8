package kubelet

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const sampleLog = `2026-01-02T15:04:01Z stdout F one
2026-01-02T15:04:02Z stderr F two
2026-01-02T15:04:03Z stdout P thr
2026-01-02T15:04:03Z stdout F ee
2026-01-02T15:04:04Z stdout F four
`

func TestReadLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	require.NoError(t, os.WriteFile(path, []byte(sampleLog), 0o600))
	for _, c := range []struct{ query, want string }{
		{"", "one\ntwo\nthree\nfour\n"},
		{"tailLines=2", "three\nfour\n"},
		{"tailLines=0", ""},
		{"tailLines=99", "one\ntwo\nthree\nfour\n"},
		{"limitBytes=5", "one\nt"},
		{"limitBytes=0", ""},
		{"sinceTime=2026-01-02T15:04:03Z", "three\nfour\n"},
		{"timestamps=true&tailLines=2", "2026-01-02T15:04:03Z three\n2026-01-02T15:04:04Z four\n"},
		{"stream=Stderr", "two\n"},
	} {
		q, err := url.ParseQuery(c.query)
		require.NoError(t, err)
		o, err := parseLogOptions(q, time.Now())
		require.NoError(t, err)
		var b strings.Builder
		require.NoError(t, readLog(t.Context(), &b, path, o, func() bool { return false }))
		require.Equal(t, c.want, b.String(), c.query)
	}
	require.Equal(t, "three\nfour\n", logTail(path, 2, 100))
	require.Equal(t, "our\n", logTail(path, 2, 4))
}

func TestBadLogOptions(t *testing.T) {
	for _, query := range []string{"tailLines=-1", "tailLines=x", "follow=maybe", "sinceSeconds=0", "sinceTime=yesterday"} {
		q, err := url.ParseQuery(query)
		require.NoError(t, err)
		_, err = parseLogOptions(q, time.Now())
		require.Error(t, err, query)
	}
}

func TestFollowEndsWithTheContainer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	require.NoError(t, os.WriteFile(path, []byte(sampleLog), 0o600))
	var runs atomic.Bool
	runs.Store(true)
	var b strings.Builder
	done := make(chan error)
	go func() {
		done <- readLog(context.Background(), &b, path, logOptions{follow: true, tail: -1, limit: -1}, runs.Load)
	}()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("2026-01-02T15:04:05Z stdout F last\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	runs.Store(false)
	require.NoError(t, <-done)
	require.True(t, strings.HasSuffix(b.String(), "four\nlast\n"))
}
