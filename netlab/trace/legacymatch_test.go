package trace

import (
	"net/netip"
	"testing"
	"time"

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

// What the module recent asks follows from its lists, as far as they tell.
func TestRecentIsDecidedByItsLists(t *testing.T) {
	client, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	const moment = int64(1000 * time.Second)
	ago := func(list ...int) (times []int64) {
		for _, seconds := range list {
			times = append(times, moment-int64(seconds)*int64(time.Second))
		}
		return times
	}
	lists := map[string]Answer{
		"web": {At: moment - 1, Clients: []Client{{Addr: other, Times: ago(1)}, {Addr: client, Times: ago(90, 50)}}},
		// Read afterwards: the packet itself may be in it.
		"late": {At: moment + 1, Clients: []Client{{Addr: client, Times: ago(90, 0, -5)}}},
		"new":  {At: moment + 1, Clients: []Client{{Addr: client, Times: ago(-5)}}},
		"edge": {At: moment - 1, Clients: []Client{{Addr: client, Times: ago(60)}}},
	}
	k := &legacyPacket{Packet: Packet{Proto: unix.IPPROTO_TCP, Src: client, Dst: other}, recent: func(list string, a netip.Addr, within time.Duration) (int, bool) {
		x, ok := lists[list]
		if !ok {
			return 0, false
		}
		return x.seenBefore(a, moment, int64(within))
	}}
	for text, want := range map[string]maybe{
		"--rcheck --seconds 60 --reap --name web --mask 255.255.255.255 --rsource -j X": yes,
		"--rcheck --seconds 40 --name web --rsource -j X":                               no,
		"! --rcheck --seconds 40 --name web --rsource -j X":                             yes,
		"--update --name web --rsource -j X":                                            yes,
		"--rcheck --hitcount 2 --name web --rsource -j X":                               yes,
		"--rcheck --seconds 60 --hitcount 2 --name web --rsource -j X":                  no,
		"--rcheck --seconds 60 --name web --rdest -j X":                                 yes,
		"--rcheck --seconds 60 --name edge --rsource -j X":                              chance,
		"--rcheck --seconds 60 --name late --rsource -j X":                              chance,
		"--rcheck --seconds 100 --name late --rsource -j X":                             yes,
		"--rcheck --name new --rsource -j X":                                            no,
		"--rcheck --name unheard --rsource -j X":                                        chance,
		"--rcheck --name web --mask 255.255.0.0 --rsource -j X":                         chance,
		"--rcheck --name web --rsource -m recent --rcheck --name new -j X":              chance,
		"--remove --name web --rsource -j X":                                            chance,
		"--set --name web --rsource -j X":                                               yes,
	} {
		got, _ := k.read("-m recent " + text)
		require.Equal(t, want, got, text)
	}
	c, ok := recentLine("src=10.0.0.1 ttl: 64 last_seen: 4307 oldest_pkt: 2 4300, 4307", func(n uint64) int64 { return int64(n) })
	require.True(t, ok)
	require.Equal(t, Client{Addr: client, Times: []int64{4300, 4307}}, c)
	c, ok = recentLine("src=fd00:0010:0244:0001:0000:0000:0000:0003 ttl: 63 last_seen: 1 oldest_pkt: 1 1", func(n uint64) int64 { return int64(n) })
	require.True(t, ok)
	require.Equal(t, "fd00:10:244:1::3", c.Addr.String())
}
