package dns_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/dns"
)

// What a resolver made of a name is read from its questions, one after the other.
func TestSearched(t *testing.T) {
	conf := step.ResolvConf{Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}, Ndots: 5}
	for _, c := range []struct {
		name  string
		asks  []string // one after the other, until the last one has an answer
		whole bool
	}{
		{"web", []string{"web.default.svc.cluster.local."}, false},
		{"web.shop", []string{"web.shop.default.svc.cluster.local.", "web.shop.svc.cluster.local."}, false},
		{"web.default", []string{"web.default.default.svc.cluster.local.", "web.default.svc.cluster.local."}, false},
		{"web.shop.svc", []string{"web.shop.svc.default.svc.cluster.local.", "web.shop.svc.svc.cluster.local.", "web.shop.svc.cluster.local."}, false},
		{"example.com", []string{"example.com.default.svc.cluster.local.", "example.com.svc.cluster.local.", "example.com.cluster.local.", "example.com."}, false},
		{"web.shop.svc.cluster.local", []string{"web.shop.svc.cluster.local.default.svc.cluster.local.", "web.shop.svc.cluster.local.svc.cluster.local.",
			"web.shop.svc.cluster.local.cluster.local.", "web.shop.svc.cluster.local."}, false},
		{"example.com.", []string{"example.com."}, true},
	} {
		var before, whys []string
		for _, ask := range c.asks {
			asked, why := dns.Searched(conf, ask, before)
			if !c.whole {
				require.Equal(t, c.name, asked, ask)
			}
			before, whys = append(before, ask), append(whys, why)
		}
		switch {
		case c.whole:
			require.Equal(t, []string{"as it is: it ends in none of the search domains"}, whys)
		case len(whys) > 3:
			require.Contains(t, whys[3], "as it is, and last: its dots (")
			fallthrough
		default:
			require.Equal(t, "it ends in search domain 1 of 3: default.svc.cluster.local", whys[0])
		}
	}
	_, why := dns.Searched(conf, "web.default.svc.cluster.local.", nil)
	require.Equal(t, "it ends in search domain 1 of 3: default.svc.cluster.local", why)
	asked, why := dns.Searched(conf, "web.default.svc.cluster.local.", []string{"web.default.default.svc.cluster.local."})
	require.Equal(t, []string{"web.default", "it ends in search domain 2 of 3: svc.cluster.local"}, []string{asked, why})
}

// Of many questions at once so many are told of as are bearable, and how many were
// not is told with the next one.
func TestABudget(t *testing.T) {
	var b dns.Budget
	now := time.Unix(1_800_000_000, 0)
	told := 0
	for range 1000 {
		if missed, ok := b.Spend(now); ok {
			require.Zero(t, missed)
			told++
		}
	}
	require.Equal(t, 60, told)
	missed, ok := b.Spend(now.Add(time.Second))
	require.Equal(t, []any{940, true}, []any{missed, ok})
	for range 3600 {
		now = now.Add(time.Second)
		missed, ok = b.Spend(now)
		require.True(t, ok)
	}
	require.Zero(t, missed)
}

// What an address asked for is remembered for as long as its resolver may go on
// with it, and that of a great many is bounded.
func TestRecentNames(t *testing.T) {
	var r dns.Recent
	now := time.Unix(1_800_000_000, 0)
	a, b := netip.MustParseAddr("10.244.1.3"), netip.MustParseAddr("10.244.1.4")
	require.Empty(t, r.Add(a, "web.default.default.svc.cluster.local.", "A", now))
	require.Empty(t, r.Add(b, "web.default.svc.cluster.local.", "A", now))
	require.Empty(t, r.Add(a, "web.default.svc.cluster.local.", "AAAA", now))
	require.Equal(t, []string{"web.default.default.svc.cluster.local."}, r.Add(a, "web.default.svc.cluster.local.", "A", now.Add(time.Second)))
	require.Empty(t, r.Add(a, "db.default.svc.cluster.local.", "A", now.Add(time.Minute)))
	for i := range 1000 {
		require.LessOrEqual(t, len(r.Add(a, fmt.Sprintf("n%d.", i), "TXT", now.Add(time.Minute))), 16)
		r.Add(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "x.", "A", now)
	}
}
