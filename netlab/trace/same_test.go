package trace

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Packets of a tunnel over IPv6 have no number of their own, and those of both
// directions go to the same port.
func TestWhichPacketOfATunnel(t *testing.T) {
	one, two := netip.MustParseAddr("fd00:172:30::b"), netip.MustParseAddr("fd00:172:30::c")
	outer := func(from, to netip.Addr, port uint16, length int) *Packet {
		return &Packet{Proto: unix.IPPROTO_UDP, Src: from, Dst: to, SPort: port, DPort: 8472, Len: length}
	}
	wrapped := outer(one, two, 50000, 150)
	wrapped.Kind = "vxlan"
	syn := &Packet{Proto: unix.IPPROTO_TCP, Outer: wrapped}
	require.True(t, same(outer(one, two, 50000, 150), syn))
	for what, other := range map[string]*Packet{
		"its answer": outer(two, one, 50000, 150), "the ACK": outer(one, two, 50000, 142), "another flow": outer(one, two, 50001, 150),
	} {
		require.False(t, same(other, syn), what)
	}
}
