package overlay_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/topology"
)

// cluster is a lab with nodes that have a pod network and an overlay, of both
// families.
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
	lab, err := topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net"), DualStack: true})
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
	n.Node = overlay.Node{Name: n.Name, MTU: 1500,
		Place: overlay.Place{IP: a.IP, Subnet: a.Pods, Network: podNet, Underlay: c.Underlay, Gateway: c.GatewayIP()},
		Six:   overlay.Place{IP: a.IP6, Subnet: a.Pods6, Network: topology.Pods6, Underlay: topology.Underlay6, Gateway: topology.Gateway6()}}
	n.net = nettest.Open(t, n.path)
	n.conf = cni.NodeConfig{Pods: a.Pods, Pods6: a.Pods6, DataDir: root, MTU: overlay.PodMTU6(1500)}
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
	require.EventuallyWithT(t, func(now *assert.CollectT) {
		var wrong []string
		for _, n := range c.nodes {
			if r := n.agent.do(t, order{Leases: c.leases()}); r.Err != "" {
				wrong = append(wrong, r.Err)
			}
		}
		for _, n := range c.nodes {
			wrong = append(wrong, differ(n.Name, c.wants(n), n.has(t))...)
		}
		assert.Empty(now, wrong)
	}, time.Minute, 10*time.Millisecond, "nodes lead to each other by one backend")
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
	switch n.lease.BackendType {
	case overlay.VXLAN:
		list = append(list, "link flannel.1 vxlan mtu 1450", "link flannel-v6.1 vxlan mtu 1430")
	case overlay.UDP:
		list = append(list, "link flannel0 tuntap mtu 1472")
	case overlay.BGP:
		list = append(list, "tcp "+n.IP.String()+":179", "tcp "+n.Six.IP.String()+":179")
	}
	for _, l := range c.leases() {
		if l.Node != n.Name {
			list = append(list, leadsTo("flannel.1", l.BackendType, l.Subnet, l.PublicIP)...)
			list = append(list, leadsTo("flannel-v6.1", overlay.Carrier6(l.BackendType), l.Subnet6, l.PublicIP6)...)
		}
	}
	return list
}

// leadsTo is what a backend has for one subnet of another node.
func leadsTo(vtep, kind string, subnet netip.Prefix, ip netip.Addr) []string {
	at := subnet.Addr()
	switch kind {
	case overlay.VXLAN:
		return []string{fmt.Sprintf("route %s via %s dev %s onlink ", subnet, at, vtep),
			fmt.Sprintf("neigh %s %s", at, overlay.MAC(subnet)), fmt.Sprintf("fdb %s %s", overlay.MAC(subnet), ip)}
	case overlay.HostGW:
		return []string{fmt.Sprintf("route %s via %s dev eth0 ", subnet, ip)}
	case overlay.BGP:
		return []string{fmt.Sprintf("route %s via %s dev eth0 bgp", subnet, ip)}
	}
	return nil
}

// has is what there is of all backends in the kernel of a node.
func (n *node) has(t testing.TB) (list []string) {
	t.Helper()
	links, err := n.net.Links()
	require.NoError(t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Name, "flannel") {
			list = append(list, fmt.Sprintf("link %s %s mtu %d", l.Name, l.Kind, l.MTU))
		}
		routes, err := n.net.Routes(l.Name)
		if err != nil {
			return []string{err.Error()} // it has just gone
		}
		for _, r := range routes {
			if r.Via.IsValid() && r.Dst.Bits() > 0 && (podNet.Overlaps(r.Dst) || topology.Pods6.Overlaps(r.Dst)) {
				onlink := map[bool]string{true: "onlink "}[r.Onlink]
				list = append(list, fmt.Sprintf("route %s via %s dev %s %s%s", r.Dst, r.Via, r.Dev, onlink, r.Proto))
			}
		}
	}
	for _, at := range []overlay.Place{n.Place, n.Six} {
		state, err := overlay.VTEP{Subnet: at.Subnet, IP: at.IP}.Read(n.net)
		if err != nil {
			return []string{err.Error()}
		}
		for _, e := range state.Neighs {
			list = append(list, fmt.Sprintf("neigh %s %s", e.IP, e.MAC))
		}
		for _, e := range state.FDBs {
			list = append(list, fmt.Sprintf("fdb %s %s", e.MAC, e.Dst))
		}
		if listens(t, n.path, at.IP, 179) {
			list = append(list, "tcp "+at.IP.String()+":179")
		}
	}
	return list
}

// pod attaches a pod, and returns its namespace and its IPv4 address.
func (n *node) pod(t testing.TB, name string) (path string, ip netip.Addr) {
	t.Helper()
	s := n.spot(t, name)
	return s.path, s.ip
}

// spot is a pod that packets of both families are sent from and to.
func (n *node) spot(t testing.TB, name string) spot {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	ips, err := n.pods.Attach(context.Background(), cni.PodNet{SandboxID: name, Namespace: "default", Name: name, NetNS: path})
	require.NoError(t, err)
	require.NoError(t, cni.Neighbourly(context.Background(), n.net))
	require.Len(t, ips, 2)
	return spot{path, ips[0], ips[1]}
}

// listens tells whether somebody in the namespace at path has that TCP port of
// an address.
func listens(t testing.TB, path string, ip netip.Addr, port int) (found bool) {
	t.Helper()
	file, bytes := "/proc/thread-self/net/tcp", ip.AsSlice()
	if ip.Is6() {
		file += "6"
	}
	want := ""
	for part := range slices.Chunk(bytes, 4) { // as the kernel prints them: words of the machine
		want += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(part))
	}
	require.NoError(t, netns.Do(path, func() error {
		text, err := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			found = found || len(f) > 3 && f[1] == fmt.Sprintf("%s:%04X", want, port) && f[3] == "0A"
		}
		return err
	}))
	return found
}
