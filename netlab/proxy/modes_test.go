package proxy_test

import (
	"context"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
)

// strangers are rules of others, in the same tables where there can be such.
const strangers = `iptables -t nat -N KUBE-MINE && iptables -t nat -A KUBE-MINE -j RETURN && iptables -t nat -A PREROUTING -d 9.9.9.9/32 -j ACCEPT &&
nft add table ip theirs && nft add chain ip theirs mine && nft add rule ip theirs mine accept &&
nft add table ip kube-proxy && nft add chain ip kube-proxy mine && nft add rule ip kube-proxy mine accept`

// onlyAddr is the address of a stranger's rule.
var onlyAddr = regexp.MustCompile(`[0-9a-f:.]+/(32|128)`)

// lingered are chains that were emptied, and go when they have been so for long enough.
var lingered = regexp.MustCompile(`(?m)^delete chain .*\n`)

// From each situation to each other one, in each mode and each family: the
// kernel has then what was asked for, the way it is remembered is the way it
// is, and strangers' rules have stayed.
func TestRulesInTheKernel(t *testing.T) {
	for _, v := range variants(t) {
		v.run(t, func(t *testing.T) { v.inTheKernel(t, node, cases(), strangers) })
		v.six(t).run(t, func(t *testing.T) {
			in := strings.NewReplacer("iptables", "ip6tables", "9.9.9.9/32", "2001:db8:9::9/128", "table ip ", "table ip6 ", "chain ip ", "chain ip6 ", "rule ip ", "rule ip6 ")
			all := cases()
			for name, s := range all {
				all[name] = inSix(s)
			}
			v.six(t).inTheKernel(t, node6, all, in.Replace(strangers))
		})
	}
}

func (v variant) inTheKernel(t *testing.T, on proxy.Node, all map[string]proxy.State, strangers string) {
	ctx := context.Background()
	path := nettest.Namespace(t, "node")
	n := nettest.Open(t, path)
	nettest.Run(t, path, regexp.MustCompile("ip6?tables").ReplaceAllString(strangers, v.program()))
	nettest.Run(t, path, "ip addr add "+netip.PrefixFrom(on.IP, on.IP.BitLen()).String()+" dev lo")
	b := v.backends(n)[v.mode]
	require.NoError(t, b.Prepare(ctx))
	var have proxy.Ruleset
	names := slices.Sorted(maps.Keys(all))
	for _, name := range append(names, names[0]) {
		want := b.Rules(on, all[name])
		if have == nil {
			text, err := b.Plan(ctx, want)
			require.NoError(t, err)
			require.NoError(t, b.Restore(ctx, proxy.Change{Text: text}), name)
		} else if text := want.Changes(have); text != "" {
			require.NoError(t, b.Restore(ctx, proxy.Change{Text: text}), name)
		}
		text, err := b.Plan(ctx, want)
		require.NoError(t, err)
		require.Empty(t, lingered.ReplaceAllString(text, ""), name)
		require.Empty(t, want.Changes(want))
		saved := nettest.Run(t, path, v.program()+"-save; nft list ruleset")
		for _, mine := range []string{"-A KUBE-MINE -j RETURN", "-A PREROUTING -d " + onlyAddr.FindString(strangers) + " -j ACCEPT", "theirs {", "chain mine"} {
			require.Contains(t, saved, mine, name)
		}
		have = want
	}
	text, err := b.Removal(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, b.Restore(ctx, proxy.Change{Text: text}))
	text, err = b.Removal(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, text, "it has gone")
	saved := nettest.Run(t, path, v.program()+"-save; ip addr")
	require.Equal(t, 2, strings.Count(saved, "KUBE-"), "only the stranger's chain and its rule:\n"+saved)
	require.NotContains(t, saved, "kube-ipvs0")
}

// From each mode to each other one while connections are open: new ones are led
// by the new mode alone, and those that the kernel translates go on.
func TestModesCanBeChanged(t *testing.T) {
	all := variants(t)
	l := build(t, all[0])
	ctx, s := context.Background(), state(web(), l.behind("c"))
	l.sync(t, s)
	held := hold(t, l.ns["client"], "10.96.0.10:80")
	order := []proxy.Mode{proxy.NFTables, proxy.IPVS, proxy.NFTables, proxy.IPTables, proxy.IPVS, proxy.IPTables, proxy.NFTables}
	for _, mode := range order {
		before := l.proxies[0].Mode()
		var err error
		for _, p := range l.proxies {
			err = p.SetMode(ctx, mode)
		}
		if err != nil {
			require.ErrorIs(t, err, proxy.ErrNoIPVS)
			require.Equal(t, before, l.proxies[0].Mode(), "it stays")
		}
		l.sync(t, s)
		for _, from := range []string{l.ns["client"], l.nodes[0]} {
			got, err := ask(from, "10.96.0.10:80")
			require.NoError(t, err, mode)
			require.Equal(t, "c", got.name)
		}
		l.only(t, l.proxies[0].Mode())
		held.goesOn(t)
		if l.proxies[0].Mode() == proxy.IPVS { // what the kernel's own load balancer carries ends with it
			held = hold(t, l.ns["b"], l.ip["c"].String()+":8080")
		}
	}
}

// only: a node has what belongs to a mode, and nothing of the others.
func (l *lab) only(t *testing.T, mode proxy.Mode) {
	t.Helper()
	saved := nettest.Run(t, l.nodes[0], "iptables-nft-save; ip -o link; nft list tables; sysctl -n net.ipv4.conf.all.route_localnet")
	has := func(text string) bool { return strings.Contains(saved, text) }
	require.Equal(t, mode == proxy.IPTables, has("KUBE-SVC-"), saved)
	require.Equal(t, mode == proxy.IPTables, strings.HasSuffix(saved, "\n1"), saved)
	require.Equal(t, mode == proxy.NFTables, has("table ip kube-proxy"), saved)
	require.Equal(t, mode == proxy.IPVS, has("kube-ipvs0"), saved)
	require.Equal(t, mode == proxy.IPVS, has("KUBE-IPVS-FILTER"), saved)
	require.Equal(t, mode == proxy.NFTables, !has("KUBE-"), saved)
}
