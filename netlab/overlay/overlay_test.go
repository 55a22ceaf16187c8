package overlay_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/topology"
)

// The rules of Kubernetes' network model, with packets, for every backend.
func TestNetworkModel(t *testing.T) {
	ctx := context.Background()
	c := build(t, ctx, 3)
	var a, b, far string
	var aIP, bIP, farIP, a6, b6, far6 netip.Addr
	one, three := c.nodes[0], c.nodes[2]
	own := map[string]string{overlay.VXLAN: "10.244.1.0", overlay.UDP: "10.244.1.0", overlay.HostGW: "172.30.0.11", overlay.BGP: "172.30.0.11"}
	own6 := map[string]string{overlay.VXLAN: "fd00:10:244:1::", overlay.UDP: "fd00:172:30::b", overlay.HostGW: "fd00:172:30::b", overlay.BGP: "fd00:172:30::b"}
	for _, kind := range overlay.Types {
		c.use(t, kind)
		if a == "" {
			pods := []spot{one.spot(t, "a"), one.spot(t, "b"), three.spot(t, "far")}
			a, aIP, a6 = pods[0].path, pods[0].ip, pods[0].ip6
			b, bIP, b6 = pods[1].path, pods[1].ip, pods[1].ip6
			far, farIP, far6 = pods[2].path, pods[2].ip, pods[2].ip6
		}
		for _, x := range []struct {
			name, from, to string
			dst, seen      netip.Addr
		}{
			{"same node", a, b, bIP, aIP},
			{"other node: no NAT", a, far, farIP, aIP},
			{"and back", far, a, aIP, farIP},
			{"node to its pod", one.path, a, aIP, netip.MustParseAddr("10.244.1.1")},
			{"node to another's pod", one.path, far, farIP, netip.MustParseAddr(own[kind])},
			{"pod to its node", a, one.path, one.IP, aIP},
			{"pod to another node: as its node", a, three.path, three.IP, one.IP},
			{"pod to the API server: as its node", a, c.ControlNS(), c.ControlIP(), one.IP},
			{"pod to outside: as its node", far, c.OutsideNS(), c.ClientIP(), three.IP},
			{"IPv6, same node", a, b, b6, a6},
			{"IPv6, other node: no NAT", a, far, far6, a6},
			{"IPv6, and back", far, a, a6, far6},
			{"IPv6, node to its pod", one.path, a, a6, netip.MustParseAddr("fd00:10:244:1::1")},
			{"IPv6, node to another's pod", one.path, far, far6, netip.MustParseAddr(own6[kind])},
			{"IPv6, pod to its node", a, one.path, one.Six.IP, a6},
			{"IPv6, pod to another node: as its node", a, three.path, three.Six.IP, one.Six.IP},
			{"IPv6, pod to outside: as its node", far, c.OutsideNS(), netip.MustParseAddr("2001:db8:192::a"), three.Six.IP},
		} {
			require.Equal(t, x.seen, nettest.Talk(t, x.from, x.to, x.dst), kind+": "+x.name)
		}
		_, err := nettest.TryTalk(t, c.OutsideNS(), a, aIP)
		require.Error(t, err, "pods have no way in from outside")
		if _, err := nettest.Try(one.path, "which conntrack && which iptables"); err == nil && kind == overlay.VXLAN {
			require.NotContains(t, nettest.Run(t, one.path, "conntrack -L 2>/dev/null"), "dport=8472")
			require.NotContains(t, nettest.Run(t, one.path, "iptables -t raw -nvxL KLAB-NOTRACK"), "       0        0 CT ")
			require.NotContains(t, nettest.Run(t, one.path, "ip6tables -t raw -nvxL KLAB-NOTRACK"), "       0        0 CT ")
		}
	}

	// bgp is the last: pods are routed now, beside those that the bridge has.
	nearBy, otherBy := one.spot(t, "near"), three.spot(t, "other")
	near, nearIP, near6 := nearBy.path, nearBy.ip, nearBy.ip6
	other, otherIP, other6 := otherBy.path, otherBy.ip, otherBy.ip6
	require.Contains(t, nettest.Run(t, one.path, "ip route"), nearIP.String()+" dev cali")
	require.Contains(t, nettest.Run(t, one.path, "ip -6 route"), near6.String()+" dev cali")
	require.Contains(t, nettest.Run(t, near, "ip -6 route"), "default via fe80::ecee:eeff:feee:eeee dev eth0")
	for _, x := range []struct {
		from, to  string
		dst, seen netip.Addr
	}{
		{near, other, otherIP, nearIP}, {other, near, nearIP, otherIP}, {near, a, aIP, nearIP}, {a, near, nearIP, aIP},
		{far, near, nearIP, farIP}, {a, other, otherIP, aIP}, {near, c.OutsideNS(), c.ClientIP(), one.IP},
		{one.path, near, nearIP, one.IP},
		{near, other, other6, near6}, {other, near, near6, other6}, {near, a, a6, near6}, {a, near, near6, a6},
		{far, near, near6, far6}, {a, other, other6, a6}, {near, c.OutsideNS(), netip.MustParseAddr("2001:db8:192::a"), one.Six.IP},
		{one.path, near, near6, netip.MustParseAddr("fd00:10:244:1::1")}, // of the addresses that are most like it
	} {
		require.Equal(t, x.seen, nettest.Talk(t, x.from, x.to, x.dst))
	}
}

