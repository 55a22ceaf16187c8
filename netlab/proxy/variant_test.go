package proxy_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
)

// variant is a mode, with one of the machine's iptables programs.
type variant struct {
	name string
	mode proxy.Mode
	tool *firewall.Tool
	ipv6 bool // of that family, and so is tool
}

// variants are all ways in which packets can be led. The mode ipvs is among
// them also where the kernel has none: see run.
func variants(t testing.TB) []variant {
	list := tools(t)
	return []variant{
		{name: "iptables-nft", mode: proxy.IPTables, tool: list[0]}, {name: "iptables-legacy", mode: proxy.IPTables, tool: list[1]},
		{name: "nftables", mode: proxy.NFTables, tool: list[0]}, {name: "ipvs", mode: proxy.IPVS, tool: list[0]},
	}
}

// six is the same variant for IPv6.
func (v variant) six(t testing.TB) variant {
	tool, err := v.tool.IPv6(context.Background())
	require.NoError(t, err)
	return variant{v.name + " of IPv6", v.mode, tool, true}
}

// program is the line that runs v's iptables, or that with an ending.
func (v variant) program() string {
	return "XTABLES_LOCKFILE=" + v.tool.Lock + " " + strings.TrimSuffix(v.tool.Restore, "-restore")
}

func (v variant) backends(n *link.Net) map[proxy.Mode]proxy.Backend {
	return map[proxy.Mode]proxy.Backend{
		proxy.IPTables: &proxy.IPTablesBackend{Tool: v.tool, Net: n, IPv6: v.ipv6},
		proxy.NFTables: &proxy.NFTBackend{Net: n, IPv6: v.ipv6},
		proxy.IPVS:     &proxy.IPVSBackend{Tool: v.tool, Net: n, By: link.By{Actor: "test"}, IPv6: v.ipv6},
	}
}

// run runs f as a subtest. On a kernel that cannot have the mode the test is
// that it says so, and leaves nothing.
func (v variant) run(t *testing.T, f func(t *testing.T)) {
	t.Run(v.name, func(t *testing.T) {
		n := nettest.Open(t, nettest.Namespace(t, "try"))
		b := v.backends(n)[v.mode]
		err := b.Prepare(context.Background())
		if v.mode == proxy.IPVS && err != nil {
			require.ErrorIs(t, err, proxy.ErrNoIPVS)
			_, found, err := n.Link("kube-ipvs0")
			require.NoError(t, err)
			require.False(t, found)
			return
		}
		require.NoError(t, err)
		f(t)
	})
}

// tools are the machine's iptables programs, each with a lock of its own.
func tools(t testing.TB) (list []*firewall.Tool) {
	t.Helper()
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		tool, err := firewall.Named(context.Background(), name)
		require.NoError(t, err)
		tool.Lock = filepath.Join(t.TempDir(), "lock")
		list = append(list, tool)
	}
	return list
}
