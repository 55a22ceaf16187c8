package netlab_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/nodens"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/topology"
)

// lab is three nodes with a pod each, made of all of netlab's parts.
type lab struct {
	*topology.Lab
	dir  string
	pods []cni.PodNet
}

func up(tb testing.TB, dir string, nodes, podsEach int) *lab {
	ctx := context.Background()
	l := &lab{dir: dir}
	var err error
	l.Lab, err = topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net")})
	require.NoError(tb, err)
	var peers []overlay.Peer
	var spaces []*nodens.Node
	for i := 1; i <= nodes; i++ {
		name := fmt.Sprint("node-", i)
		node, err := nodens.Create(nodens.Config{Dir: filepath.Join(dir, name), Hostname: name})
		require.NoError(tb, err)
		a, err := l.AddNode(ctx, topology.Node{N: i, Name: name, NetNS: node.NetNS()})
		require.NoError(tb, err)
		peers = append(peers, overlay.Peer{Node: name, IP: a.IP, Subnet: a.Pods})
		spaces = append(spaces, node)
	}
	for i, node := range spaces {
		n, err := link.Open(node.NetNS(), link.By{Actor: "flanneld", Node: node.Hostname})
		require.NoError(tb, err)
		require.NoError(tb, overlay.VTEP{IP: peers[i].IP, Subnet: peers[i].Subnet}.Sync(ctx, n, nil, peers))
		require.NoError(tb, n.Close())

		root := filepath.Join(dir, "state", node.Hostname)
		conf := cni.NodeConfig{Pods: peers[i].Subnet, DataDir: filepath.Join(root, "networks"), MTU: 1450}
		require.NoError(tb, cni.WriteConflist(filepath.Join(root, "net.d"), conf))
		network := cni.PodNetwork{ConfDir: filepath.Join(root, "net.d"), Runner: &cni.Runner{
			Plugins: cni.Builtin(node.NetNS(), link.By{Actor: "kubelet", Node: node.Hostname}), Cache: filepath.Join(root, "results")}}
		for j := range podsEach {
			name := fmt.Sprintf("pod-%d-%d", i+1, j)
			p := cni.PodNet{SandboxID: name, Namespace: "default", Name: name, NetNS: filepath.Join(dir, name)}
			require.NoError(tb, netns.Create(p.NetNS))
			_, err := network.Attach(ctx, p)
			require.NoError(tb, err)
			l.pods = append(l.pods, p)
		}
	}
	return l
}

func down(tb testing.TB, dir string) {
	pods, err := filepath.Glob(filepath.Join(dir, "pod-*"))
	require.NoError(tb, err)
	for _, p := range pods {
		require.NoError(tb, netns.Delete(p))
	}
	nodes, err := filepath.Glob(filepath.Join(dir, "node-*"))
	require.NoError(tb, err)
	for _, n := range nodes {
		require.NoError(tb, nodens.Delete(n))
	}
	require.NoError(tb, topology.Destroy(filepath.Join(dir, "net")))
}

func TestAllPartsTogether(t *testing.T) {
	nettest.NeedRoot(t)
	dir := t.TempDir()
	leak.Check(t, dir)
	t.Cleanup(func() { down(t, dir) })
	l := up(t, dir, 3, 1)
	for i, from := range l.pods {
		for j, to := range l.pods {
			if i != j {
				ip := nettest.AddrOf(t, to.NetNS, "eth0")
				require.Equal(t, nettest.AddrOf(t, from.NetNS, "eth0"), nettest.Talk(t, from.NetNS, to.NetNS, ip))
			}
		}
	}
}

func BenchmarkThreeNodes(b *testing.B)            { benchmark(b, 3, 0) }
func BenchmarkThreeNodesTenPodsEach(b *testing.B) { benchmark(b, 3, 10) }

func benchmark(b *testing.B, nodes, pods int) {
	nettest.NeedRoot(b)
	for b.Loop() {
		dir := b.TempDir()
		up(b, dir, nodes, pods)
		b.StopTimer()
		down(b, dir)
		b.StartTimer()
	}
}