func TestNodesComeAndGo(t *testing.T) {
	ctx := context.Background()
	c := build(t, ctx, 2)
	for _, kind := range overlay.Types {
		c.use(t, kind)
		from, to := c.nodes[0].spot(t, "a-"+kind), c.nodes[1].spot(t, "b-"+kind)
		flow(t, []spot{from, to}, kind)
		one := c.nodes[0]
		one.agent.do(t, order{Leases: c.leases()})
		require.Empty(t, one.agent.do(t, order{Leases: c.leases()}).Steps, "nothing to do")

		gone := one.agent.do(t, order{Leases: c.leases()[:1]})
		require.Empty(t, gone.Err)
		removed := []string{"overlay-remove " + kind + " node-2 10.244.2.0/24 via 172.30.0.12",
			"overlay-remove " + overlay.Carrier6(kind) + " node-2 fd00:10:244:2::/64 via fd00:172:30::c"}
		require.Subset(t, removed, gone.Steps)
		require.Subset(t, gone.Steps, removed)
		for _, line := range one.has(t) {
			require.NotContains(t, line, "10.244.2.")
			require.NotContains(t, line, "fd00:10:244:2:")
		}
		require.Error(t, echo(from, to, 1, false))
		require.Error(t, echo(from, to, 1, true))
		c.settle(t)
		flow(t, []spot{from, to}, kind+": it is back")
	}
	for _, kind := range overlay.Types { // a third one comes, and goes
		c.use(t, kind)
		third := c.add(t, ctx, 3, filepath.Join(t.TempDir(), "node-3"))
		require.Empty(t, third.use(t, kind, c.leases()).Err)
		c.settle(t)
		if kind == overlay.BGP { // of two speakers the one with the lower address connects
			require.Empty(t, nettest.Run(t, c.nodes[0].path, "ss -Htn state established sport = :179"))
			require.Empty(t, nettest.Run(t, third.path, "ss -Htn state established dport = :179"))
		}
		flow(t, []spot{c.nodes[0].spot(t, "c-"+kind), third.spot(t, "d-"+kind)}, kind)
		third.agent.kill()
		c.nodes = c.nodes[:2]
		require.NoError(t, c.RemoveNode(ctx, 3))
		c.settle(t)
	}
}

// Whatever somebody breaks, the next Sync repairs.
func TestRepair(t *testing.T) {
	ctx := context.Background()
	c := build(t, ctx, 2)
	c.use(t, overlay.VXLAN)
	pods := spots(t, c.nodes...)
	for _, x := range []struct{ kind, line string }{
		{overlay.VXLAN, "ip route del 10.244.2.0/24"},
		{overlay.VXLAN, "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:01 dev flannel.1 nud permanent"},
		{overlay.VXLAN, "bridge fdb replace 0a:58:0a:f4:02:00 dev flannel.1 dst 172.30.0.99 self permanent"},
		{overlay.VXLAN, "ip link set flannel.1 down"},
		{overlay.VXLAN, "ip link del flannel.1"},
		{overlay.VXLAN, "ip link del flannel.1; ip link add flannel.1 type vxlan id 9 dstport 4789 dev eth0"},
		{overlay.VXLAN, "ip -6 route del fd00:10:244:2::/64"},
		{overlay.VXLAN, "ip -6 neigh replace fd00:10:244:2:: lladdr 02:00:00:00:00:01 dev flannel-v6.1 nud permanent"},
		{overlay.VXLAN, "bridge fdb del " + mac6(2) + " dev flannel-v6.1 dst fd00:172:30::c self"},
		{overlay.VXLAN, "bridge fdb replace " + mac6(2) + " dev flannel-v6.1 dst fd00:172:30::99 self permanent"},
		{overlay.VXLAN, "ip link set flannel-v6.1 down"},
		{overlay.VXLAN, "ip link del flannel-v6.1"},
		{overlay.VXLAN, "ip addr flush dev flannel-v6.1"},
		{overlay.VXLAN, "ip -6 addr flush dev eth0"},
		{overlay.HostGW, "ip route del 10.244.2.0/24"},
		{overlay.HostGW, "ip -6 route replace fd00:10:244:2::/64 via fd00:172:30::99 dev eth0"},
		{overlay.UDP, "ip -6 route del fd00:10:244:2::/64"},
		{overlay.HostGW, "ip route replace 10.244.2.0/24 via 172.30.0.99 dev eth0"},
		{overlay.UDP, "ip link del flannel0"},
		{overlay.UDP, "ip link set flannel0 down mtu 1300"},
		{overlay.UDP, "ip addr flush dev flannel0"},
		{overlay.BGP, "ip route del 10.244.2.0/24"},
		{overlay.BGP, "ip -6 route del fd00:10:244:2::/64"},
		{overlay.BGP, "ip -6 route replace fd00:10:244:2::/64 via fd00:172:30::99 dev eth0 proto bgp"},
		{overlay.BGP, "ip route replace 10.244.2.0/24 via 172.30.0.99 dev eth0 proto bgp"},
	} {
		if c.nodes[0].lease.BackendType != x.kind {
			c.use(t, x.kind)
		}
		_, _ = nettest.Try(c.nodes[0].path, x.line) // the agent may have put it right between two commands
		c.settle(t)
		flow(t, pods, x.line)
	}
}

