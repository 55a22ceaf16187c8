package cluster

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSessionsAreConnectionsOfPort179(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B001EAC:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0B001EAC:00B3 0C001EAC:91B5 01 00000000:00000000 02:00000000 00000000     0        0 2
   2: 0B001EAC:C35A 0D001EAC:00B3 01 00000000:00000000 02:00000000 00000000     0        0 3
   3: 0B001EAC:DC7C 02001EAC:192B 01 00000000:00000000 02:00000000 00000000     0        0 4
   4: 0B001EAC:C35B 0E001EAC:00B3 02 00000000:00000000 02:00000000 00000000     0        0 5
`
	require.Equal(t, []netip.Addr{netip.MustParseAddr("172.30.0.12"), netip.MustParseAddr("172.30.0.13")}, bgpSessions(table))

	const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 720100FD000030000000000011000000:00B3 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 720100FD000030000000000011000000:00B3 720100FD000030000000000012000000:91B5 01 00000000:00000000 02:00000000 00000000     0        0 2
   2: 0000000000000000FFFF00000B001EAC:00B3 0000000000000000FFFF00000C001EAC:91B6 01 00000000:00000000 02:00000000 00000000     0        0 3
`
	require.Equal(t, []netip.Addr{netip.MustParseAddr("fd00:172:30::12"), netip.MustParseAddr("172.30.0.12")}, bgpSessions(table6))
}
