package cluster

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// A port that nobody asked for by its number is none that a cluster has.
func TestChosenPort(t *testing.T) {
	port, err := choosePort(0, true)
	require.NoError(t, err)
	require.GreaterOrEqual(t, port, firstPort)
	require.LessOrEqual(t, port, lastPort)
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	require.NoError(t, err)
	defer l.Close()
	_, err = choosePort(port, true)
	require.ErrorContains(t, err, "is the one that this cluster's kubeconfig has")
	_, err = choosePort(port, false)
	require.ErrorContains(t, err, "is in use: choose another one with --port")
}
