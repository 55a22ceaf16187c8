package kubelet

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

// writer is a runtime with one container, which writes its log as it is told.
type writer struct {
	runtime.Runtime
	path string
	file *os.File
}

func (w *writer) ListContainers(context.Context) ([]*cri.Container, error) {
	return []*cri.Container{{Id: "c", State: cri.ContainerState_CONTAINER_RUNNING}}, nil
}

func (w *writer) ContainerStatus(context.Context, string) (*cri.ContainerStatus, error) {
	return &cri.ContainerStatus{Id: "c", LogPath: w.path}, nil
}

func (w *writer) ReopenContainerLog(context.Context, string) (err error) {
	old := w.file
	w.file, err = os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if old != nil {
		old.Close()
	}
	return err
}

func (w *writer) line(t *testing.T, i int) {
	_, err := fmt.Fprintf(w.file, "2026-01-02T15:04:05Z stdout F line %d\n", i)
	require.NoError(t, err)
}

// A log that is too long is put aside and written on in a new file: who
// follows it misses nothing, and of what was put aside only so much stays.
func TestLogRotation(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "logs", "default_p_uid", "main")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	w := &writer{path: filepath.Join(dir, "0.log")}
	require.NoError(t, w.ReopenContainerLog(t.Context(), "c"))
	k := &Kubelet{Config: Config{Root: root, Runtime: w}}

	w.line(t, 0)
	var runs atomic.Bool
	runs.Store(true)
	var seen lineCount
	followed := make(chan error, 1)
	go func() {
		followed <- readLog(t.Context(), &seen, w.path, logOptions{follow: true, tail: -1, limit: -1}, runs.Load)
	}()

	// It has opened the first file, which is going to be another one's name.
	require.Eventually(t, func() bool { return seen.Load() == 1 }, time.Minute, time.Millisecond)

	require.NoError(t, k.rotateLarge(t.Context(), 1<<20, 3))
	require.Len(t, files(t, dir), 1, "it is not too long yet")
	for i := 1; i <= 5; i++ {
		w.line(t, i)
		require.NoError(t, k.rotateLarge(t.Context(), 10, 3))
		for _, name := range files(t, dir) { // as if it were long ago
			if strings.Contains(name, ".log.2") && !strings.Contains(name, ".log.2000") {
				require.NoError(t, os.Rename(filepath.Join(dir, name), fmt.Sprintf("%s/0.log.20000101-00000%d", dir, i)))
			}
		}
		w.line(t, 10+i)
		require.Eventually(t, func() bool { return seen.Load() == int64(1+2*i) }, time.Minute, time.Millisecond, "a follower goes on in the new file")
	}
	runs.Store(false)
	require.NoError(t, <-followed)
	require.EqualValues(t, 11, seen.Load())

	left := files(t, dir)
	require.Len(t, left, 3, "the present one and two that were put aside")
	require.True(t, strings.HasSuffix(left[1], ".gz"), left)
	require.False(t, strings.HasSuffix(left[2], ".gz"), left)
	f, err := os.Open(filepath.Join(dir, left[1]))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Contains(t, string(text), "line 4\n")

	removeLog(w.path)
	require.Empty(t, files(t, dir))
}

// lineCount counts the lines that are written to it.
type lineCount struct{ atomic.Int64 }

func (c *lineCount) Write(p []byte) (int, error) {
	c.Add(int64(strings.Count(string(p), "\n")))
	return len(p), nil
}

func files(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
