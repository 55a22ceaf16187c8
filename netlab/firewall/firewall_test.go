package firewall_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/nettest"
)

func node() firewall.Rules {
	return firewall.Node(netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("10.244.0.0/16"), 8472)
}

func TestRender(t *testing.T) {
	require.Equal(t, `*raw
:KLAB-NOTRACK - [0:0]
-A KLAB-NOTRACK -p udp -m udp --dport 8472 -j NOTRACK
-A PREROUTING -j KLAB-NOTRACK
-A OUTPUT -j KLAB-NOTRACK
COMMIT
*nat
:FLANNEL-POSTRTG - [0:0]
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment "pod to pod keeps its address" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 224.0.0.0/4 -m comment --comment "multicast too" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -m comment --comment "pod to elsewhere leaves as the node" -j MASQUERADE --random-fully
-A POSTROUTING -m comment --comment "klab node" -j FLANNEL-POSTRTG
COMMIT
`, node().Render())
}

func TestPlanCarriesOnlyWhatChanged(t *testing.T) {
	want := firewall.Rules{{Name: "filter",
		Chains: []firewall.Chain{{Name: "A", Rules: []string{"-j ACCEPT"}}, {Name: "B", Rules: []string{"-j DROP"}}},
		Jumps:  []firewall.Jump{{Chain: "INPUT", Rule: "-j A", First: true}},
	}}
	require.Equal(t, "*filter\n:B - [0:0]\n-A B -j DROP\n-I INPUT -j A\nCOMMIT\n",
		want.Plan("*filter\n:INPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n-A A -j ACCEPT\n-A B -j RETURN\nCOMMIT\n"))
	require.Empty(t, want.Plan("*filter\n:INPUT ACCEPT [7:9]\n:A - [0:0]\n:B - [0:0]\n-A INPUT -j LOG\n-A INPUT -j A\n-A A -j ACCEPT\n-A B -j DROP\nCOMMIT\n"))
}

// Policies decide before anybody accepts, whoever came first.
func TestPoliciesLead(t *testing.T) {
	policies := firewall.Rules{{Name: "filter", Jumps: []firewall.Jump{{Chain: "FORWARD", Rule: "-j " + firewall.Leading, First: true}}}}
	services := firewall.Rules{{Name: "filter", Jumps: []firewall.Jump{{Chain: "FORWARD", Rule: "-j KUBE-FORWARD", First: true}}}}
	const head, lead = "*filter\n:FORWARD ACCEPT [0:0]\n", "-A FORWARD -j " + firewall.Leading + "\n"
	require.Equal(t, "*filter\n-I FORWARD 2 -j KUBE-FORWARD\nCOMMIT\n", services.Plan(head+lead+"-A FORWARD -j ACCEPT\nCOMMIT\n"))
	require.Equal(t, "*filter\n-I FORWARD -j "+firewall.Leading+"\nCOMMIT\n", policies.Plan(head+"-A FORWARD -j KUBE-FORWARD\nCOMMIT\n"))
	require.Empty(t, policies.Plan(head+lead+"-A FORWARD -j KUBE-FORWARD\nCOMMIT\n"))
	require.Equal(t, "*filter\n-D FORWARD -j "+firewall.Leading+"\n-I FORWARD -j "+firewall.Leading+"\nCOMMIT\n",
		policies.Plan(head+"-A FORWARD -j ACCEPT\n"+lead+"COMMIT\n"), "somebody came before it")
}

// On both backends: what was applied is found again, strangers stay, and
// nothing is left after the removal.
func TestApplyInTheKernel(t *testing.T) {
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			tool, err := firewall.Named(ctx, name)
			if err != nil {
				t.Skip(err)
			}
			tool.Lock = filepath.Join(t.TempDir(), "lock")
			ns := nettest.Namespace(t, "ns")
			n := nettest.Open(t, ns)
			if err := tool.Feed(ctx, n, "*nat\n-A POSTROUTING -d 9.9.9.9/32 -j ACCEPT\nCOMMIT\n"); err != nil {
				t.Skip("this kernel has no ", name, ": ", err)
			}

			ctx, trail := nettest.WithTrail(ctx)
			require.NoError(t, tool.Apply(ctx, n, node()))
			require.Len(t, trail.Lines(t), 1)
			saved, err := tool.Saved(ctx, n)
			require.NoError(t, err)
			require.Empty(t, node().Plan(saved), "we write rules as iptables-save does:\n"+saved)
			require.Contains(t, saved, "-d 9.9.9.9/32")
			require.NoError(t, tool.Apply(ctx, n, node()))
			require.Empty(t, trail.Lines(t))

			require.NoError(t, tool.Feed(ctx, n, node().Remove(saved)))
			after, err := tool.Saved(ctx, n)
			require.NoError(t, err)
			require.NotContains(t, after, "KLAB")
			require.NotContains(t, after, "FLANNEL")
			require.Contains(t, after, "-d 9.9.9.9/32")

			err = tool.Feed(ctx, n, "*nat\n-A NOWHERE -j ACCEPT\nCOMMIT\n")
			require.ErrorContains(t, err, "the rules were:\n*nat")
		})
	}
}
