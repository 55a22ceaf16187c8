package cni_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/topology"
)

// visit opens a connection from one namespace to an address of the node, and
// returns who a server on the pod's port 8080 sees.
func visit(t *testing.T, from, pod, addr string) (netip.Addr, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := netns.Listen(ctx, pod, "tcp4", ":8080")
	require.NoError(t, err)
	defer l.Close()
	c, err := netns.Dialer(from)(ctx, "tcp4", addr)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	s, err := l.Accept()
	require.NoError(t, err)
	defer s.Close()
	return s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), nil
}

// Packets to a port of the node reach the pod from everywhere, with the source
// that they must have for the answer to find its way; afterwards nothing is
// left, and the ports of other pods were never touched.
func TestPortMap(t *testing.T) {
	nettest.NeedRoot(t)
	ctx, dir := context.Background(), t.TempDir()
	t.Cleanup(func() { require.NoError(t, topology.Destroy(filepath.Join(dir, "net"))) })
	lab, err := topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net")})
	require.NoError(t, err)
	network, ns := node(t, "10.244.1.0/24")
	_, err = lab.AddNode(ctx, topology.Node{N: 1, Name: "node-1", NetNS: ns})
	require.NoError(t, err)
	before := nettest.Run(t, ns, "iptables-save -t nat | grep -v '^[#:]'")

	web, other := pod(t, "web"), pod(t, "other")
	web.Ports = []cni.PortMapping{{HostPort: 8000, ContainerPort: 8080, Protocol: "tcp"}, {HostPort: 8053, ContainerPort: 53, Protocol: "udp"}}
	other.Ports = []cni.PortMapping{{HostPort: 8000, ContainerPort: 8080, Protocol: "tcp", HostIP: "127.0.0.1"}}
	otherIP, err := network.Attach(ctx, other)
	require.NoError(t, err)
	webIP, err := network.Attach(ctx, web)
	require.NoError(t, err)

	for _, c := range []struct{ name, from, pod, addr, seen string }{
		{"outside", lab.OutsideNS(), web.NetNS, "172.30.0.11:8000", "192.0.2.10"},
		{"another pod of the node: as the node", other.NetNS, web.NetNS, "172.30.0.11:8000", "10.244.1.1"},
		{"itself: as the node", web.NetNS, web.NetNS, "172.30.0.11:8000", "10.244.1.1"},
		{"the node", ns, web.NetNS, "172.30.0.11:8000", "172.30.0.11"},
		{"the node's loopback, which is the other's", ns, other.NetNS, "127.0.0.1:8000", "10.244.1.1"},
	} {
		seen, err := visit(t, c.from, c.pod, c.addr)
		require.NoError(t, err, c.name)
		require.Equal(t, c.seen, seen.String(), c.name)
	}
	saved := nettest.Run(t, ns, "iptables-save -t nat")
	require.Contains(t, saved, "-j DNAT --to-destination "+webIP[0].String()+":53")
	require.Contains(t, saved, "-j DNAT --to-destination "+otherIP[0].String()+":8080")

	ctx, trail := nettest.WithTrail(ctx)
	again, err := network.Attach(ctx, web)
	require.NoError(t, err)
	require.Equal(t, webIP, again)
	require.Empty(t, trail.Lines(t))
	list, err := cni.Load(network.ConfDir)
	require.NoError(t, err)
	call := cni.Call{ContainerID: web.SandboxID, IfName: "eth0", NetNS: web.NetNS}
	require.NoError(t, network.Runner.Check(ctx, list, call))
	nettest.Run(t, ns, "iptables -t nat -F CNI-HOSTPORT-DNAT")
	require.ErrorContains(t, network.Runner.Check(ctx, list, call), "--dports 8000 -j CNI-DN-")

	require.NoError(t, os.Remove(filepath.Join(network.ConfDir, cni.ConflistFile)), "what ADD had counts")
	for range 2 {
		require.NoError(t, network.Detach(ctx, web))
		require.NoError(t, network.Detach(ctx, other))
	}
	_, err = visit(t, lab.OutsideNS(), web.NetNS, "172.30.0.11:8000")
	require.True(t, errors.Is(err, syscall.ECONNREFUSED), "%v", err)
	saved = nettest.Run(t, ns, "iptables-save -t nat | grep -v '^[#:]'")
	require.NotContains(t, saved, "CNI-DN-")
	require.Subset(t, strings.Split(saved, "\n"), strings.Split(before, "\n"))
}

