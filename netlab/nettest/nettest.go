// Package nettest helps tests of netlab: throw-away namespaces, commands
// inside them, and the trail of what was done. Everything that it makes is
// removed when the test ends, also when it fails. Start with [Namespace].
package nettest

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
)

// NeedRoot skips the test if it may not make namespaces.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: creates namespaces")
	}
}

// Namespace makes a network namespace with its loopback up, and returns its path.
func Namespace(t testing.TB, name string) string {
	t.Helper()
	NeedRoot(t)
	path := filepath.Join(t.TempDir(), name)
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	require.NoError(t, Open(t, path).Up(context.Background(), "lo"))
	return path
}

// Open opens a namespace for changes.
func Open(t testing.TB, path string) *link.Net {
	t.Helper()
	n, err := link.Open(path, link.By{Actor: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

// Run runs a command inside the namespace at path and returns its output, without
// its complaints: ip(8) has some about names in /run/netns that others are about
// to make.
func Run(t testing.TB, path, line string) string {
	t.Helper()
	out, err := Try(path, line)
	require.NoError(t, err, "%s: %s", line, out)
	return out
}

// Try is Run for commands that may fail. A command has two minutes: some
// machines are emulated ones, or do much else.
func Try(path, line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out, complaints bytes.Buffer
	err := netns.Do(path, func() error {
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Stdout, cmd.Stderr = &out, &complaints
		return cmd.Run()
	})
	if err != nil {
		out.Write(complaints.Bytes())
	}
	return strings.TrimSpace(out.String()), err
}

// Trail reads what was done under a context.
type Trail struct {
	journal *step.Journal
	from    uint64
}

// WithTrail returns a context whose steps and facts are recorded.
func WithTrail(ctx context.Context) (context.Context, *Trail) {
	j := step.NewJournal(1, 1<<16)
	return step.With(ctx, step.NewLab(j, step.NewClock(time.Now(), 0))), &Trail{journal: j, from: 1}
}

// Events returns the events since the last call.
func (r *Trail) Events(t testing.TB) []*step.Event {
	t.Helper()
	if r.journal.Last() < r.from {
		return nil
	}
	list, err := r.journal.Next(context.Background(), r.from)
	require.NoError(t, err)
	r.from += uint64(len(list))
	return list
}

// Lines returns the command lines that ran since the last call.
func (r *Trail) Lines(t testing.TB) []string {
	t.Helper()
	var lines []string
	for _, e := range r.Events(t) {
		var d step.RanDetail
		require.NoError(t, e.Decode(&d))
		if e.Verb == step.Ran {
			lines = append(lines, d.Line)
		}
	}
	return lines
}

// AddrOf is the first address of a link in the namespace at path.
func AddrOf(t testing.TB, path, name string) netip.Addr {
	t.Helper()
	l, ok, err := Open(t, path).Link(name)
	require.NoError(t, err)
	require.True(t, ok && len(l.Addrs) > 0, "%s has no address", name)
	return l.Addrs[0].Addr()
}
