package kubelet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoff(t *testing.T) {
	b := backoff{}
	now := time.Duration(0)
	var waits []time.Duration
	for range 8 {
		now += time.Second // it runs for a second and fails
		failed := now
		if until, delay := b.wait("c", failed, now); until != 0 {
			require.Equal(t, failed+delay, until)
			waits = append(waits, delay)
			now = until
		}
		b.next("c", failed)
	}
	const s = time.Second
	require.Equal(t, []time.Duration{10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 300 * s, 300 * s}, waits)

	now += 11 * time.Minute // it ran well for longer than ten minutes
	until, _ := b.wait("c", now, now)
	require.Zero(t, until)
	b.next("c", now)
	_, delay := b.wait("c", now+s, now+s)
	require.Equal(t, 10*s, delay)
}