// A pod of both families has its ports on the node's addresses of both.
func TestPortMapOfBothFamilies(t *testing.T) {
	nettest.NeedRoot(t)
	ctx, dir := context.Background(), t.TempDir()
	t.Cleanup(func() { require.NoError(t, topology.Destroy(filepath.Join(dir, "net"))) })
	lab, err := topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net"), DualStack: true})
	require.NoError(t, err)
	ns := nettest.Namespace(t, "node")
	addrs, err := lab.AddNode(ctx, topology.Node{N: 1, Name: "node-1", NetNS: ns})
	require.NoError(t, err)
	for _, routed := range []bool{false, true} {
		conf := filepath.Join(dir, "net.d")
		require.NoError(t, cni.SwitchConflist(conf, cni.NodeConfig{Pods: addrs.Pods, Pods6: addrs.Pods6, DataDir: filepath.Join(dir, "networks"), MTU: 1430, Routed: routed}))
		network := &cni.PodNetwork{ConfDir: conf, Runner: &cni.Runner{Plugins: cni.Builtin(ns, link.By{}), Cache: filepath.Join(dir, "results")}}
		web := pod(t, map[bool]string{false: "web", true: "web-routed"}[routed])
		web.Ports = []cni.PortMapping{{HostPort: 8000, ContainerPort: 8080, Protocol: "tcp"},
			{HostPort: 8001, ContainerPort: 8080, Protocol: "tcp", HostIP: addrs.IP6.String()}}
		ips, err := network.Attach(ctx, web)
		require.NoError(t, err)
		for _, port := range []uint16{8000, 8001} {
			require.Equal(t, lab.ClientIP6(), visit6(t, lab.OutsideNS(), web.NetNS, netip.AddrPortFrom(addrs.IP6, port)))
		}
		seen, err := visit(t, lab.OutsideNS(), web.NetNS, netip.AddrPortFrom(addrs.IP, 8000).String())
		require.NoError(t, err)
		require.Equal(t, lab.ClientIP(), seen)
		require.Contains(t, nettest.Run(t, ns, "ip6tables-save -t nat"), "--to-destination ["+ips[1].String()+"]:8080")
		require.NotContains(t, nettest.Run(t, ns, "iptables-save -t nat"), "8001")
		list, err := cni.Load(conf)
		require.NoError(t, err)
		call := cni.Call{ContainerID: web.SandboxID, IfName: "eth0", NetNS: web.NetNS}
		require.NoError(t, network.Runner.Check(ctx, list, call))
		nettest.Run(t, ns, "ip6tables -t nat -F CNI-HOSTPORT-DNAT")
		require.ErrorContains(t, network.Runner.Check(ctx, list, call), "--dports 8000")
		require.NoError(t, network.Detach(ctx, web))
		require.NotContains(t, nettest.Run(t, ns, "iptables-save -t nat; ip6tables-save -t nat; ip -6 neigh show proxy"), "CNI-DN-")
		require.NotContains(t, nettest.Run(t, ns, "ip -6 route; ip -6 neigh show proxy"), ips[1].String())
	}
}

// visit6 is visit over IPv6.
func visit6(t *testing.T, from, pod string, addr netip.AddrPort) netip.Addr {
	t.Helper()
	l, err := netns.Listen(t.Context(), pod, "tcp6", "[::]:8080")
	require.NoError(t, err)
	defer l.Close()
	c, err := netns.Dialer(from)(t.Context(), "tcp6", addr.String())
	require.NoError(t, err)
	defer c.Close()
	s, err := l.Accept()
	require.NoError(t, err)
	defer s.Close()
	return s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
}

func TestPortMapIsToldWhatIsWrong(t *testing.T) {
	ctx := context.Background()
	p := &cni.PortMap{By: link.By{}}
	call := func(text string) cni.Call {
		return cni.Call{ContainerID: "c", IfName: "eth0", Config: []byte(text)}
	}
	_, err := p.Add(ctx, call(`{"name":"n"}`))
	require.ErrorContains(t, err, "must be called as chained plugin")
	for text, want := range map[string]string{
		`{"hostPort":0,"containerPort":80}`:                                      "Invalid host port number: 0",
		`{"hostPort":80,"containerPort":-1}`:                                     "Invalid container port number: -1",
		`{"hostPort":80,"containerPort":80,"protocol":"tcp","hostIP":"a.b.c.d"}`: `host address "a.b.c.d" is none`,
		`{"hostPort":80,"containerPort":80,"protocol":["words"]}`:                "error unmarshall network config",
		`{"hostPort":80,"containerPort":80,"protocol":"smoke"}`:                  `protocol "smoke" is not tcp, udp or sctp`,
	} {
		_, err := p.Add(ctx, call(`{"name":"n","prevResult":{"cniVersion":"1.0.0"},"runtimeConfig":{"portMappings":[`+text+`]}}`))
		require.ErrorContains(t, err, want)
	}
}
