package topology_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/topology"
)

func build(t testing.TB, ctx context.Context, dir string, nodes int) (*topology.Lab, []string) {
	t.Helper()
	return buildAs(t, ctx, topology.Config{}, dir, nodes)
}

func buildAs(t testing.TB, ctx context.Context, c topology.Config, dir string, nodes int) (*topology.Lab, []string) {
	t.Helper()
	nettest.NeedRoot(t)
	t.Cleanup(func() { require.NoError(t, topology.Destroy(filepath.Join(dir, "net"))) })
	c.Dir = filepath.Join(dir, "net")
	lab, err := topology.Build(ctx, c)
	require.NoError(t, err)
	var paths []string
	for i := 1; i <= nodes; i++ {
		path := filepath.Join(dir, fmt.Sprint("node-", i))
		t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
		require.NoError(t, netns.Create(path))
		_, err := lab.AddNode(ctx, topology.Node{N: i, Name: fmt.Sprint("node-", i), NetNS: path})
		require.NoError(t, err)
		paths = append(paths, path)
	}
	return lab, paths
}

// While a lab is built, changed and destroyed, the machine's own namespace
// says nothing.
func TestTheMachineIsNotTouched(t *testing.T) {
	nettest.NeedRoot(t)
	links, addrs, routes := make(chan netlink.LinkUpdate, 99), make(chan netlink.AddrUpdate, 99), make(chan netlink.RouteUpdate, 99)
	done := make(chan struct{})
	defer close(done)
	require.NoError(t, netlink.LinkSubscribe(links, done))
	require.NoError(t, netlink.AddrSubscribe(addrs, done))
	require.NoError(t, netlink.RouteSubscribe(routes, done))

	ctx := context.Background()
	quiet := func() bool {
		for len(links)+len(addrs)+len(routes) > 0 {
			select {
			case <-links:
			case <-addrs:
			case <-routes:
			}
		}
		lab, _ := build(t, ctx, t.TempDir(), 2)
		require.NoError(t, lab.RemoveNode(ctx, 1))
		require.NoError(t, topology.Destroy(lab.Dir))
		return len(links)+len(addrs)+len(routes) == 0
	}
	for range 10 { // what others do to the machine's own network is not done each time
		if quiet() {
			return
		}
	}
	t.Fatal("links, addresses or routes of the machine change when a lab is made")
}

func TestPacketsBetweenAllParts(t *testing.T) {
	ctx := context.Background()
	lab, nodes := build(t, ctx, t.TempDir(), 2)
	one, err := lab.Addrs(1)
	require.NoError(t, err)
	two, err := lab.Addrs(2)
	require.NoError(t, err)
	require.Equal(t, "172.30.0.12 10.244.2.0/24", fmt.Sprint(two.IP, " ", two.Pods))

	pod := two.Pods.Addr().Next().Next()
	nettest.Run(t, nodes[1], "ip addr add "+pod.String()+"/32 dev lo") // as if it had one
	for _, c := range []struct {
		name, from, to string
		dst, seen      netip.Addr // seen: the source that the server sees
	}{
		{"node to node", nodes[0], nodes[1], two.IP, one.IP},
		{"node to control", nodes[0], lab.ControlNS(), lab.ControlIP(), one.IP},
		{"control to node", lab.ControlNS(), nodes[1], two.IP, lab.ControlIP()},
		{"control to a node's pod", lab.ControlNS(), nodes[1], pod, lab.ControlIP()},
		{"node to outside", nodes[1], lab.OutsideNS(), lab.ClientIP(), two.IP},
		{"outside to node", lab.OutsideNS(), nodes[0], one.IP, lab.ClientIP()},
		{"control to outside", lab.ControlNS(), lab.OutsideNS(), lab.ClientIP(), lab.ControlIP()},
	} {
		require.Equal(t, c.seen, nettest.Talk(t, c.from, c.to, c.dst), c.name)
	}
}

func TestBuildAgainChangesNothingAndCompletesWhatIsMissing(t *testing.T) {
	ctx, trail := nettest.WithTrail(context.Background())
	dir := t.TempDir()
	lab, _ := build(t, ctx, dir, 1)
	require.NotEmpty(t, trail.Lines(t))
	build(t, ctx, dir, 1)
	require.Empty(t, trail.Lines(t))

	nettest.Run(t, lab.UnderlayNS(), "ip link del n-1")
	nettest.Run(t, lab.GatewayNS(), "ip addr flush dev eth1")
	require.NoError(t, netns.Delete(lab.OutsideNS()), "a whole namespace is gone")
	lab, nodes := build(t, ctx, dir, 1)
	one, err := lab.Addrs(1)
	require.NoError(t, err)
	require.Equal(t, one.IP, nettest.Talk(t, nodes[0], lab.OutsideNS(), lab.ClientIP()))

	require.NoError(t, lab.RemoveNode(ctx, 1))
	require.NoError(t, lab.RemoveNode(ctx, 1))
	require.NoError(t, topology.Destroy(lab.Dir))
	require.NoError(t, topology.Destroy(lab.Dir))
	require.NoDirExists(t, lab.Dir)
	require.NoError(t, lab.RemoveNode(ctx, 1), "without a lab")
}

func TestBadConfig(t *testing.T) {
	ctx := context.Background()
	_, err := topology.Build(ctx, topology.Config{Dir: "relative"})
	require.ErrorContains(t, err, "not absolute")
	_, err = topology.Build(ctx, topology.Config{Dir: "/x", Underlay: netip.MustParsePrefix("10.244.0.0/24")})
	require.ErrorContains(t, err, "overlap")
	_, err = topology.Build(ctx, topology.Config{Dir: "/x", Pods: netip.MustParsePrefix("fd00::/64")})
	require.ErrorContains(t, err, "not IPv4")
	_, err = topology.Build(ctx, topology.Config{Dir: "/x", Pods: netip.MustParsePrefix("10.0.0.0/24")})
	require.ErrorContains(t, err, "too small")
	lab := &topology.Lab{Config: topology.Config{Underlay: netip.MustParsePrefix("172.30.0.0/24"), Pods: netip.MustParsePrefix("10.244.0.0/22")}}
	_, err = lab.Addrs(4)
	require.ErrorIs(t, err, topology.ErrNoRoom)
	_, err = lab.Addrs(0)
	require.ErrorIs(t, err, topology.ErrNoRoom)
	lab.Pods = netip.MustParsePrefix("10.244.0.0/16")
	_, err = lab.Addrs(244)
	require.NoError(t, err)
	_, err = lab.Addrs(245)
	require.ErrorIs(t, err, topology.ErrNoRoom)
}

func BenchmarkThreeNodes(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		lab, nodes := build(b, context.Background(), dir, 3)
		b.StopTimer()
		for _, n := range nodes {
			require.NoError(b, netns.Delete(n))
		}
		require.NoError(b, topology.Destroy(lab.Dir))
		b.StartTimer()
	}
}
