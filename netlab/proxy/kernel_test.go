package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/labtest"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/topology"
)

// lab is two nodes with proxies: a client pod and the servers a and b on the
// first, the server c on the second. Each server answers on port 8080.
type lab struct {
	*labtest.Lab
	nodes   []string // namespaces
	proxies []*proxy.Proxy
	ns      map[string]string // of pods
	ip, ip6 map[string]netip.Addr
	six     []*proxy.Proxy // of IPv6, in a lab that has both families
}

func build(t *testing.T, v variant) *lab { return buildWith(t, v, labtest.Config{}) }

func buildWith(t *testing.T, v variant, c labtest.Config) *lab {
	t.Helper()
	ctx := context.Background()
	l := &lab{Lab: labtest.Build(t, 2, c), ns: map[string]string{}, ip: map[string]netip.Addr{}, ip6: map[string]netip.Addr{}}
	for i, pods := range [][]string{{"client", "a", "b"}, {"c"}} {
		n := l.Nodes[i]
		for _, pod := range pods {
			l.pod(t, n, pod)
		}
		p := &proxy.Proxy{Node: proxy.Node{Name: n.Name, IP: n.IP, Pods: node.Pods, Services: node.Services}, Net: n.Net, Backends: v.backends(n.Net)}
		require.NoError(t, p.SetMode(ctx, v.mode))
		t.Cleanup(p.Close)
		l.nodes, l.proxies = append(l.nodes, n.Path), append(l.proxies, p)
		if c.DualStack {
			p := &proxy.Proxy{Node: proxy.Node{Name: n.Name, IP: n.IP6, Pods: topology.Pods6, Services: node6.Services}, Net: n.Net, Backends: v.six(t).backends(n.Net)}
			require.NoError(t, p.SetMode(ctx, v.mode))
			t.Cleanup(p.Close)
			l.six = append(l.six, p)
		}
	}
	return l
}

func (l *lab) pod(t *testing.T, n *labtest.Node, name string) {
	path, ips := n.Pod(t, "default", name)
	l.ns[name], l.ip[name] = path, ips[0]
	if len(ips) > 1 {
		l.ip6[name] = ips[1]
		listenTCP(t, path, "[::]:8080", name)
	}
	if name != "client" {
		listenTCP(t, path, ":8080", name)
		listenUDP(t, path, ":8080", name)
	}
}

func (l *lab) sync(t *testing.T, s proxy.State) {
	t.Helper()
	for _, p := range l.proxies {
		require.NoError(t, p.Sync(context.Background(), s))
	}
}

// behind is the endpoints of the Service web at these pods.
func (l *lab) behind(pods ...string) proxy.Slice { return endpoints(l.ip, pods) }

func endpoints(at map[string]netip.Addr, pods []string) proxy.Slice {
	var places []string
	for _, pod := range pods {
		on := "node-1/"
		if pod == "c" {
			on = "node-2/"
		}
		places = append(places, on+at[pod].String())
	}
	return slice("web", places...)
}

// web is a Service with everything by which one can be reached.
func web() proxy.Service {
	s := service("web", "10.96.0.10")
	s.Ports[0].NodePort = 30080
	s.ExternalIPs, s.LoadBalancerIPs = ips("192.0.2.50"), ips("192.0.2.51")
	return s
}

