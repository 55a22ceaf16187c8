package cni_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/topology"
)

// twoNodes are nodes of a lab, each with the networks of single containers.
func twoNodes(t *testing.T) (attach func(node int, mode, name string, ports ...cni.PortMapping) (cni.PodNet, netip.Addr, error)) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	lab, err := topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net"), Underlay: netip.MustParsePrefix("172.30.0.0/24"), Pods: netip.MustParsePrefix("10.244.0.0/16")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, topology.Destroy(filepath.Join(dir, "net"))) })
	var nodes []*cni.PodNetwork
	var peers []netip.Addr
	for i := 1; i <= 2; i++ {
		ns := nettest.Namespace(t, fmt.Sprint("node-", i))
		addrs, err := lab.AddNode(ctx, topology.Node{N: i, Name: fmt.Sprint("node-", i), NetNS: ns})
		require.NoError(t, err)
		peers = append(peers, addrs.IP)
		nodes = append(nodes, &cni.PodNetwork{Runner: &cni.Runner{Plugins: cni.Builtin(ns, link.By{}), Cache: filepath.Join(dir, fmt.Sprint("results-", i))}})
	}
	return func(node int, mode, name string, ports ...cni.PortMapping) (cni.PodNet, netip.Addr, error) {
		p := pod(t, name)
		p.Ports = ports
		p.Network, err = cni.Mode(mode, cni.ModeConfig{
			Number: node, Uplink: "eth0", Underlay: netip.MustParsePrefix("172.30.0.0/24"), IP: peers[node-1], Peers: peers,
			MTU: 1500, DataDir: filepath.Join(dir, fmt.Sprint("networks-", node)),
		})
		require.NoError(t, err)
		ips, err := nodes[node-1].Attach(ctx, p)
		if err != nil || len(ips) == 0 {
			return p, netip.Addr{}, err
		}
		t.Cleanup(func() { require.NoError(t, nodes[node-1].Detach(ctx, p)) })
		return p, ips[0], nil
	}
}

func TestBridgeModeHidesContainersBehindTheNode(t *testing.T) {
	attach := twoNodes(t)
	a, ip, err := attach(1, "bridge", "a")
	require.NoError(t, err)
	require.Equal(t, "172.17.0.2", ip.String())
	b, same, err := attach(2, "bridge", "b")
	require.NoError(t, err)
	require.Equal(t, ip, same, "each node has a bridge network of its own")
	c, cIP, err := attach(1, "bridge", "c")
	require.NoError(t, err)
	require.Equal(t, ip, nettest.Talk(t, a.NetNS, c.NetNS, cIP))
	wire, wireIP, err := attach(1, "macvlan", "wire") // of the other node: a node does not hear its own children
	require.NoError(t, err)
	require.Equal(t, "172.30.0.12", nettest.Talk(t, b.NetNS, wire.NetNS, wireIP).String(), "it comes as its node")
}

func TestBridgeModePublishesPorts(t *testing.T) {
	attach := twoNodes(t)
	a, ip, err := attach(1, "bridge", "a", cni.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	require.NoError(t, err)
	wire, wireIP, err := attach(2, "macvlan", "wire")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := netns.Listen(ctx, a.NetNS, "tcp", netip.AddrPortFrom(ip, 80).String())
	require.NoError(t, err)
	defer l.Close()
	out, err := netns.Dialer(wire.NetNS)(ctx, "tcp", "172.30.0.11:8080")
	require.NoError(t, err)
	defer out.Close()
	in, err := l.Accept()
	require.NoError(t, err)
	defer in.Close()
	require.Contains(t, in.RemoteAddr().String(), wireIP.String(), "it sees who calls")
}

func TestOverlayModeIsOneNetworkOverNodes(t *testing.T) {
	attach := twoNodes(t)
	a, ipA, err := attach(1, "overlay", "a")
	require.NoError(t, err)
	b, ipB, err := attach(2, "overlay", "b")
	require.NoError(t, err)
	require.Equal(t, "10.0.1.2 10.0.2.2", fmt.Sprint(ipA, " ", ipB))
	require.Equal(t, ipA, nettest.Talk(t, a.NetNS, b.NetNS, ipB))
	require.Contains(t, nettest.Run(t, a.NetNS, "ip neigh"), "10.0.2.2", "it is on the same wire")
}

func TestMacvlanIsOnTheWireOfTheNodes(t *testing.T) {
	attach := twoNodes(t)
	a, ipA, err := attach(1, "macvlan", "a")
	require.NoError(t, err)
	b, ipB, err := attach(2, "macvlan", "b")
	require.NoError(t, err)
	require.Equal(t, "172.30.0.100 172.30.0.103", fmt.Sprint(ipA, " ", ipB))
	require.Equal(t, ipA, nettest.Talk(t, a.NetNS, b.NetNS, ipB))
	require.Contains(t, nettest.Run(t, a.NetNS, "ip -d link show eth0"), "macvlan mode bridge")
	_, ipC, err := attach(1, "macvlan", "c")
	require.NoError(t, err)
	require.Equal(t, "172.30.0.101", ipC.String())
}

func TestNoneModeHasOnlyLoopback(t *testing.T) {
	attach := twoNodes(t)
	a, _, err := attach(1, "none", "a")
	require.NoError(t, err)
	require.Equal(t, "1", nettest.Run(t, a.NetNS, "ip -o link | wc -l"))
	_, err = cni.Mode("token-ring", cni.ModeConfig{})
	require.EqualError(t, err, `there is no network mode "token-ring": use host, bridge, none, overlay, macvlan, ipvlan`)
}

// Where the kernel has no ipvlan, the error says so.
func TestIpvlanSharesTheNodesHardwareAddress(t *testing.T) {
	attach := twoNodes(t)
	a, ip, err := attach(1, "ipvlan", "a")
	if err != nil {
		require.ErrorIs(t, err, link.ErrNoKind)
		return
	}
	b, _, err := attach(2, "ipvlan", "b")
	require.NoError(t, err)
	nettest.Talk(t, b.NetNS, a.NetNS, ip)
}
