package trace_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/trace"
)

// Taps look at every packet only as long as somebody follows one: after it they
// rest, and the next one wakes them again.
func TestTapsRest(t *testing.T) {
	l := build(t)
	require.NoError(t, l.tracer.Arm())
	for range 2 {
		require.Zero(t, taps(t, l.nodes[0].Path()), "armed, but nobody asks")
		w, _, err := l.tracer.Follow(context.Background(), trace.Ask{From: "pod/default/client", To: l.addr("b:8080"), Proto: "tcp"})
		require.NoError(t, err)
		require.Equal(t, "answered", w.Outcome)
		require.Eventually(t, func() bool { return taps(t, l.nodes[0].Path()) == 0 }, time.Minute, 10*time.Millisecond)
	}
}

// taps is how many sockets see all packets of a namespace.
func taps(t *testing.T, ns string) (n int) {
	require.NoError(t, netns.Do(ns, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/ptype")
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "ALL ") {
				n++
			}
		}
		return err
	}))
	return n
}