// Packets down every path, and the addresses that both ends see. The outside's
// router sends external IPs to the first node.
func TestPackets(t *testing.T) {
	for _, v := range variants(t) {
		v.run(t, func(t *testing.T) {
			l := build(t, v)
			for _, addr := range []string{"192.0.2.50", "192.0.2.51"} {
				nettest.Run(t, l.GatewayNS(), "ip route add "+addr+" via 172.30.0.11")
				nettest.Run(t, l.OutsideNS(), "ip route add "+addr+" via 192.0.2.1")
			}
			local := web()
			local.ExternalLocal = true
			const one, two = "172.30.0.11", "172.30.0.12"
			bridge, tunnel := "10.244.1.1", "10.244.1.0" // the node, to its own pods and to others'
			client, outside := l.ip["client"].String(), l.ClientIP().String()
			for _, c := range []struct {
				name, from, to string
				svc            proxy.Service
				at, seen       string // who answers, and whom it sees
			}{
				{"cluster IP, same node", l.ns["client"], "10.96.0.10:80", web(), "a", client},
				{"cluster IP, other node", l.ns["client"], "10.96.0.10:80", web(), "c", client},
				{"cluster IP, own hairpin: as its node", l.ns["a"], "10.96.0.10:80", web(), "a", bridge},
				{"node to cluster IP, same node", l.nodes[0], "10.96.0.10:80", web(), "a", bridge},
				{"node to cluster IP, other node", l.nodes[0], "10.96.0.10:80", web(), "c", tunnel},
				{"outside to node port, same node: as the node", l.OutsideNS(), one + ":30080", web(), "a", bridge},
				{"outside to node port, other node: as the node", l.OutsideNS(), one + ":30080", web(), "c", tunnel},
				{"outside to node port, Local", l.OutsideNS(), one + ":30080", local, "a", outside},
				{"outside to node port of the other node, Local", l.OutsideNS(), two + ":30080", local, "c", outside},
				{"node to its own node port", l.nodes[0], one + ":30080", web(), "c", tunnel},
				{"node to its own node port, Local, which is not local", l.nodes[0], one + ":30080", local, "c", tunnel},
				{"node to its loopback", l.nodes[0], "127.0.0.1:30080", web(), "a", bridge},
				{"pod to node port, Local, which is not local", l.ns["client"], one + ":30080", local, "c", client},
				{"outside to external IP", l.OutsideNS(), "192.0.2.50:80", web(), "a", bridge},
				{"outside to load balancer, Local", l.OutsideNS(), "192.0.2.51:80", local, "a", outside},
			} {
				l.sync(t, state(c.svc, l.behind(c.at)))
				got, err := ask(c.from, c.to)
				if strings.HasPrefix(c.to, "127.") && v.mode != proxy.IPTables {
					require.ErrorContains(t, err, syscall.ECONNREFUSED.Error(), "only the mode iptables takes packets of the loopback")
					continue
				}
				require.NoError(t, err, c.name)
				if v.mode == proxy.IPVS && strings.HasPrefix(c.name, "node to its own node port, Local") {
					c.seen = one // with policy Local ipvs changes no source
				}
				require.Equal(t, []string{c.at, c.seen, l.ip[c.at].String(), c.to},
					[]string{got.name, got.seen.String(), got.at.String(), got.from.String()}, c.name)
			}
			l.refused(t, v.mode, outside)
		})
	}
}

// refused: packets that have nowhere to go are answered, or lost.
func (l *lab) refused(t *testing.T, mode proxy.Mode, outside string) {
	local, inside, guarded := web(), web(), web()
	local.ExternalLocal, inside.InternalLocal = true, true
	guarded.SourceRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	for _, c := range []struct {
		name, from, to string
		svc            proxy.Service
		pods           []string
		refused        bool
	}{
		{"no endpoints", l.ns["client"], "10.96.0.10:80", web(), nil, true},
		{"no endpoints, from the node", l.nodes[0], "10.96.0.10:80", web(), nil, true},
		{"no endpoints, node port", l.OutsideNS(), "172.30.0.11:30080", web(), nil, true},
		{"Local on the wrong node", l.OutsideNS(), "172.30.0.12:30080", local, []string{"a"}, false},
		{"internal Local on the wrong node", l.ns["client"], "10.96.0.10:80", inside, []string{"c"}, false},
		{"not in the source ranges", l.OutsideNS(), "192.0.2.51:80", guarded, []string{"a"}, false},
	} {
		l.sync(t, state(c.svc, l.behind(c.pods...)))
		limit := time.Second // for what is lost
		if c.refused {
			limit = time.Minute
		}
		got, err := askFor(c.from, c.to, limit)
		if mode == proxy.IPVS && strings.HasPrefix(c.name, "internal Local") {
			require.Equal(t, "c", got.name, "ipvs takes any endpoint if there is none here, as kube-proxy does")
			continue
		}
		require.Error(t, err, c.name)
		require.Equal(t, c.refused, strings.Contains(err.Error(), syscall.ECONNREFUSED.Error()), "%s: %v", c.name, err)
	}
	guarded.SourceRanges = append(guarded.SourceRanges, netip.MustParsePrefix(outside+"/24"))
	l.sync(t, state(guarded, l.behind("a")))
	got, err := ask(l.OutsideNS(), "192.0.2.51:80")
	require.NoError(t, err)
	require.Equal(t, "a", got.name)
}

