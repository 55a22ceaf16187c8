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

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/topology"
)

// cluster is a lab with nodes that have a pod network and an overlay.
type cluster struct {
	*topology.Lab
	nodes []*node
	peers []overlay.Peer
}

type node struct {
	path string
	net  *link.Net
	vtep overlay.VTEP
	pods *cni.PodNetwork
}

func build(t testing.TB, ctx context.Context, nodes int) *cluster {
	t.Helper()
	nettest.NeedRoot(t)
	dir := t.TempDir()
	leak.Check(t, dir)
	t.Cleanup(func() { require.NoError(t, topology.Destroy(filepath.Join(dir, "net"))) })
	lab, err := topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net")})
	require.NoError(t, err)
	c := &cluster{Lab: lab}
	for i := 1; i <= nodes; i++ {
		name := fmt.Sprint("node-", i)
		path, root := nettest.Namespace(t, name), filepath.Join(dir, name)
		a, err := lab.AddNode(ctx, topology.Node{N: i, Name: name, NetNS: path})
		require.NoError(t, err)
		require.NoError(t, cni.WriteConflist(filepath.Join(root, "net.d"), cni.NodeConfig{Pods: a.Pods, DataDir: root, MTU: 1450}))
		c.nodes = append(c.nodes, &node{path: path, net: nettest.Open(t, path),
			vtep: overlay.VTEP{IP: a.IP, Subnet: a.Pods},
			pods: &cni.PodNetwork{ConfDir: filepath.Join(root, "net.d"), Runner: &cni.Runner{
				Plugins: cni.Builtin(path, link.By{}), Cache: filepath.Join(root, "results")}}})
		c.peers = append(c.peers, overlay.Peer{Node: name, IP: a.IP, Subnet: a.Pods})
	}
	return c
}

func (c *cluster) sync(t testing.TB, ctx context.Context) {
	t.Helper()
	for _, n := range c.nodes {
		require.NoError(t, n.vtep.Sync(ctx, n.net, nil, c.peers))
	}
}

func (n *node) pod(t testing.TB, name string) (path string, ip netip.Addr) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	ips, err := n.pods.Attach(context.Background(), cni.PodNet{SandboxID: name, Namespace: "default", Name: name, NetNS: path})
	require.NoError(t, err)
	return path, ips[0]
}

// The rules of Kubernetes' network model, with packets.
func TestNetworkModel(t *testing.T) {
	ctx := context.Background()
	c := build(t, ctx, 3)
	c.sync(t, ctx)
	a, aIP := c.nodes[0].pod(t, "a")
	b, bIP := c.nodes[0].pod(t, "b")
	far, farIP := c.nodes[2].pod(t, "far")
	one, three := c.nodes[0], c.nodes[2]

	for _, x := range []struct {
		name, from, to string
		dst, seen      netip.Addr
	}{
		{"same node", a, b, bIP, aIP},
		{"other node: no NAT", a, far, farIP, aIP},
		{"and back", far, a, aIP, farIP},
		{"node to its pod", one.path, a, aIP, netip.MustParseAddr("10.244.1.1")},
		{"node to another's pod", one.path, far, farIP, netip.MustParseAddr("10.244.1.0")},
		{"pod to its node", a, one.path, one.vtep.IP, aIP},
		{"pod to another node: as its node", a, three.path, three.vtep.IP, one.vtep.IP},
		{"pod to the API server: as its node", a, c.ControlNS(), c.ControlIP(), one.vtep.IP},
		{"pod to outside: as its node", far, c.OutsideNS(), c.ClientIP(), three.vtep.IP},
	} {
		require.Equal(t, x.seen, nettest.Talk(t, x.from, x.to, x.dst), x.name)
	}
	_, err := nettest.TryTalk(t, c.OutsideNS(), a, aIP)
	require.Error(t, err, "pods have no way in from outside")
	if _, err := nettest.Try(one.path, "which conntrack && which iptables"); err == nil {
		require.NotContains(t, nettest.Run(t, one.path, "conntrack -L 2>/dev/null"), "dport=8472")
		require.NotContains(t, nettest.Run(t, one.path, "iptables -t raw -nvxL KLAB-NOTRACK"), "       0        0 CT ")
	}
}

func TestNodesComeAndGo(t *testing.T) {
	ctx, trail := nettest.WithTrail(context.Background())
	c := build(t, ctx, 2)
	c.sync(t, ctx)
	a, aIP := c.nodes[0].pod(t, "a")
	b, bIP := c.nodes[1].pod(t, "b")
	one := c.nodes[0]
	require.Equal(t, aIP, nettest.Talk(t, a, b, bIP))
	trail.Lines(t)
	c.sync(t, ctx)
	require.Empty(t, trail.Lines(t), "nothing to do")

	hands := overlay.Steps(one.vtep, "flanneld", "node-1")
	require.NoError(t, one.vtep.Sync(ctx, one.net, hands, c.peers[:1]))
	var verbs []string
	for _, e := range trail.Events(t) {
		var d step.OverlayDetail
		require.NoError(t, e.Decode(&d))
		if e.Phase == step.PhaseBegin {
			verbs = append(verbs, fmt.Sprint(e.Verb, " ", d.Subnet, " ", d.Underly, " ", d.MAC))
		}
	}
	require.Equal(t, []string{"overlay-remove 10.244.2.0/24 172.30.0.12 0a:58:0a:f4:02:00"}, verbs)
	state, err := one.vtep.Read(one.net)
	require.NoError(t, err)
	require.Empty(t, append(append([]any{}, anys(state.Routes)...), anys(state.FDBs)...))
	_, err = nettest.TryTalk(t, a, b, bIP)
	require.Error(t, err)

	require.NoError(t, one.vtep.Sync(ctx, one.net, hands, c.peers))
	require.Equal(t, aIP, nettest.Talk(t, a, b, bIP))
	for _, e := range trail.Events(t) {
		if e.Phase == step.PhaseBegin {
			require.Equal(t, step.OverlayAdd, e.Verb)
			require.Equal(t, "node-2", e.Object.Name)
		}
	}
}

func anys[T any](list []T) (out []any) {
	for _, x := range list {
		out = append(out, x)
	}
	return out
}

// Whatever somebody breaks, the next Sync repairs.
func TestRepair(t *testing.T) {
	ctx := context.Background()
	c := build(t, ctx, 2)
	c.sync(t, ctx)
	a, aIP := c.nodes[0].pod(t, "a")
	b, bIP := c.nodes[1].pod(t, "b")
	for _, line := range []string{
		"ip route del 10.244.2.0/24",
		"ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:01 dev flannel.1 nud permanent",
		"bridge fdb replace 0a:58:0a:f4:02:00 dev flannel.1 dst 172.30.0.99 self permanent",
		"ip link set flannel.1 down",
		"ip link del flannel.1",
		"ip link del flannel.1; ip link add flannel.1 type vxlan id 9 dstport 4789 dev eth0",
	} {
		nettest.Run(t, c.nodes[0].path, line)
		c.sync(t, ctx)
		require.Equal(t, aIP, nettest.Talk(t, a, b, bIP), line)
		state, err := c.nodes[0].vtep.Read(c.nodes[0].net)
		require.NoError(t, err)
		require.Len(t, state.Routes, 1, line)
		require.Len(t, state.Neighs, 1, line)
		require.Len(t, state.FDBs, 1, line)
	}
	require.NoError(t, c.nodes[0].vtep.Down(ctx, c.nodes[0].net))
	require.NoError(t, c.nodes[0].vtep.Down(ctx, c.nodes[0].net))
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
