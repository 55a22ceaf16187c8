package overlay_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
)

// A node that loses its link gets back what the kernel dropped with it, without
// being told; the others do not notice.
func TestLinkLost(t *testing.T) {
	c := build(t, context.Background(), 3)
	var pods []spot
	for _, kind := range overlay.Types {
		c.use(t, kind)
		if pods == nil {
			pods = spots(t, c.nodes...)
		}
		one := c.nodes[0]
		nettest.Run(t, one.path, "ip link set eth0 down")
		flow(t, pods[1:], kind+": the others, while a node's link is down")
		require.Error(t, echo(pods[0], pods[1], 100, false), kind)
		require.Error(t, echo(pods[0], pods[1], 100, true), kind)
		require.NotContains(t, nettest.Run(t, one.path, "ip route"), "default")
		nettest.Run(t, one.path, "ip link set eth0 up")
		require.Eventually(t, func() bool { return len(differ(one.Name, c.wants(one), one.has(t))) == 0 }, time.Minute, 10*time.Millisecond)
		for _, six := range []bool{false, true} {
			require.Eventually(t, func() bool { return echo(pods[0], pods[1], 100, six) == nil }, time.Minute, 10*time.Millisecond)
		}
		flow(t, pods, kind+": the link is back")
		require.Equal(t, one.IP, nettest.Talk(t, pods[0].path, c.OutsideNS(), c.ClientIP()))
		require.Equal(t, one.Six.IP, nettest.Talk(t, pods[0].path, c.OutsideNS(), netip.MustParseAddr("2001:db8:192::a")))
	}
}

// A backend that begins right after the link was off listens at the address that
// the kernel took away with it.
func TestBackendAfterLinkLost(t *testing.T) {
	c := build(t, context.Background(), 2)
	one := c.nodes[0]
	own := nettest.Open(t, one.path)
	for range 5 {
		c.use(t, overlay.HostGW)
		require.NoError(t, own.Down(context.Background(), "eth0"))
		require.NoError(t, own.Up(context.Background(), "eth0"))
		require.Empty(t, one.use(t, overlay.BGP, c.leases()).Err)
	}
}

// A node that claims what is another's gets nothing; the other one loses nothing.
func TestOverlap(t *testing.T) {
	c := build(t, context.Background(), 2)
	var pods []spot
	for _, kind := range overlay.Types {
		c.use(t, kind)
		if pods == nil {
			pods = spots(t, c.nodes...)
		}
		thief := overlay.Lease{Node: "thief", Subnet: netip.MustParsePrefix("10.244.2.0/24"), PublicIP: netip.MustParseAddr("172.30.0.99"),
			BackendType: kind, BackendData: "null", Since: time.Now(),
			Subnet6: netip.MustParsePrefix("fd00:10:244:2::/64"), PublicIP6: netip.MustParseAddr("fd00:172:30::99"), BackendData6: "null"}
		c.nodes[0].agent.do(t, order{Leases: c.leases()}) // tells the steps since its kernel was last asked about
		r := c.nodes[0].agent.do(t, order{Leases: append(c.leases(), thief)})
		require.Empty(t, r.Err)
		require.Empty(t, r.Steps)
		require.Equal(t, "thief", r.Conflicts[0].Node)
		require.Equal(t, "node-2", r.Conflicts[0].With)
		require.Equal(t, "node-2", r.Conflicts[1].With)
		require.Contains(t, r.Conflicts[1].Says, "overlaps with fd00:10:244:2::/64 of node node-2")
		flow(t, pods, kind)
	}
}

// The forwarder counts what it carries, and says so when nobody has a subnet.
func TestForwarder(t *testing.T) {
	c := build(t, context.Background(), 2)
	c.use(t, overlay.UDP)
	pods := spots(t, c.nodes...)
	one := c.nodes[0]
	counts := func(n *node) *overlay.Counts { return n.agent.do(t, order{Leases: c.leases()}).Counts }
	require.NoError(t, echoFor(pods[0], pods[1], 1, false, time.Minute)) // addresses are resolved
	before := counts(one).Peers[0]
	for range 5 {
		require.NoError(t, echoFor(pods[0], pods[1], 1000-28, false, time.Minute))
	}
	var after, there overlay.PeerCounts
	require.Eventually(t, func() bool { // a packet counts when it has been carried, which may be after its answer
		after, there = counts(one).Peers[0], counts(c.nodes[1]).Peers[0]
		return after.OutPackets-before.OutPackets >= 5 && after.InPackets-before.InPackets >= 5 && after.OutBytes-before.OutBytes >= 5000 &&
			after.OutPackets == there.InPackets && after.OutBytes == there.InBytes
	}, time.Minute, 5*time.Millisecond, "%+v", &there)
	require.Equal(t, "node-2", after.Node)

	_, err := netns.Dialer(pods[0].path)(context.Background(), "tcp4", "10.244.99.9:80")
	require.ErrorIs(t, err, unix.ENETUNREACH, "an ICMP message said so")
	require.NotZero(t, counts(one).NoRoute, "a busy machine sends again what it has no answer to")

	require.Zero(t, counts(c.nodes[1]).TTL)
	conn, err := netns.ListenPacket(context.Background(), pods[0].path, "udp4", netip.AddrPortFrom(pods[0].ip, 0).String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, ipv4.NewPacketConn(conn).SetTTL(3)) // the node takes one, each forwarder one
	_, err = conn.WriteTo([]byte{1}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(pods[1].ip, 9)))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return counts(c.nodes[1]).TTL == 1 }, time.Minute, 5*time.Millisecond)
}

// A name that is somebody else's gives way.
func TestTunnelTakesItsName(t *testing.T) {
	ctx := context.Background()
	n := nettest.Open(t, nettest.Namespace(t, "node"))
	require.NoError(t, n.Addr(ctx, "lo", netip.MustParsePrefix("172.30.0.11/32")))
	require.NoError(t, n.Bridge(ctx, "flannel0", nil, 0))
	tun := &overlay.Tunnel{IP: netip.MustParseAddr("172.30.0.11"), Subnet: netip.MustParsePrefix("10.244.1.0/24"), Network: podNet}
	require.NoError(t, tun.Up(ctx, n))
	require.NoError(t, tun.Up(ctx, n))
	l, _, err := n.Link("flannel0")
	require.NoError(t, err)
	require.Equal(t, "tuntap", l.Kind)
	routes, err := n.Routes("flannel0")
	require.NoError(t, err)
	require.Equal(t, []link.Route{{Dst: podNet, Dev: "flannel0"}}, routes)
	require.NoError(t, tun.Down(ctx, n))
	require.NoError(t, tun.Down(ctx, n))
	_, there, err := n.Link("flannel0")
	require.NoError(t, err)
	require.False(t, there)
}