// All endpoints have their share; with affinity a client stays where it is.
func TestEveryEndpointHasItsShare(t *testing.T) {
	for _, v := range variants(t) {
		v.run(t, func(t *testing.T) {
			l := build(t, v)
			count := func() map[string]int {
				seen := map[string]int{}
				for range 60 {
					got, err := ask(l.ns["client"], "10.96.0.10:80")
					require.NoError(t, err)
					seen[got.name]++
				}
				return seen
			}
			l.sync(t, state(web(), l.behind("a", "b", "c")))
			require.Len(t, count(), 3, "one of three is missed by 60 packets once in ten thousand million times")
			sticky := web()
			sticky.Affinity = 3600 // longer than a busy machine takes between two of them
			l.sync(t, state(sticky, l.behind("a", "b", "c")))
			require.Len(t, count(), 1)
		})
	}
}

// A flow over UDP goes on to a new endpoint when its own is gone: the kernel
// would remember the old one for as long as packets come.
func TestUDPFlowsAreForgotten(t *testing.T) {
	l := build(t, variants(t)[0])
	svc := web()
	svc.Ports[0].Protocol = "UDP"
	behind := func(pod string) proxy.State {
		s := l.behind(pod)
		s.Ports[0].Protocol = "UDP"
		return state(svc, s)
	}
	l.sync(t, behind("a"))
	c := dialUDP(t, l.ns["client"])
	for range 2 {
		got, err := c.ask("10.96.0.10:80")
		require.NoError(t, err)
		require.Equal(t, []string{"a", l.ip["client"].String()}, []string{got.name, got.seen.String()})
	}
	l.sync(t, behind("c"))
	got, err := c.ask("10.96.0.10:80")
	require.NoError(t, err)
	require.Equal(t, "c", got.name, "from the same port")
}

// damages are what somebody may do to the rules of a mode.
func damages(v variant) []string {
	iptables := "XTABLES_LOCKFILE=" + v.tool.Lock + " " + strings.TrimSuffix(v.tool.Restore, "-restore") + " "
	switch v.mode {
	case proxy.NFTables:
		return []string{
			"nft flush chain ip kube-proxy services", "nft flush map ip kube-proxy service-ips", "nft delete table ip kube-proxy",
			"nft add rule ip kube-proxy services accept", "nft flush chain ip kube-proxy nat-output && nft delete chain ip kube-proxy nat-output",
			"nft add chain ip kube-proxy service-X/left/over && nft add rule ip kube-proxy service-X/left/over accept",
		}
	case proxy.IPVS:
		return []string{iptables + "-t nat -F KUBE-SERVICES", "ip addr del 10.96.0.10/32 dev kube-ipvs0", "ip link del kube-ipvs0"}
	}
	list := []string{"-t nat -F", "-F KUBE-FORWARD", "-t nat -D OUTPUT 1", "-t nat -A KUBE-SERVICES -j ACCEPT", "-t nat -N KUBE-SEP-LEFTOVER"}
	for i := range list {
		list[i] = iptables + list[i]
	}
	return list
}

// Whatever somebody does to the rules, and wherever a proxy was killed, its
// successor repairs it, and touches nothing that is right.
func TestRepair(t *testing.T) {
	for _, v := range variants(t) {
		v.run(t, func(t *testing.T) {
			l := build(t, v)
			p, s := l.proxies[0], state(web(), l.behind("a"))
			l.sync(t, s)
			for _, damage := range damages(v) {
				intact, err := p.Intact(context.Background())
				require.NoError(t, err)
				require.True(t, intact, "before %s", damage)
				nettest.Run(t, l.nodes[0], damage)
				intact, err = p.Intact(context.Background())
				require.NoError(t, err)
				require.False(t, intact, "after %s", damage)

				ctx, trail := nettest.WithTrail(context.Background())
				successor := &proxy.Proxy{Node: p.Node, Net: p.Net, Backends: p.Backends}
				require.NoError(t, successor.SetMode(ctx, v.mode))
				require.NoError(t, successor.Sync(ctx, s))
				require.NotEmpty(t, trail.Lines(t))
				require.NoError(t, successor.Sync(ctx, s))
				require.Empty(t, trail.Lines(t))
				require.NoError(t, p.Sync(ctx, s))
				for _, line := range trail.Lines(t) { // it looked, and all was well, or a chain has been empty for long enough
					require.Contains(t, line, "\ndelete chain ip kube-proxy service-X/left/over\nEOF", "after %s", damage)
				}
				_, err = ask(l.ns["client"], "10.96.0.10:80")
				require.NoError(t, err, "after %s", damage)
			}
		})
	}
}

