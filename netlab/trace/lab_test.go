package trace_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/labtest"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/topology"
	"github.com/klab-project/klab/netlab/trace"
)

// lab is two nodes with proxies: a client pod and the server a on the first,
// the server b on the second, and a tracer that knows everything of it.
type lab struct {
	*labtest.Lab
	tool    *firewall.Tool
	nodes   []*link.Net
	proxies []*proxy.Proxy
	peers   []overlay.Peer
	six     bool              // what follows is of IPv6
	ns      map[string]string // of pods
	ip      map[string]netip.Addr
	tracer  *trace.Tracer
	kind    string         // of the overlay
	singles []trace.Single // containers that belong to no pod
	pings   int            // that somebody else has sent
}

var podsNet, servicesNet = netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/12")

func build(t testing.TB) *lab { return buildIn(t, proxy.IPTables, overlay.VXLAN) }

// buildIn is build with another mode of the proxies, or backend. That of bgp
// has pods that are routed.
func buildIn(t testing.TB, mode proxy.Mode, backend string) *lab {
	return buildWith(t, mode, backend, false)
}

// buildSix is a lab of both families of whose packets those of IPv6 are followed.
// They go from node to node by host routes, whatever those of IPv4 do.
func buildSix(t testing.TB, mode proxy.Mode) *lab {
	l := buildWith(t, mode, overlay.VXLAN, true)
	l.kind = overlay.HostGW
	for i, n := range l.Nodes {
		other := l.Nodes[1-i]
		require.NoError(t, n.Net.Route(context.Background(), link.Route{Dst: other.Pods6, Via: other.IP6, Dev: "eth0"}))
	}
	return l
}

func buildWith(t testing.TB, mode proxy.Mode, backend string, six bool) *lab {
	t.Helper()
	ctx := context.Background()
	tool, err := firewall.Detect(ctx)
	require.NoError(t, err)
	routed := backend == overlay.BGP
	l := &lab{kind: backend, Lab: labtest.Build(t, 2, labtest.Config{Routed: routed, DualStack: six}), tool: tool, six: six, ns: map[string]string{}, ip: map[string]netip.Addr{}}
	l.peers = l.Peers()
	spaces := []trace.Space{
		{Name: "underlay", Path: l.UnderlayNS()}, {Name: "gateway", Path: l.GatewayNS()},
		{Name: "control", Path: l.ControlNS()}, {Name: "outside", Path: l.OutsideNS()},
	}
	for i, pods := range [][]string{{"client", "a"}, {"b"}} {
		n := l.Nodes[i]
		spaces = append(spaces, trace.Space{Name: n.Name, Path: n.Path, Node: n.Name})
		for _, pod := range pods {
			path, ips := n.Pod(t, "default", pod)
			l.ns[pod], l.ip[pod] = path, ips[0]
			if six {
				l.ip[pod] = ips[1]
			}
			l.serve(t, path)
			spaces = append(spaces, trace.Space{Name: "pod/default/" + pod, Path: path, Node: n.Name, Pod: "default/" + pod})
		}
		p := &proxy.Proxy{Node: proxy.Node{Name: n.Name, IP: n.IP, Pods: podsNet, Services: []netip.Prefix{servicesNet}}, Net: n.Net, Backends: map[proxy.Mode]proxy.Backend{
			proxy.IPTables: &proxy.IPTablesBackend{Tool: tool, Net: n.Net}, proxy.NFTables: &proxy.NFTBackend{Net: n.Net},
			proxy.IPVS: &proxy.IPVSBackend{Tool: tool, Net: n.Net}}}
		if six {
			tool, err := tool.IPv6(ctx)
			require.NoError(t, err)
			p.Node = proxy.Node{Name: n.Name, IP: n.IP6, Pods: topology.Pods6, Services: []netip.Prefix{netip.MustParsePrefix("fd00:10:96::/112")}}
			p.Backends = map[proxy.Mode]proxy.Backend{
				proxy.IPTables: &proxy.IPTablesBackend{Tool: tool, Net: n.Net, IPv6: true}, proxy.NFTables: &proxy.NFTBackend{Net: n.Net, IPv6: true},
				proxy.IPVS: &proxy.IPVSBackend{Tool: tool, Net: n.Net, IPv6: true}}
		}
		require.NoError(t, p.SetMode(ctx, mode))
		t.Cleanup(p.Close)
		l.nodes, l.proxies = append(l.nodes, n.Net), append(l.proxies, p)
		if other := l.peers[1-i]; routed { // what a speaker learns, see netlab/overlay
			require.NoError(t, n.Net.Route(ctx, link.Route{Dst: other.Subnet, Via: other.IP, Dev: "eth0", Proto: "bgp"}))
		}
	}
	l.tracer = &trace.Tracer{Home: l.GatewayNS(), Tool: tool}
	t.Cleanup(func() { require.NoError(t, l.tracer.Close()) })
	require.NoError(t, l.tracer.Set(spaces))
	return l
}

// family is what networks of the lab's family end with: "tcp4".
func (l *lab) family() string {
	if l.six {
		return "6"
	}
	return "4"
}

// serve answers on TCP port 8080, and echoes datagrams to it.
func (l *lab) serve(t testing.TB, path string) {
	ctx, family := context.Background(), l.family()
	s, err := netns.Listen(ctx, path, "tcp"+family, ":8080")
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
	u, err := netns.ListenPacket(ctx, path, "udp"+family, ":8080")
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
	s := proxy.State{Services: []proxy.Service{{Namespace: "default", Name: "web", ClusterIP: l.addr("10.96.0.10").Addr(),
		Ports: []proxy.Port{
			{Name: "http", Protocol: "TCP", Port: 80, NodePort: 30080},
			{Name: "udp", Protocol: "UDP", Port: 80},
		}}}}
	if change != nil {
		change(&s.Services[0])
	}
	slice := proxy.Slice{Namespace: "default", Service: "web"}
	for _, p := range s.Services[0].Ports {
		slice.Ports = append(slice.Ports, proxy.SlicePort{Name: p.Name, Protocol: p.Protocol, Port: 8080})
	}
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
	l.tracer.SetWorld(l.world(s))
}
