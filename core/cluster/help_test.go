package cluster_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// listen takes a port of loopback for the time of the test.
func listen(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}
