package trace

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A rule is said to match, or not to, only if all that it asks is understood.
func TestRulesOfLegacyAreReadOrSaidNotToBe(t *testing.T) {
	k := &legacyPacket{Packet: Packet{Proto: unix.IPPROTO_TCP, DPort: 80, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2")}, state: "NEW"}
	for text, want := range map[string]maybe{
		`-d 10.0.0.2/32 -p tcp -m comment --comment "a b" -m tcp --dport 80 -j ACCEPT`: yes,
		`-d 10.0.0.3/32 -p tcp -m tcp --dport 80 -j ACCEPT`:                            no,
		`! -d 10.0.0.3/32 -j ACCEPT`:                                                   yes,
		`-m conntrack --ctstate NEW -j ACCEPT`:                                         yes,
		`-p tcp -m socket -j ACCEPT`:                                                   unknown,
		`-p udp -m socket -j ACCEPT`:                                                   no,
		`-m time --timestart 10:00 -j ACCEPT`:                                          unknown,
	} {
		got, _ := k.read(text)
		require.Equal(t, want, got, text)
	}
}
