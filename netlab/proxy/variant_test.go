package proxy_test

import (
	"context"
	"path/filepath"
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
}

// variants are all ways in which packets can be led. The mode ipvs is among
// them also where the kernel has none: see run.
func variants(t testing.TB) []variant {
	list := tools(t)
	return []variant{
		{"iptables-nft", proxy.IPTables, list[0]}, {"iptables-legacy", proxy.IPTables, list[1]},
		{"nftables", proxy.NFTables, list[0]}, {"ipvs", proxy.IPVS, list[0]},
	}
}

func (v variant) backends(n *link.Net) map[proxy.Mode]proxy.Backend {
	return map[proxy.Mode]proxy.Backend{
		proxy.IPTables: &proxy.IPTablesBackend{Tool: v.tool, Net: n},
		proxy.NFTables: &proxy.NFTBackend{Net: n},
		proxy.IPVS:     &proxy.IPVSBackend{Tool: v.tool, Net: n, By: link.By{Actor: "test"}},
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