// mac6 is the hardware address of flannel-v6.1 of a node.
func mac6(n int) string {
	_, subnet := topology.Addrs6(n)
	return overlay.MAC(subnet)
}

// model is what the kernel would have after a plan, as far as Diff can see.
type model struct {
	v    overlay.VTEP
	have overlay.State
}

// After a plan, nothing is left to plan; before it, it never removes what is wanted.
func TestDiff(t *testing.T) {
	v := overlay.VTEP{IP: netip.MustParseAddr("172.30.0.11"), Subnet: netip.MustParsePrefix("10.244.1.0/24")}
	peer := rapid.Custom(func(t *rapid.T) overlay.Peer {
		n := rapid.IntRange(1, 6).Draw(t, "node")
		p := overlay.Peer{Node: fmt.Sprint("node-", n), IP: netip.AddrFrom4([4]byte{172, 30, 0, byte(10 + n)}),
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(n), 0}), 24)}
		if rapid.Bool().Draw(t, "other MAC") {
			p.MAC = fmt.Sprintf("02:00:00:00:00:%02x", n)
		}
		return p
	})
	peers := rapid.SliceOfNDistinct(peer, 0, 6, func(p overlay.Peer) string { return p.Node })
	rapid.Check(t, func(t *rapid.T) {
		was, want := peers.Draw(t, "was"), peers.Draw(t, "want")
		m := &model{v: v}
		m.apply(v.Diff(overlay.State{}, was))
		plan := v.Diff(m.have, want)
		m.apply(plan)
		again := v.Diff(m.have, want)
		require.Empty(t, again.Add)
		require.Empty(t, again.Remove)
		for _, p := range plan.Add {
			require.NotEqual(t, v.IP, p.IP, "a node is no peer of its own")
			require.False(t, strings.HasPrefix(p.Subnet.String(), "10.244.1."))
		}
	})
}

func (m *model) apply(p overlay.Plan) {
	for _, p := range p.Remove {
		r, n, f := parts(p)
		m.have.Routes = without(m.have.Routes, r)
		m.have.Neighs = without(m.have.Neighs, n)
		m.have.FDBs = without(m.have.FDBs, f)
	}
	for _, p := range p.Add {
		r, n, f := parts(p)
		m.have.Routes = append(without(m.have.Routes, r), r)
		m.have.Neighs = append(without(m.have.Neighs, n), n)
		m.have.FDBs = append(without(m.have.FDBs, f), f)
	}
}

func parts(p overlay.Peer) (link.Route, link.Neigh, link.FDB) {
	mac := p.MAC
	if mac == "" && p.Subnet.IsValid() {
		mac = overlay.MAC(p.Subnet)
	}
	at := p.Subnet.Addr()
	return link.Route{Dst: p.Subnet, Via: at, Dev: "flannel.1", Onlink: true},
		link.Neigh{IP: at, MAC: mac, Dev: "flannel.1"}, link.FDB{MAC: mac, Dst: p.IP, Dev: "flannel.1"}
}

func without[T comparable](list []T, x T) []T {
	var rest []T
	for _, y := range list {
		if y != x {
			rest = append(rest, y)
		}
	}
	return rest
}
