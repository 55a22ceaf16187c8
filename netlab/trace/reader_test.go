package trace

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Somebody who watches and does not read costs no more memory than that.
func TestEarForgetsTheOldest(t *testing.T) {
	e := &ear{}
	for i := range 3 * mostHeard {
		e.seen = appendBounded(e, e.seen, Seen{Index: i})
		require.LessOrEqual(t, len(e.seen), mostHeard)
	}
	require.True(t, e.lost)
	require.Equal(t, 3*mostHeard-1, e.seen[len(e.seen)-1].Index)
	require.Greater(t, len(e.seen), mostHeard/2)
}
