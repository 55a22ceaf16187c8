package trace_test

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

func (l *lab) follow(t testing.TB, from, to, proto string) (trace.Way, *trace.Capture) {
	t.Helper()
	return l.followFor(t, from, to, proto, 0)
}

// followFor is follow with another patience: servers of the test, and the
// forwarder of the backend udp, are as slow as a busy machine has them.
func (l *lab) followFor(t testing.TB, from, to, proto string, patience time.Duration) (trace.Way, *trace.Capture) {
	t.Helper()
	w, c, err := l.tracer.Follow(context.Background(), trace.Ask{From: from, To: l.addr(to), Proto: proto, Patience: patience})
	require.NoError(t, err)
	return w, c
}

// inSix are the addresses of IPv6 in the place of those of IPv4.
var inSix = map[string]string{"10.96.0.10": "fd00:10:96::10", "172.30.0.11": "fd00:172:30::b", "172.30.0.12": "fd00:172:30::c",
	"192.0.2.10": "2001:db8:192::a", "192.0.2.50": "2001:db8:192::50", "192.0.2.1": "2001:db8:192::1", "10.244.2.77": "fd00:10:244:2::77"}

// addr turns "a:8080" into the address of the pod, and addresses into those of
// the lab's family.
func (l *lab) addr(to string) netip.AddrPort {
	name, port, _ := strings.Cut(to, ":")
	ip, ok := l.ip[name]
	switch {
	case ok:
	case l.six:
		ip = netip.MustParseAddr(inSix[name])
	default:
		ip = netip.MustParseAddr(name)
	}
	n, _ := strconv.Atoi(port)
	return netip.AddrPortFrom(ip, uint16(n))
}

// path is a way that packets take: who sends to whom, over which Service, and
// the namespaces of nodes that it passes. Answer is the outcome.
type path struct {
	name     string
	from, to string
	proto    string
	service  func(*proxy.Service)
	pods     []string // behind the Service
	has      []string // each is a layer or verdict that must be in the list
	outcome  string   // "answered", if it is not said
}

var paths = []path{
	{name: "pod to pod, same node", from: "pod/default/client", to: "a:8080", proto: "tcp"},
	{name: "pod to pod, other node", from: "pod/default/client", to: "b:8080", proto: "tcp", has: []string{"encap", "decap"}},
	{name: "ClusterIP, same node", from: "pod/default/client", to: "10.96.0.10:80", proto: "tcp", pods: []string{"a"}, has: []string{"dnat"}},
	{name: "ClusterIP, other node", from: "pod/default/client", to: "10.96.0.10:80", proto: "tcp", pods: []string{"b"}, has: []string{"dnat", "encap"}},
	{name: "hairpin", from: "pod/default/a", to: "10.96.0.10:80", proto: "tcp", pods: []string{"a"}, has: []string{"dnat", "masquerade"}},
	{name: "NodePort with SNAT", from: "outside", to: "172.30.0.11:30080", proto: "tcp", pods: []string{"b"}, has: []string{"dnat", "masquerade", "mark"}},
	{name: "NodePort, Local", from: "outside", to: "172.30.0.12:30080", proto: "tcp", pods: []string{"b"},
		service: func(s *proxy.Service) { s.ExternalLocal = true }, has: []string{"dnat"}},
	{name: "load balancer", from: "outside", to: "192.0.2.50:80", proto: "tcp", pods: []string{"a"},
		service: func(s *proxy.Service) { s.LoadBalancerIPs = []netip.Addr{balanced(s)} }, has: []string{"dnat"}},
	{name: "pod to outside", from: "pod/default/client", to: "192.0.2.10:8080", proto: "tcp", has: []string{"masquerade"}},
	{name: "node to pod", from: "node-1", to: "b:8080", proto: "tcp", has: []string{"encap"}},
	{name: "node to Service", from: "node-1", to: "10.96.0.10:80", proto: "tcp", pods: []string{"b"}, has: []string{"dnat"}},
	{name: "pod to its node", from: "pod/default/client", to: "172.30.0.11:8080", proto: "tcp"},
	{name: "pod to another node", from: "pod/default/client", to: "172.30.0.12:8080", proto: "tcp", has: []string{"masquerade"}},
	{name: "node to node", from: "node-1", to: "172.30.0.12:8080", proto: "tcp"},
	{name: "UDP, same node", from: "pod/default/client", to: "a:8080", proto: "udp"},
	{name: "UDP, other node", from: "pod/default/client", to: "b:8080", proto: "udp", has: []string{"encap"}},
	{name: "UDP to a Service", from: "pod/default/client", to: "10.96.0.10:80", proto: "udp", pods: []string{"b"}, has: []string{"dnat"}},
	{name: "ping, other node", from: "pod/default/client", to: "b", proto: "icmp", has: []string{"encap"}},
	{name: "ping the outside", from: "pod/default/b", to: "192.0.2.10", proto: "icmp", has: []string{"masquerade"}},
}

