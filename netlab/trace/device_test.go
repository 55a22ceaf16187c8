package trace

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/klab-project/klab/core/step"
)

const netdevListed = `table netdev t { # handle 1
	chain i { # handle 1
		type filter hook ingress device "d0" priority filter; policy accept;
		ip saddr 10.0.0.1 counter packets 4 bytes 240 accept comment "no { way drop" # handle 3
		numgen random mod 100 < 50 drop # handle 4
	}

	chain e { # handle 2
		type filter hook egress devices = { d0, lo } priority filter; policy drop;
	}
}
`

func TestLosesByRule(t *testing.T) {
	for _, x := range []struct {
		at   passage
		says string
	}{
		{passage{"s", "d0", "ingress"}, "rule 2 of chain i of table netdev t drops packets such as this, or some of all, at d0 of s (ingress)"},
		{passage{"s", "lo", "egress"}, "the policy of chain e of table netdev t drops what no rule accepts at lo of s (egress)"},
		{passage{"s", "lo", "ingress"}, ""},
		{passage{"s", "d", "egress"}, ""},
	} {
		d := losesByRule(x.at, netdevListed)
		if x.says == "" {
			require.Nil(t, d)
			continue
		}
		require.Equal(t, x.says, d.Says)
		require.Contains(t, d.Evidence[0], "nft list table netdev t on s: ")
	}
	require.Nil(t, losesByRule(passage{"s", "d0", "ingress"}, ""))
}

// A queue that loses is named where the packet had to pass it on its way out,
// and only if nothing else explains the loss.
func TestLosingQueue(t *testing.T) {
	loss := &netlink.Netem{Loss: math.MaxUint32 / 10}
	require.Equal(t, "netem loss 10%", lossy([]netlink.Qdisc{&netlink.Fq{}, loss}))
	require.Empty(t, lossy([]netlink.Qdisc{&netlink.Netem{Latency: 100}}))

	c := &Capture{Ask: Ask{From: "pod"}}
	c.Answers = []Answer{
		{Question: Question{Kind: askRoute, Space: "pod"}, Route: &step.HopRoute{Type: "unicast", Dev: "eth0"}},
		{Question: Question{Kind: askQueue, Space: "pod", Dev: "eth0"}, Found: "netem loss 10%"},
	}
	a := &assembly{Capture: c, asker: newAsker(c.Answers)}
	d := a.byDevice(nil, nil)
	require.Equal(t, ReasonLinkLoss, d.Reason)
	require.Equal(t, "the queue of eth0 of pod loses packets on purpose: netem loss 10%", d.Says)
	found := &step.HopDrop{Reason: ReasonARP}
	require.Equal(t, found, a.byDevice(nil, found))
}
