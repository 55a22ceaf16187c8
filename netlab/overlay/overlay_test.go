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
)

// The rules of Kubernetes' network model, with packets, for every backend.
func TestNetworkModel(t *testing.T) {
	ctx := context.Background()
	c := build(t, ctx, 3)
	var a, b, far string
	var aIP, bIP, farIP netip.Addr
	one, three := c.nodes[0], c.nodes[2]
	own := map[string]string{overlay.VXLAN: "10.244.1.0", overlay.UDP: "10.244.1.0", overlay.HostGW: "172.30.0.11", overlay.BGP: "172.30.0.11"}
	for _, kind := range overlay.Types {
		c.use(t, kind)
		if a == "" {
			a, aIP = one.pod(t, "a")
			b, bIP = one.pod(t, "b")
			far, farIP = three.pod(t, "far")
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
		} {
			require.Equal(t, x.seen, nettest.Talk(t, x.from, x.to, x.dst), kind+": "+x.name)
		}
		_, err := nettest.TryTalk(t, c.OutsideNS(), a, aIP)
		require.Error(t, err, "pods have no way in from outside")
		if _, err := nettest.Try(one.path, "which conntrack && which iptables"); err == nil && kind == overlay.VXLAN {
			require.NotContains(t, nettest.Run(t, one.path, "conntrack -L 2>/dev/null"), "dport=8472")
			require.NotContains(t, nettest.Run(t, one.path, "iptables -t raw -nvxL KLAB-NOTRACK"), "       0        0 CT ")
		}
	}

	// bgp is the last: pods are routed now, beside those that the bridge has.
	near, nearIP := one.pod(t, "near")
	other, otherIP := three.pod(t, "other")
	require.Contains(t, nettest.Run(t, one.path, "ip route"), nearIP.String()+" dev cali")
	for _, x := range []struct {
		from, to  string
		dst, seen netip.Addr
	}{
		{near, other, otherIP, nearIP}, {other, near, nearIP, otherIP}, {near, a, aIP, nearIP}, {a, near, nearIP, aIP},
		{far, near, nearIP, farIP}, {a, other, otherIP, aIP}, {near, c.OutsideNS(), c.ClientIP(), one.IP},
		{one.path, near, nearIP, one.IP},
	} {
		require.Equal(t, x.seen, nettest.Talk(t, x.from, x.to, x.dst))
	}
}

func TestNodesComeAndGo(t *testing.T) {
	ctx := context.Background()
	c := build(t, ctx, 2)
	for _, kind := range overlay.Types {
		c.use(t, kind)
		a, aIP := c.nodes[0].pod(t, "a-"+kind)
		b, bIP := c.nodes[1].pod(t, "b-"+kind)
		require.Equal(t, aIP, nettest.Talk(t, a, b, bIP))
		one := c.nodes[0]
		one.agent.do(t, order{Leases: c.leases()})
		require.Empty(t, one.agent.do(t, order{Leases: c.leases()}).Steps, "nothing to do")

		gone := one.agent.do(t, order{Leases: c.leases()[:1]})
		require.Empty(t, gone.Err)
		for _, s := range gone.Steps {
			require.Equal(t, "overlay-remove "+kind+" node-2 10.244.2.0/24 via 172.30.0.12", s)
		}
		require.NotEmpty(t, gone.Steps)
		for _, line := range one.has(t) {
			require.NotContains(t, line, "10.244.2.")
		}
		_, err := nettest.TryTalk(t, a, b, bIP)
		require.Error(t, err)
		c.settle(t)
		require.Equal(t, aIP, nettest.Talk(t, a, b, bIP))
	}
	for _, kind := range overlay.Types { // a third one comes, and goes
		c.use(t, kind)
		third := c.add(t, ctx, 3, filepath.Join(t.TempDir(), "node-3"))
		require.Empty(t, third.use(t, kind, c.leases()).Err)
		c.settle(t)
		a, aIP := c.nodes[0].pod(t, "c-"+kind)
		b, bIP := third.pod(t, "d-"+kind)
		require.Equal(t, aIP, nettest.Talk(t, a, b, bIP), kind)
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
	a, aIP := c.nodes[0].pod(t, "a")
	b, bIP := c.nodes[1].pod(t, "b")
	for _, x := range []struct{ kind, line string }{
		{overlay.VXLAN, "ip route del 10.244.2.0/24"},
		{overlay.VXLAN, "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:01 dev flannel.1 nud permanent"},
		{overlay.VXLAN, "bridge fdb replace 0a:58:0a:f4:02:00 dev flannel.1 dst 172.30.0.99 self permanent"},
		{overlay.VXLAN, "ip link set flannel.1 down"},
		{overlay.VXLAN, "ip link del flannel.1"},
		{overlay.VXLAN, "ip link del flannel.1; ip link add flannel.1 type vxlan id 9 dstport 4789 dev eth0"},
		{overlay.HostGW, "ip route del 10.244.2.0/24"},
		{overlay.HostGW, "ip route replace 10.244.2.0/24 via 172.30.0.99 dev eth0"},
		{overlay.UDP, "ip link del flannel0"},
		{overlay.UDP, "ip link set flannel0 down mtu 1300"},
		{overlay.UDP, "ip addr flush dev flannel0"},
		{overlay.BGP, "ip route del 10.244.2.0/24"},
		{overlay.BGP, "ip route replace 10.244.2.0/24 via 172.30.0.99 dev eth0 proto bgp"},
	} {
		if c.nodes[0].lease.BackendType != x.kind {
			c.use(t, x.kind)
		}
		_, _ = nettest.Try(c.nodes[0].path, x.line) // the agent may have put it right between two commands
		c.settle(t)
		require.Equal(t, aIP, nettest.Talk(t, a, b, bIP), x.line)
	}
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
