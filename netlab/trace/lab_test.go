package trace_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/topology"
	"github.com/klab-project/klab/netlab/trace"
)

// lab is two nodes with proxies: a client pod and the server a on the first,
// the server b on the second, and a tracer that knows everything of it.
type lab struct {
	*topology.Lab
	tool    *firewall.Tool
	nodes   []*link.Net
	proxies []*proxy.Proxy
	peers   []overlay.Peer
	ns      map[string]string // of pods
	ip      map[string]netip.Addr
	tracer  *trace.Tracer
}

var podsNet, servicesNet = netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/12")

func build(t testing.TB) *lab { return buildIn(t, proxy.IPTables, overlay.VXLAN) }

// buildIn is build with another mode of the proxies, or backend. That of bgp
// has pods that are routed.
func buildIn(t testing.TB, mode proxy.Mode, backend string) *lab {
	t.Helper()
	nettest.NeedRoot(t)
	ctx, dir := context.Background(), t.TempDir()
	if t, ok := t.(*testing.T); ok {
		leak.Check(t, dir)
	}
	tool, err := firewall.Detect(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, topology.Destroy(filepath.Join(dir, "net"))) })
	top, err := topology.Build(ctx, topology.Config{Dir: filepath.Join(dir, "net")})
	require.NoError(t, err)
	l := &lab{Lab: top, tool: tool, ns: map[string]string{}, ip: map[string]netip.Addr{}}
	spaces := []trace.Space{
		{Name: "underlay", Path: top.UnderlayNS()}, {Name: "gateway", Path: top.GatewayNS()},
		{Name: "control", Path: top.ControlNS()}, {Name: "outside", Path: top.OutsideNS()},
	}
	for i, pods := range [][]string{{"client", "a"}, {"b"}} {
		name := fmt.Sprint("node-", i+1)
		path, root := nettest.Namespace(t, name), filepath.Join(dir, name)
		at, err := top.AddNode(ctx, topology.Node{N: i + 1, Name: name, NetNS: path})
		require.NoError(t, err)
		require.NoError(t, cni.WriteConflist(filepath.Join(root, "net.d"), cni.NodeConfig{Pods: at.Pods, DataDir: root, MTU: 1450, Routed: backend == overlay.BGP}))
		network := &cni.PodNetwork{ConfDir: filepath.Join(root, "net.d"), Runner: &cni.Runner{
			Plugins: cni.Builtin(path, link.By{}), Cache: filepath.Join(root, "results")}}
		spaces = append(spaces, trace.Space{Name: name, Path: path, Node: name})
		for _, pod := range pods {
			l.pod(t, network, dir, pod)
			spaces = append(spaces, trace.Space{Name: "pod/default/" + pod, Path: l.ns[pod], Node: name, Pod: "default/" + pod})
		}
		l.peers = append(l.peers, overlay.Peer{Node: name, IP: at.IP, Subnet: at.Pods})
		n := nettest.Open(t, path)
		p := &proxy.Proxy{Node: proxy.Node{Name: name, IP: at.IP, Pods: podsNet, Services: servicesNet}, Net: n, Backends: map[proxy.Mode]proxy.Backend{
			proxy.IPTables: &proxy.IPTablesBackend{Tool: tool, Net: n}, proxy.NFTables: &proxy.NFTBackend{Net: n}}}
		require.NoError(t, p.SetMode(ctx, mode))
		t.Cleanup(p.Close)
		l.nodes, l.proxies = append(l.nodes, n), append(l.proxies, p)
	}
	for i, n := range l.nodes {
		if other := l.peers[1-i]; backend == overlay.BGP { // what a speaker learns, see netlab/overlay
			require.NoError(t, n.Route(ctx, link.Route{Dst: other.Subnet, Via: other.IP, Dev: "eth0", Proto: "bgp"}))
			continue
		}
		require.NoError(t, overlay.VTEP{IP: l.peers[i].IP, Subnet: l.peers[i].Subnet}.Sync(ctx, n, nil, l.peers))
	}
	l.tracer = &trace.Tracer{Home: top.GatewayNS(), Tool: tool}
	t.Cleanup(func() { require.NoError(t, l.tracer.Close()) })
	require.NoError(t, l.tracer.Set(spaces))
	return l
}

func (l *lab) pod(t testing.TB, network *cni.PodNetwork, dir, name string) {
	path := filepath.Join(dir, "pod-"+name)
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	ips, err := network.Attach(context.Background(), cni.PodNet{SandboxID: name, Namespace: "default", Name: name, NetNS: path})
	require.NoError(t, err)
	l.ns[name], l.ip[name] = path, ips[0]
	serve(t, path)
}

// serve answers on TCP port 8080, and echoes datagrams to it.
func serve(t testing.TB, path string) {
	ctx := context.Background()
	s, err := netns.Listen(ctx, path, "tcp4", ":8080")
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	u, err := netns.ListenPacket(ctx, path, "udp4", ":8080")
	require.NoError(t, err)
	t.Cleanup(func() { u.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(b[:n], from)
		}
	}()
}

// web is the Service 10.96.0.10:80 and NodePort 30080 of these pods.
func (l *lab) web(t testing.TB, change func(*proxy.Service), pods ...string) {
	t.Helper()
	s := proxy.State{Services: []proxy.Service{{Namespace: "default", Name: "web", ClusterIP: netip.MustParseAddr("10.96.0.10"),
		Ports: []proxy.Port{
			{Name: "http", Protocol: "TCP", Port: 80, NodePort: 30080},
			{Name: "udp", Protocol: "UDP", Port: 80},
		}}}}
	if change != nil {
		change(&s.Services[0])
	}
	slice := proxy.Slice{Namespace: "default", Service: "web", Ports: []proxy.SlicePort{
		{Name: "http", Protocol: "TCP", Port: 8080}, {Name: "udp", Protocol: "UDP", Port: 8080}}}
	for _, pod := range pods {
		node := "node-1"
		if pod == "b" {
			node = "node-2"
		}
		slice.Endpoints = append(slice.Endpoints, proxy.Endpoint{IP: l.ip[pod], Node: node, Ready: true, Serving: true})
	}
	if len(pods) > 0 {
		s.Slices = append(s.Slices, slice)
	}
	for _, p := range l.proxies {
		require.NoError(t, p.Sync(context.Background(), s))
	}
}

var veths = regexp.MustCompile(`veth[0-9a-f]+`)
