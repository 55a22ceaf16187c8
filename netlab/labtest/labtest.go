// Package labtest builds small labs for tests that need more than a namespace:
// nodes with pods, connected by VXLAN. What answers in the pods, and what keeps
// rules on the nodes, is the test's. Everything is removed when the test ends,
// and the test fails if something of it is left.
//
// The nouns: a [Lab] has [Node]s, and these get pods. Start with [Build].
package labtest

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/topology"
)

// Lab is a network of nodes, with what is outside of it.
type Lab struct {
	*topology.Lab
	Root  string // a directory of the test's
	Nodes []*Node
}

// Node is a node: node-1, node-2 and on.
type Node struct {
	topology.NodeAddrs
	Name, Path string // Path is its network namespace
	Net        *link.Net

	root string
	pods *cni.PodNetwork
}

// Config is how a lab is to be.
type Config struct {
	DualStack bool
	Routed    bool // pods have no bridge, and [Build] connects no nodes
}

// Build makes a lab of so many nodes without pods.
func Build(t testing.TB, nodes int, c Config) *Lab {
	t.Helper()
	nettest.NeedRoot(t)
	ctx, root := context.Background(), t.TempDir()
	if t, ok := t.(*testing.T); ok { // a benchmark's end is not waited for
		leak.Check(t, root)
	}
	net := filepath.Join(root, "net")
	t.Cleanup(func() { require.NoError(t, topology.Destroy(net)) })
	top, err := topology.Build(ctx, topology.Config{Dir: net, DualStack: c.DualStack})
	require.NoError(t, err)
	l := &Lab{Lab: top, Root: root}
	for i := range nodes {
		l.add(t, i+1, c)
	}
	for _, n := range l.Nodes {
		if c.Routed {
			break
		}
		require.NoError(t, overlay.VTEP{IP: n.IP, Subnet: n.Pods}.Sync(ctx, n.Net, nil, l.Peers()))
		if c.DualStack {
			require.NoError(t, overlay.VTEP{IP: n.IP6, Subnet: n.Pods6}.Sync(ctx, n.Net, nil, l.Peers6()))
		}
	}
	return l
}

func (l *Lab) add(t testing.TB, i int, c Config) {
	t.Helper()
	n := &Node{Name: fmt.Sprint("node-", i)}
	n.Path, n.root = nettest.Namespace(t, n.Name), filepath.Join(l.Root, n.Name)
	var err error
	n.NodeAddrs, err = l.AddNode(context.Background(), topology.Node{N: i, Name: n.Name, NetNS: n.Path})
	require.NoError(t, err)
	n.Net = nettest.Open(t, n.Path)
	conf := filepath.Join(n.root, "net.d")
	mtu := overlay.PodMTU(1500)
	if c.DualStack {
		mtu = overlay.PodMTU6(1500)
	}
	require.NoError(t, cni.WriteConflist(conf, cni.NodeConfig{Pods: n.Pods, Pods6: n.Pods6, DataDir: n.root, MTU: mtu, Routed: c.Routed}))
	n.pods = &cni.PodNetwork{ConfDir: conf, Runner: &cni.Runner{Plugins: cni.Builtin(n.Path, link.By{}), Cache: filepath.Join(n.root, "results")}}
	l.Nodes = append(l.Nodes, n)
}

// Peers are the nodes as their overlays see them.
func (l *Lab) Peers() (list []overlay.Peer) {
	for _, n := range l.Nodes {
		list = append(list, overlay.Peer{Node: n.Name, IP: n.IP, Subnet: n.Pods})
	}
	return list
}

// Peers6 are the same of IPv6, in a lab that has both families.
func (l *Lab) Peers6() (list []overlay.Peer) {
	for _, n := range l.Nodes {
		list = append(list, overlay.Peer{Node: n.Name, IP: n.IP6, Subnet: n.Pods6})
	}
	return list
}

// Pod attaches a pod to the node, and returns its namespace and its addresses.
func (n *Node) Pod(t testing.TB, namespace, name string) (path string, ips []netip.Addr) {
	t.Helper()
	path = filepath.Join(filepath.Dir(n.root), "pod-"+name)
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	ips, err := n.pods.Attach(context.Background(), cni.PodNet{SandboxID: name, Namespace: namespace, Name: name, NetNS: path})
	require.NoError(t, err)
	return path, ips
}

// Single attaches a container that belongs to no pod to a network of docker's
// modes, and returns its namespace and its address there, which is not valid if
// it has none. Error is that of a kernel that does not have the mode.
func (l *Lab) Single(t testing.TB, n *Node, mode, name string, ports ...cni.PortMapping) (path string, at netip.Prefix, err error) {
	t.Helper()
	c := cni.ModeConfig{Uplink: "eth0", Underlay: l.Underlay, IP: n.IP, MTU: 1500, DataDir: filepath.Join(n.root, "docker")}
	for i, x := range l.Nodes {
		if c.Peers = append(c.Peers, x.IP); x == n {
			c.Number = i + 1
		}
	}
	network, err := cni.Mode(mode, c)
	require.NoError(t, err)
	path = filepath.Join(l.Root, "container-"+name)
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	p := cni.PodNet{SandboxID: "single-" + name, Namespace: "containers", Name: name, NetNS: path, Network: network, Ports: ports}
	if _, err := n.pods.Attach(context.Background(), p); err != nil {
		return path, at, err
	}
	known, err := n.pods.Runner.Attachments(p.SandboxID)
	require.NoError(t, err)
	result, err := known[0].Result()
	require.NoError(t, err)
	for _, ip := range result.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		ones, _ := ip.Address.Mask.Size()
		at = netip.PrefixFrom(a.Unmap(), ones)
	}
	return path, at, nil
}
