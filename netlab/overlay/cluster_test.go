package overlay_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
}

type node struct {
	overlay.Node
	root  string
	path  string
	net   *link.Net
	agent *agent
	lease overlay.Lease
	pods  *cni.PodNetwork
	conf  cni.NodeConfig
}

var podNet = netip.MustParsePrefix("10.244.0.0/16")

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
		c.add(t, ctx, i, filepath.Join(dir, fmt.Sprint("node-", i)))
	}
	return c
}

func (c *cluster) add(t testing.TB, ctx context.Context, i int, root string) *node {
	t.Helper()
	n := &node{root: root}
	n.Name = filepath.Base(root)
	n.path = nettest.Namespace(t, n.Name)
	a, err := c.AddNode(ctx, topology.Node{N: i, Name: n.Name, NetNS: n.path})
	require.NoError(t, err)
	n.Node = overlay.Node{Name: n.Name, IP: a.IP, Subnet: a.Pods, Network: podNet, Underlay: c.Underlay, Gateway: c.GatewayIP(), MTU: 1500}
	n.net = nettest.Open(t, n.path)
	n.conf = cni.NodeConfig{Pods: a.Pods, DataDir: root, MTU: overlay.PodMTU(1500)}
	require.NoError(t, cni.WriteConflist(filepath.Join(root, "net.d"), n.conf))
	n.pods = &cni.PodNetwork{ConfDir: filepath.Join(root, "net.d"), Runner: &cni.Runner{
		Plugins: cni.Builtin(n.path, link.By{}), Cache: filepath.Join(root, "results")}}
	n.agent = startAgent(t, n.path, n.Node)
	c.nodes = append(c.nodes, n)
	return n
}

// restart kills the node's agent, and starts it again.
func (n *node) restart(t testing.TB) {
	t.Helper()
	n.agent.kill()
	n.agent = startAgent(t, n.path, n.Node)
}

// use makes the backend of a node another one, and tells what it says of itself.
func (n *node) use(t testing.TB, kind string, leases []overlay.Lease) report {
	t.Helper()
	r := n.agent.do(t, order{Use: kind, Leases: leases})
	if n.conf.Routed = kind == overlay.BGP; r.Err == "" && kind != "" {
		require.NoError(t, cni.SwitchConflist(n.pods.ConfDir, n.conf))
		require.NoError(t, cni.Neighbourly(context.Background(), n.net))
	}
	n.lease = r.Lease
	return r
}

func (c *cluster) leases() (list []overlay.Lease) {
	for _, n := range c.nodes {
		if n.lease.Node != "" {
			list = append(list, n.lease)
		}
	}
	return list
}

// use makes the backend of all nodes another one, and waits until they lead to
// each other by it, and by nothing else.
func (c *cluster) use(t testing.TB, kind string) {
	t.Helper()
	for _, n := range c.nodes {
		require.Empty(t, n.use(t, kind, c.leases()).Err)
	}
	c.settle(t)
}

// settle tells all nodes all leases until their kernels have what these say.
func (c *cluster) settle(t testing.TB) {
	t.Helper()
	var wrong []string
	require.Eventually(t, func() bool {
		wrong = nil
		for _, n := range c.nodes {
			if r := n.agent.do(t, order{Leases: c.leases()}); r.Err != "" {
				wrong = append(wrong, r.Err)
			}
		}
		for _, n := range c.nodes {
			wrong = append(wrong, differ(n.Name, c.wants(n), n.has(t))...)
		}
		return len(wrong) == 0
	}, time.Minute, 10*time.Millisecond, "nodes lead to each other by one backend")
	require.Empty(t, wrong)
}

func differ(name string, want, have []string) (list []string) {
	for _, line := range want {
		if !slices.Contains(have, line) {
			list = append(list, name+" lacks "+line)
		}
	}
	for _, line := range have {
		if !slices.Contains(want, line) {
			list = append(list, name+" still has "+line)
		}
	}
	return list
}

// wants is everything that a backend has in the kernel of a node.
func (c *cluster) wants(n *node) (list []string) {
	kind := n.lease.BackendType
	switch kind {
	case overlay.VXLAN:
		list = append(list, "link flannel.1 vxlan mtu 1450")
	case overlay.UDP:
		list = append(list, "link flannel0 tuntap mtu 1472")
	case overlay.BGP:
		list = append(list, "tcp "+n.IP.String()+":179")
	}
	for _, l := range c.leases() {
		if l.Node == n.Name {
			continue
		}
		at := l.Subnet.Addr()
		switch kind {
		case overlay.VXLAN:
			list = append(list, fmt.Sprintf("route %s via %s dev flannel.1 onlink ", l.Subnet, at),
				fmt.Sprintf("neigh %s %s", at, overlay.MAC(l.Subnet)), fmt.Sprintf("fdb %s %s", overlay.MAC(l.Subnet), l.PublicIP))
		case overlay.HostGW:
			list = append(list, fmt.Sprintf("route %s via %s dev eth0 ", l.Subnet, l.PublicIP))
		case overlay.BGP:
			list = append(list, fmt.Sprintf("route %s via %s dev eth0 bgp", l.Subnet, l.PublicIP))
		}
	}
	return list
}

// has is what there is of all backends in the kernel of a node.
func (n *node) has(t testing.TB) (list []string) {
	t.Helper()
	links, err := n.net.Links()
	require.NoError(t, err)
	for _, l := range links {
		if l.Name == "flannel.1" || l.Name == "flannel0" {
			list = append(list, fmt.Sprintf("link %s %s mtu %d", l.Name, l.Kind, l.MTU))
		}
		routes, err := n.net.Routes(l.Name)
		if err != nil {
			return []string{err.Error()} // it has just gone
		}
		for _, r := range routes {
			if r.Via.IsValid() && r.Dst.Bits() > 0 && podNet.Overlaps(r.Dst) {
				onlink := map[bool]string{true: "onlink "}[r.Onlink]
				list = append(list, fmt.Sprintf("route %s via %s dev %s %s%s", r.Dst, r.Via, r.Dev, onlink, r.Proto))
			}
		}
		if l.Name != "flannel.1" {
			continue
		}
		state, err := overlay.VTEP{Subnet: n.Subnet, IP: n.IP}.Read(n.net)
		require.NoError(t, err)
		for _, e := range state.Neighs {
			list = append(list, fmt.Sprintf("neigh %s %s", e.IP, e.MAC))
		}
		for _, e := range state.FDBs {
			list = append(list, fmt.Sprintf("fdb %s %s", e.MAC, e.Dst))
		}
	}
	if listens(t, n.path, 179) {
		list = append(list, "tcp "+n.IP.String()+":179")
	}
	return list
}

func (n *node) pod(t testing.TB, name string) (path string, ip netip.Addr) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	ips, err := n.pods.Attach(context.Background(), cni.PodNet{SandboxID: name, Namespace: "default", Name: name, NetNS: path})
	require.NoError(t, err)
	require.NoError(t, cni.Neighbourly(context.Background(), n.net))
	return path, ips[0]
}

// listens tells whether somebody in the namespace at path has that TCP port.
func listens(t testing.TB, path string, port int) (found bool) {
	t.Helper()
	require.NoError(t, netns.Do(path, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/tcp")
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			found = found || len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "0A"
		}
		return err
	}))
	return found
}
