package fault_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
)

// mode lets the proxies of all nodes have another mode. It is false for one
// that this kernel cannot have.
func (l *lab) mode(t *testing.T, m proxy.Mode) bool {
	t.Helper()
	for i, p := range l.proxies {
		if err := p.SetMode(context.Background(), m); err != nil {
			require.ErrorIs(t, err, proxy.ErrNoIPVS)
			return false
		}
		require.NoError(t, p.Sync(context.Background(), l.services()))
		l.nodes[i].Proxy = string(m)
	}
	return true
}

// Cards that are about what a proxy makes, in each of its modes.
func TestEveryModeOfTheProxy(t *testing.T) {
	type try struct {
		card, target string
		args         map[string]string
		fails, works []way
	}
	services := []way{nearService, farService}
	both := []try{
		{"flush-chain", "node-1", nil, services, []way{toNear, toFar, toOutside}},
		{"no-hairpin", "a", nil, []way{toItself}, []way{nearService, farService}},
	}
	bridged := try{"bridge-nf", "node-1", nil, []way{nearService}, []way{farService, toNear}}
	tries := map[proxy.Mode][]try{
		proxy.IPTables: {bridged, {"flush-chain", "node-1", map[string]string{"chain": "KUBE-POSTROUTING"}, []way{toItself}, services}},
		proxy.NFTables: {bridged,
			{"flush-chain", "node-1", map[string]string{"chain": "service-ips"}, services, []way{toNear}},
			{"flush-chain", "node-1", map[string]string{"table": "kube-proxy", "chain": "masquerading"}, []way{toItself}, services}},
		proxy.IPVS: {{"flush-chain", "node-1", map[string]string{"table": "ipvs"}, services, []way{toNear}}},
	}
	for _, m := range proxy.Modes() {
		t.Run(string(m), func(t *testing.T) {
			l, ctx := build(t), context.Background()
			if !l.mode(t, m) {
				l.nodes[0].Proxy = string(m)
				_, err := l.book.Break(ctx, fault.Ask{Card: "flush-chain", Target: "node-1"})
				require.ErrorIs(t, err, fault.ErrWrong)
				require.ErrorContains(t, err, "this kernel has no IPVS")
				return
			}
			l.works(t, append(services, toNear, toFar, toItself, toOutside))
			before := l.dump(t)
			for _, x := range append(tries[m], both...) {
				f, err := l.book.Break(ctx, fault.Ask{Card: x.card, Target: x.target, Args: x.args})
				require.NoError(t, err, "%s %v", x.card, x.args)
				l.fails(t, x.fails)
				l.works(t, x.works)
				_, err = l.newBook().Mend(ctx, f.ID)
				require.NoError(t, err, "%s %v", x.card, x.args)
				l.same(t, before, x.card)
				l.works(t, append(x.fails, x.works...))

				_, err = l.book.Break(ctx, fault.Ask{Card: x.card, Target: x.target, Args: x.args})
				require.NoError(t, err)
				if x.card == "flush-chain" { // what the proxy has brought back is left alone
					intact, err := l.proxies[0].Intact(ctx)
					require.NoError(t, err)
					require.False(t, intact)
					require.NoError(t, l.proxies[0].Sync(ctx, l.services()))
					l.same(t, before, "repaired")
				}
				_, err = l.book.MendAll(ctx)
				require.NoError(t, err)
				l.same(t, before, x.card)
			}
		})
	}
}

// What an element or a rule leads to may have gone before the mend.
func TestFlushedVerdictsOfChainsThatHaveGone(t *testing.T) {
	l, ctx := build(t), context.Background()
	require.True(t, l.mode(t, proxy.NFTables))
	for _, x := range []struct{ chain, goes string }{
		{"service-ips", "nft list table ip kube-proxy | sed -n 's/.*chain \\(service.*default.far.*\\) {/\\1/p'"},
		{"services", ""},
	} {
		f, err := l.book.Break(ctx, fault.Ask{Card: "flush-chain", Target: "node-1", Args: map[string]string{"chain": x.chain}})
		require.NoError(t, err)
		if x.goes != "" {
			chain := nettest.Run(t, l.ns["node-1"], x.goes)
			require.NotEmpty(t, chain)
			nettest.Run(t, l.ns["node-1"], "nft flush chain ip kube-proxy "+chain+"; for i in $(seq 100); do nft delete chain ip kube-proxy "+chain+" && exit 0; sleep 0.1; done; exit 1")
		}
		_, err = l.book.Mend(ctx, f.ID)
		require.NoError(t, err)
		l.works(t, []way{nearService})
	}
	l.fails(t, []way{farService})
}

// A card that is told of a place that the node's mode does not have says so.
func TestFlushOfWhatIsNotThere(t *testing.T) {
	l, ctx := build(t), context.Background()
	require.True(t, l.mode(t, proxy.NFTables))
	for _, x := range []struct {
		args map[string]string
		says string
	}{
		{map[string]string{"table": "nat", "chain": "KUBE-SERVICES"}, "node-1 has no chain KUBE-SERVICES in the table nat"},
		{map[string]string{"chain": "nobody"}, "node-1 has no chain, map or set nobody in the table ip kube-proxy of nftables"},
		{map[string]string{"table": "nobody"}, "in the table ip nobody of nftables"},
		{map[string]string{"family": "6"}, "node-1 has no IPv6"},
		{map[string]string{"family": "5"}, "4 or 6 is wanted"},
		{map[string]string{"table": "ipvs", "chain": "x"}, "virtual servers have no chain"},
	} {
		_, err := l.book.Break(ctx, fault.Ask{Card: "flush-chain", Target: "node-1", Args: x.args})
		require.ErrorIs(t, err, fault.ErrWrong)
		require.ErrorContains(t, err, x.says)
	}
}
