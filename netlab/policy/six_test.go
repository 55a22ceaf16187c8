package policy_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/policy"
	"github.com/klab-project/klab/netlab/topology"
)

// The same policies hold for IPv6: pods find each other, and are kept apart by
// ip6tables.
func TestIPv6(t *testing.T) {
	for _, tool := range tools(t) {
		t.Run(tool.Backend, func(t *testing.T) {
			ctx, dir := context.Background(), t.TempDir()
			leak.Check(t, dir)
			t.Cleanup(func() { require.NoError(t, topology.Destroy(filepath.Join(dir, "net"))) })
			top, err := topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net"), DualStack: true})
			require.NoError(t, err)
			node, root := nettest.Namespace(t, "node-1"), filepath.Join(dir, "node-1")
			at, err := top.AddNode(ctx, topology.Node{N: 1, Name: "node-1", NetNS: node})
			require.NoError(t, err)
			require.NoError(t, cni.WriteConflist(filepath.Join(root, "net.d"), cni.NodeConfig{Pods: at.Pods, Pods6: at.Pods6, DataDir: root, MTU: 1450}))
			network := &cni.PodNetwork{ConfDir: filepath.Join(root, "net.d"), Runner: &cni.Runner{
				Plugins: cni.Builtin(node, link.By{}), Cache: filepath.Join(root, "results")}}
			s, six, paths := world(deny("a", named("p2"))), map[string]netip.Addr{}, map[string]string{}
			for i, h := range homes[:3] {
				path := filepath.Join(dir, "pod-"+h.name)
				t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
				require.NoError(t, netns.Create(path))
				ips, err := network.Attach(ctx, cni.PodNet{SandboxID: h.name, Namespace: h.namespace, Name: h.name, NetNS: path})
				require.NoError(t, err)
				require.Len(t, ips, 2)
				s.Pods[i].IPs, six[h.name], paths[h.name] = ips, ips[1], path
				sayHello(t, path, ips[1])
			}
			tool6, err := tool.IPv6(ctx)
			require.NoError(t, err)
			net := nettest.Open(t, node)
			g := &policy.Guard{Node: "node-1", Family: policy.Family{V6: true}, Hands: policy.Tables{Tool: tool6, Net: net}}
			require.NoError(t, g.Sync(ctx, s))
			saved, err := tool6.Saved(ctx, net)
			require.NoError(t, err)
			require.Empty(t, policy.Differs("node-1", policy.Family{V6: true}, s, saved), "we write rules as ip6tables-save does:\n"+saved)

			for _, c := range []struct {
				from, to string
				want     fate
			}{{"p3", "p1", rejected}, {"p3", "p2", rejected}, {"p2", "p1", answered}, {"p1", "p3", answered}, {"node", "p1", answered}} {
				path := paths[c.from]
				if c.from == "node" {
					path = node
				}
				got := hello(path, six[c.to])
				require.Equal(t, c.want, got, "%s to %s", c.from, c.to)
				p := policy.Packet{From: six[c.from], To: six[c.to], Protocol: "TCP", Port: 80}
				if c.from != "node" {
					require.Equal(t, c.want == answered, policy.Allowed(s, p).Allowed)
					w, err := policy.Walk(saved, p)
					require.NoError(t, err)
					require.Equal(t, c.want == answered, w.Allowed)
				}
			}
			require.NoError(t, g.Sync(ctx, policy.Snapshot{}))
			require.Equal(t, answered, hello(paths["p3"], six["p1"]))
		})
	}
}

func sayHello(t *testing.T, path string, at netip.Addr) {
	t.Helper()
	l, err := netns.Listen(context.Background(), path, "tcp6", netip.AddrPortFrom(at, 80).String())
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(c, "hello")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func hello(path string, to netip.Addr) fate {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := netns.Dialer(path)(ctx, "tcp6", netip.AddrPortFrom(to, 80).String())
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = io.ReadAll(c)
		_ = c.Close()
	}
	f, err := fateOf(err)
	if err != nil {
		return fate(err.Error())
	}
	return f
}
