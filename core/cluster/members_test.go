package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Nodes come and go; who asks for the same number again means the cluster as it is.
func TestMembers(t *testing.T) {
	c := Config{Nodes: 2}.asked(0)
	require.Equal(t, []int{1, 2}, c.numbers())
	c, n := c.with()
	require.Equal(t, 3, n)
	c = c.asked(2)
	require.Equal(t, []int{1, 2, 3}, c.numbers(), "one that was added stays")
	c = c.without(2).asked(2)
	require.Equal(t, []int{1, 3}, c.numbers(), "one that was removed stays away")
	again, n := c.with()
	require.Equal(t, 2, n, "its number, and with it its pod CIDR, is used again")
	require.Equal(t, []int{1, 2, 3}, again.numbers())
	require.Equal(t, []int{1, 3}, c.numbers(), "the old value is as it was")
	c = c.without(3)
	require.Equal(t, []int{1}, c.numbers())
	require.Equal(t, 1, c.Nodes)
	require.Equal(t, []int{1, 2, 3, 4}, c.asked(4).numbers(), "another number is meant")
	require.Equal(t, []int{1, 2, 3, 4}, c.asked(4).asked(0).numbers())
	require.Equal(t, []int{1, 2}, Config{Nodes: 3}.asked(2).numbers(), "of a cluster that is older than that")
}
