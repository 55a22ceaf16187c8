package topology_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/topology"
)

func TestPacketsOfBothFamilies(t *testing.T) {
	ctx := context.Background()
	lab, nodes := buildAs(t, ctx, topology.Config{DualStack: true}, t.TempDir(), 2)
	one, err := lab.Addrs(1)
	require.NoError(t, err)
	two, err := lab.Addrs(2)
	require.NoError(t, err)
	require.Equal(t, "fd00:172:30::c fd00:10:244:2::/64", fmt.Sprint(two.IP6, " ", two.Pods6))
	ip := netip.MustParseAddr
	control, outside := ip("fd00:172:30::2"), ip("2001:db8:192::a")

	pods := []netip.Addr{one.Pods6.Addr().Next().Next(), two.Pods6.Addr().Next().Next()}
	for i, pod := range pods {
		nettest.Run(t, nodes[i], "ip addr add "+pod.String()+"/128 dev lo nodad") // as if it had one
	}
	for _, c := range []struct {
		name, from, to string
		dst, seen      netip.Addr
	}{
		{"node to node", nodes[0], nodes[1], two.IP6, one.IP6},
		{"node to control", nodes[0], lab.ControlNS(), control, one.IP6},
		{"control to a node's pod", lab.ControlNS(), nodes[1], pods[1], control},
		{"node to outside", nodes[1], lab.OutsideNS(), outside, two.IP6},
		{"outside to node", lab.OutsideNS(), nodes[0], one.IP6, outside},
		{"IPv4 too", nodes[0], lab.OutsideNS(), lab.ClientIP(), one.IP},
	} {
		require.Equal(t, c.seen, nettest.Talk(t, c.from, c.to, c.dst), c.name)
	}
	nettest.Run(t, nodes[0], "ip -6 route replace default via fd00:172:30::1 dev eth0 src "+pods[0].String())
	require.Equal(t, one.IP6, nettest.Talk(t, nodes[0], lab.OutsideNS(), outside), "a pod leaves as its node")

	require.NoError(t, lab.RemoveNode(ctx, 2))
	require.NotContains(t, nettest.Run(t, lab.ControlNS(), "ip -6 route"), two.Pods6.String())
}

// Without being asked a lab has no IPv6 at all.
func TestNoIPv6(t *testing.T) {
	lab, nodes := build(t, context.Background(), t.TempDir(), 1)
	for _, ns := range append(nodes, lab.GatewayNS(), lab.OutsideNS(), lab.ControlNS()) {
		require.NotContains(t, nettest.Run(t, ns, "ip -6 addr show scope link"), "inet6")
	}
}
