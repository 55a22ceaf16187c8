package policy_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/policy"
	"github.com/klab-project/klab/netlab/topology"
)

// lab is the world of random tests with real namespaces. In every one there are
// servers at all ports.
type lab struct {
	*topology.Lab
	tool   *firewall.Tool
	nodes  []*link.Net
	guards []*policy.Guard
	paths  map[end]string
}

// tools are the iptables of this machine that work, each with a lock of its own.
func tools(t *testing.T) (list []*firewall.Tool) {
	t.Helper()
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		tool, err := firewall.Named(context.Background(), name)
		if err != nil {
			continue
		}
		tool.Lock = filepath.Join(t.TempDir(), "lock")
		if tool.Feed(context.Background(), nettest.Open(t, nettest.Namespace(t, "try")), "*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n") == nil {
			list = append(list, tool)
		}
	}
	require.NotEmpty(t, list)
	return list
}

func build(t *testing.T, tool *firewall.Tool) *lab {
	t.Helper()
	nettest.NeedRoot(t)
	ctx, dir := context.Background(), t.TempDir()
	leak.Check(t, dir)
	t.Cleanup(func() { require.NoError(t, topology.Destroy(filepath.Join(dir, "net"))) })
	top, err := topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net")})
	require.NoError(t, err)
	l := &lab{Lab: top, tool: tool, paths: map[end]string{{pod: -1}: top.OutsideNS()}}
	var peers []overlay.Peer
	var networks []*cni.PodNetwork
	for n := 1; n <= 2; n++ {
		name := fmt.Sprint("node-", n)
		path, root := nettest.Namespace(t, name), filepath.Join(dir, name)
		at, err := top.AddNode(ctx, topology.Node{N: n, Name: name, NetNS: path})
		require.NoError(t, err)
		require.NoError(t, cni.WriteConflist(filepath.Join(root, "net.d"), cni.NodeConfig{Pods: at.Pods, DataDir: root, MTU: 1450}))
		networks = append(networks, &cni.PodNetwork{ConfDir: filepath.Join(root, "net.d"), Runner: &cni.Runner{
			Plugins: cni.Builtin(path, link.By{}), Cache: filepath.Join(root, "results")}})
		peers = append(peers, overlay.Peer{Node: name, IP: at.IP, Subnet: at.Pods})
		net := nettest.Open(t, path)
		l.nodes, l.paths[end{node: n, pod: -1}] = append(l.nodes, net), path
		l.guards = append(l.guards, &policy.Guard{Node: name, Hands: policy.Tables{Tool: tool, Net: net}})
		nettest.Run(t, top.GatewayNS(), fmt.Sprintf("ip route add %s via %s", at.Pods, at.IP))
		nettest.Run(t, path, "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_ratemask=0")
	}
	for i, p := range peers {
		require.NoError(t, overlay.VTEP{IP: p.IP, Subnet: p.Subnet}.Sync(ctx, l.nodes[i], nil, peers))
	}
	for i, h := range homes {
		path := filepath.Join(dir, "pod-"+h.name)
		t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
		require.NoError(t, netns.Create(path))
		ips, err := networks[h.node[5]-'1'].Attach(ctx, cni.PodNet{SandboxID: h.name, Namespace: h.namespace, Name: h.name, NetNS: path})
		require.NoError(t, err)
		require.Equal(t, []netip.Addr{podAddr(i)}, ips)
		l.paths[end{pod: i}] = path
	}
	for e, path := range l.paths {
		for _, port := range ports {
			echoTCP(t, path, port, e.String())
			echoUDP(t, path, netip.AddrPortFrom(e.addr(), uint16(port)).String(), e.String())
		}
		takeSCTP(t, path)
	}
	return l
}

func (l *lab) sync(s policy.Snapshot) error {
	for _, g := range l.guards {
		if err := g.Sync(context.Background(), s); err != nil {
			return err
		}
	}
	return nil
}

// iptables runs the machine's iptables in a node, from 1.
func (l *lab) iptables(t *testing.T, node int, args string) string {
	t.Helper()
	return nettest.Run(t, l.paths[end{node: node, pod: -1}], "XTABLES_LOCKFILE="+l.tool.Lock+" "+strings.TrimSuffix(l.tool.Restore, "-restore")+" "+args)
}