// Every hop list is held against tcpdump in every namespace, link by link, and
// against the counters of iptables, rule by rule.
func TestPaths(t *testing.T) {
	_, err := exec.LookPath("tcpdump")
	require.NoError(t, err, "the lists are held against tcpdump's: install the package tcpdump")
	for _, mode := range []proxy.Mode{proxy.IPTables, proxy.NFTables, proxy.IPVS} {
		t.Run(string(mode), func(t *testing.T) {
			if mode == proxy.IPVS && !hasIPVS(t) {
				return
			}
			buildIn(t, mode, overlay.VXLAN).paths(t, paths)
		})
	}
}

// Everything is as well with IPv6: the same paths, with other addresses.
func TestPathsOfIPv6(t *testing.T) {
	for _, mode := range proxy.Modes() {
		t.Run(string(mode), func(t *testing.T) {
			if mode == proxy.IPVS && !hasIPVS(t) {
				return
			}
			buildSix(t, mode).paths(t, unwrapped(paths))
		})
	}
}

// unwrapped are paths on which nothing is wrapped.
func unwrapped(paths []path) (list []path) {
	for _, p := range paths {
		p.has = slices.DeleteFunc(slices.Clone(p.has), func(s string) bool { return strings.HasSuffix(s, "cap") })
		list = append(list, p)
	}
	return list
}

// hasIPVS tells whether this kernel has the mode ipvs; one that has not says so.
func hasIPVS(t *testing.T) bool {
	tool, err := firewall.Detect(context.Background())
	require.NoError(t, err)
	b := &proxy.IPVSBackend{Tool: tool, Net: nettest.Open(t, nettest.Namespace(t, "try"))}
	err = b.Prepare(context.Background())
	if err != nil {
		require.ErrorIs(t, err, proxy.ErrNoIPVS)
	}
	return err == nil
}

// The same over the other backends, on the paths between nodes.
func TestPathsOverBackends(t *testing.T) {
	for _, kind := range []string{overlay.HostGW, overlay.UDP} {
		t.Run(kind, func(t *testing.T) {
			l := build(t)
			l.backend(t, kind)
			var between []path
			for _, p := range paths {
				if slices.Contains([]string{"pod to pod, other node", "ClusterIP, other node", "NodePort with SNAT", "UDP, other node", "ping, other node"}, p.name) {
					p.has = slices.DeleteFunc(slices.Clone(p.has), func(s string) bool { return kind == overlay.HostGW && strings.HasSuffix(s, "cap") })
					between = append(between, p)
				}
			}
			l.paths(t, between)
		})
	}
}

// Pods of the backend bgp have no bridge: each has a pair of links to the node,
// which answers ARP for the gateway that nobody has, and a route of its own.
func TestPathsOfRoutedPods(t *testing.T) {
	l := buildIn(t, proxy.IPTables, overlay.BGP)
	l.paths(t, unwrapped(paths))
	w, _ := l.follow(t, "pod/default/client", "a:8080", "tcp")
	text := strings.Join(trace.Lines(w.Hops), "\n")
	require.Equal(t, "answered", w.Outcome, text)
	has := func(what string, is func(step.Hop) bool) {
		require.True(t, slices.ContainsFunc(w.Hops, is), "%s is not in\n%s", what, text)
	}
	has("the gateway's MAC", func(h step.Hop) bool {
		return h.Neigh != nil && h.NS == "pod/default/client" && h.Neigh.Key == "169.254.1.1" && h.Neigh.Found == "ee:ee:ee:ee:ee:ee" && h.Neigh.State != "PERMANENT"
	})
	has("the pod's own route", func(h step.Hop) bool {
		return h.Route != nil && h.NS == "node-1" && h.Route.Dst == l.ip["a"].String()+"/32" && strings.HasPrefix(h.Route.Dev, "cali") && h.Route.Via == ""
	})
	has("the pod's link", func(h step.Hop) bool {
		return h.Layer == step.LayerLink && h.Dir == "out" && strings.HasPrefix(h.Iface, "cali") && h.Peer == "pod/default/a eth0"
	})
	w, _ = l.follow(t, "pod/default/client", "b:8080", "tcp")
	text = strings.Join(trace.Lines(w.Hops), "\n")
	has("the learned route", func(h step.Hop) bool {
		return h.Route != nil && h.NS == "node-1" && h.Route.Dst == "10.244.2.0/24" && h.Route.Via == "172.30.0.12" && h.Route.Proto == "bgp"
	})
	require.Contains(t, text, "proto bgp")
}