// In the mode nftables packets to a cluster IP that nobody has are dropped, in
// all networks of Services that there are now.
func TestClusterIPOfNobody(t *testing.T) {
	all := variants(t)
	l := build(t, all[slices.IndexFunc(all, func(v variant) bool { return v.mode == proxy.NFTables })])
	ranges := []netip.Prefix{netip.MustParsePrefix("10.112.0.0/24"), netip.MustParsePrefix("10.112.2.0/24")}
	for _, more := range [][]netip.Prefix{nil, ranges, ranges[:1]} {
		for _, p := range l.proxies {
			p.Node.Services = append([]netip.Prefix{node.Services[0]}, more...)
		}
		l.sync(t, state(web(), l.behind("a")))
		for i, r := range ranges {
			limit := time.Minute
			if i < len(more) {
				limit = 300 * time.Millisecond
			}
			_, err := askFor(l.ns["client"], r.Addr().Next().String()+":80", limit)
			if i < len(more) {
				var silence net.Error
				require.ErrorAs(t, err, &silence)
				require.True(t, silence.Timeout(), "%s with %s: %v", r, more, err)
				continue
			}
			require.ErrorIs(t, err, syscall.ENETUNREACH, "%s with %s: the gateway says so", r, more)
		}
		_, err := ask(l.ns["client"], "10.96.0.10:80")
		require.NoError(t, err)
	}
}

// The health check tells how many endpoints a node has; a port that is taken is
// warned of.
func TestHealthCheckNodePort(t *testing.T) {
	l := build(t, variants(t)[0])
	svc := web()
	svc.ExternalLocal, svc.HealthCheckNodePort = true, 31000
	var warnings []string
	l.proxies[1].Warn = func(_ context.Context, namespace, name, reason, message string) {
		warnings = append(warnings, namespace+"/"+name+" "+reason+" "+message)
	}
	taken := listenTCP(t, l.nodes[1], ":31000", "stranger")
	l.sync(t, state(svc, l.behind("a", "b")))
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], `default/web FailedToStartServiceHealthcheck node node-2 failed to start healthcheck "default/web" on port 31000: `)
	require.NoError(t, taken.Close())
	l.sync(t, state(svc, l.behind("a", "b")))

	client := &http.Client{Transport: &http.Transport{DialContext: netns.Dialer(l.OutsideNS()), DisableKeepAlives: true}}
	for i, want := range []struct{ code, endpoints int }{{200, 2}, {503, 0}} {
		res, err := client.Get(fmt.Sprintf("http://172.30.0.1%d:31000/healthz", i+1))
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, want.code, res.StatusCode)
		require.JSONEq(t, fmt.Sprintf(`{"service":{"namespace":"default","name":"web"},"localEndpoints":%d,"serviceProxyHealthy":true}`, want.endpoints), string(body))
	}
	l.sync(t, proxy.State{})
	_, err := ask(l.OutsideNS(), "172.30.0.11:31000")
	require.ErrorContains(t, err, syscall.ECONNREFUSED.Error())
}

// A node port at which a process of the node listens is the Service's as long as
// there is that Service, which is warned of it once.
func TestNodePortInUse(t *testing.T) {
	for _, v := range variants(t) {
		v.run(t, func(t *testing.T) {
			l := build(t, v)
			var warnings []string
			l.proxies[1].Warn = func(_ context.Context, namespace, name, reason, message string) {
				warnings = append(warnings, namespace+"/"+name+" "+reason+" "+message)
			}
			listenTCP(t, l.nodes[1], ":30080", "stranger")
			answers := func(want string) {
				t.Helper()
				require.Eventually(t, func() bool {
					got, err := ask(l.OutsideNS(), "172.30.0.12:30080")
					return err == nil && (got.name == want) == (want == "stranger")
				}, time.Minute, 20*time.Millisecond, want)
			}
			answers("stranger")
			svc := web()
			for range 2 {
				l.sync(t, state(svc, l.behind("a", "b")))
			}
			require.Len(t, warnings, 1)
			require.Contains(t, warnings[0], "default/web NodePortInUse a process of node node-2 listens at port 30080 (TCP) itself")
			answers("a pod")
			l.sync(t, proxy.State{})
			answers("stranger")
		})
	}
}