// backend changes how packets get to the other node.
func (l *lab) backend(t *testing.T, kind string) {
	ctx := context.Background()
	for i, n := range l.nodes {
		require.NoError(t, overlay.VTEP{IP: l.peers[i].IP, Subnet: l.peers[i].Subnet}.Down(ctx, n))
		var b overlay.Backend = overlay.Gateway{IP: l.peers[i].IP, Network: podsNet}
		if kind == overlay.UDP {
			tunnel := &overlay.Tunnel{IP: l.peers[i].IP, Subnet: l.peers[i].Subnet, Network: podsNet}
			t.Cleanup(func() { require.NoError(t, tunnel.Close()) })
			b = tunnel
		}
		require.NoError(t, b.Up(ctx, n))
		_, err := overlay.Sync(ctx, n, b, overlay.Kernel{Net: n}, l.peers, nil)
		require.NoError(t, err)
	}
	l.kind = kind
}

// balanced is the address of the load balancer, in the family of the Service.
func balanced(s *proxy.Service) netip.Addr {
	if s.ClusterIP.Is6() {
		return netip.MustParseAddr(inSix["192.0.2.50"])
	}
	return netip.MustParseAddr("192.0.2.50")
}

// surround has everybody serve, and routes to the load balancer's address.
func (l *lab) surround(t testing.TB) {
	l.serve(t, l.OutsideNS())
	for _, n := range l.nodes {
		l.serve(t, n.Path())
	}
	route := func(via string) string {
		return fmt.Sprintf("ip route add %s via %s", l.addr("192.0.2.50").Addr(), l.addr(via).Addr())
	}
	nettest.Run(t, l.GatewayNS(), route("172.30.0.11"))
	nettest.Run(t, l.OutsideNS(), route("192.0.2.1"))
}

func (l *lab) paths(t *testing.T, paths []path) {
	l.surround(t)
	for _, p := range paths { // everybody learns everybody's MAC
		l.web(t, p.service, p.pods...)
		l.followFor(t, p.from, p.to, p.proto, time.Minute)
	}
	dumps := map[string]*nettest.Dump{}
	for _, s := range l.tracer.Spaces() {
		dumps[s.Name] = startDump(t, s.Path)
	}
	var ways []trace.Way
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) { ways = append(ways, l.path(t, p)) })
	}
	for name, d := range dumps {
		lines := d.Stop(t)
		seen, around := once(places(lines)), outers(lines)
		for i, w := range ways {
			require.Subset(t, around, wrapped(w, name), "%s: %s", paths[i].name, name)
			list := once(ours(w, name))
			n := min(len(list), len(seen))
			require.Equal(t, seen[:n], list, "%s: %s\n%s", paths[i].name, name, strings.Join(trace.Lines(w.Hops), "\n"))
			seen = seen[n:]
		}
		require.Empty(t, seen, "%s: tcpdump has more", name)
	}
}

// counts are the rules that nothing else counts while a packet is under way.
// Neighbours of IPv6 find each other by ICMP, and those of an overlay of bridges
// in packets of the nodes.
func (l *lab) counts(proto string) func(rule string) bool {
	return func(rule string) bool {
		return len(l.singles) == 0 && (proto != "tcp" && !l.six || strings.HasPrefix(rule, "nat "))
	}
}

// quiet returns the counters of the nodes' rules when nothing counts any more: what
// ends earlier connections may be under way.
func (l *lab) quiet(t *testing.T) (now []map[string]int) {
	t.Helper()
	require.Eventually(t, func() bool {
		was := now
		now = []map[string]int{l.counters(t, l.nodes[0].Path()), l.counters(t, l.nodes[1].Path())}
		return reflect.DeepEqual(was, now)
	}, time.Minute, time.Millisecond)
	return now
}

// once leaves out what was there before: a packet that a busy machine sent
// again, after it gave up waiting for the answer.
func once(list []string) []string {
	unique, had := []string{}, map[string]bool{}
	for _, s := range list {
		if !had[s] {
			had[s] = true
			unique = append(unique, s)
		}
	}
	return unique
}

func (l *lab) path(t *testing.T, p path) trace.Way {
	l.web(t, p.service, p.pods...)
	l.tracer.SetNames(l.names(p.pods...))
	before := l.quiet(t)
	w, c := l.followFor(t, p.from, p.to, p.proto, time.Minute)
	text := strings.Join(trace.Lines(w.Hops), "\n")
	require.Equal(t, cmp.Or(p.outcome, "answered"), w.Outcome, text)
	for i, n := range l.nodes {
		sameRules(t, w, fmt.Sprint("node-", i+1), before[i], l.counters(t, n.Path()), l.counts(p.proto))
	}
	for _, want := range p.has {
		require.True(t, slices.ContainsFunc(w.Hops, func(h step.Hop) bool { return h.Layer == want || h.Verdict == want }), "no %s in\n%s", want, text)
	}
	l.predicted(t, c, w, step.AsPredicted)
	return w
}
