package policy_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/policy"
	"github.com/klab-project/klab/netlab/proxy"
)

// world is the pods of homes without labels, and policies.
func world(policies ...policy.Policy) (s policy.Snapshot) {
	for n := 1; n <= 2; n++ {
		s.Nodes = append(s.Nodes, policy.Node{Name: "node-" + string(rune('0'+n)), IPs: nodeAddrs(n)})
	}
	for i, h := range homes {
		s.Pods = append(s.Pods, policy.Pod{Namespace: h.namespace, Name: h.name, Node: h.node, IPs: []netip.Addr{podAddr(i)}, Labels: map[string]string{"name": h.name}})
	}
	s.Policies = policies
	return s
}

// deny isolates all pods of a namespace for ingress, but lets some peers in.
func deny(namespace string, but ...policy.Peer) policy.Policy {
	p := policy.Policy{Namespace: namespace, Name: "deny", Isolates: policy.Directions{Ingress: true}}
	if len(but) > 0 {
		p.Ingress = []policy.Rule{{Peers: but}}
	}
	return p
}

func named(name string) policy.Peer {
	return policy.Peer{Pods: &policy.Selector{Labels: map[string]string{"name": name}}}
}

func (l *lab) fate(t *testing.T, from, to end, protocol string, port int) fate {
	t.Helper()
	f, err := l.send(shot{from: from, to: to, Packet: policy.Packet{From: from.addrTo(to), To: to.addr(), Protocol: protocol, Port: port}})
	require.NoError(t, err)
	return f
}

// pod is one of homes, by name: p1 to p6.
func pod(name string) end { return end{pod: int(name[1] - '1')} }

// Whatever somebody does to the rules, and wherever an agent was killed, its
// successor repairs it, and touches nothing that is right or a stranger's. When
// there are no policies any more, nothing is left.
func TestRepair(t *testing.T) {
	for _, tool := range tools(t) {
		t.Run(tool.Backend, func(t *testing.T) {
			l, ctx := build(t, tool), context.Background()
			const stranger = "-s 198.51.100.7/32 -j DROP"
			l.iptables(t, 1, "-A FORWARD "+stranger)
			l.iptables(t, 1, "-N STRANGER")
			before, err := tool.Saved(ctx, l.nodes[0])
			require.NoError(t, err)
			s := world(deny("a", named("p2")))
			require.NoError(t, l.sync(s))
			for _, damage := range []string{
				"-F " + policy.First, "-D FORWARD 1", "-I FORWARD -j ACCEPT", "-D OUTPUT 1",
				"-A KUBE-POD-FW-LEFTOVER -j DROP", "-F",
			} {
				if strings.Contains(damage, "LEFTOVER") {
					l.iptables(t, 1, "-N KUBE-POD-FW-LEFTOVER")
				}
				l.iptables(t, 1, damage)
				intact, err := l.guards[0].Intact(ctx)
				require.NoError(t, err)
				require.False(t, intact, damage)
				trailed, trail := nettest.WithTrail(ctx)
				successor := &policy.Guard{Node: "node-1", Hands: l.guards[0].Hands}
				require.NoError(t, successor.Sync(trailed, s))
				require.Len(t, trail.Lines(t), 1, damage)
				require.NoError(t, successor.Sync(trailed, s))
				require.NoError(t, l.guards[0].Sync(trailed, s))
				require.Empty(t, trail.Lines(t), "it looked, and all was well")
				require.Equal(t, rejected, l.fate(t, pod("p3"), pod("p1"), "TCP", 80), "after %s", damage)
				require.Equal(t, answered, l.fate(t, pod("p2"), pod("p1"), "TCP", 80), "after %s", damage)
			}
			l.iptables(t, 1, "-A FORWARD "+stranger)
			require.NoError(t, l.sync(world()))
			after, err := tool.Saved(ctx, l.nodes[0])
			require.NoError(t, err)
			require.Equal(t, firewall.Parse(before)["filter"], firewall.Parse(after)["filter"])
			require.Equal(t, answered, l.fate(t, pod("p3"), pod("p1"), "TCP", 80))
		})
	}
}

// Each change is a step with the text as its detail.
func TestChangesAreSteps(t *testing.T) {
	l := build(t, tools(t)[0])
	ctx, trail := nettest.WithTrail(context.Background())
	g := &policy.Guard{Node: "node-1", Hands: policy.Steps(l.guards[0].Hands, "network-policies", "node-1")}
	require.NoError(t, g.Sync(ctx, world()))
	require.Empty(t, trail.Events(t), "nothing is isolated, and nothing was")
	require.NoError(t, g.Sync(ctx, world(deny("b"))))
	events := trail.Events(t)
	require.Equal(t, step.PolicySync, events[0].Verb)
	var d step.PolicyDetail
	require.NoError(t, events[0].Decode(&d))
	require.Equal(t, []string{"b/p3"}, d.Pods)
	require.Equal(t, 1, d.Policies)
	require.Contains(t, d.Text, `--comment "pod b/p3 is isolated: no NetworkPolicy allows this ingress"`)
	require.NoError(t, g.Sync(ctx, world(deny("b"), policy.Policy{Namespace: "b", Name: "open", Isolates: policy.Directions{Ingress: true}, Ingress: []policy.Rule{{}}})))
	var next step.PolicyDetail
	require.NoError(t, trail.Events(t)[0].Decode(&next))
	require.False(t, next.Whole)
	require.NotContains(t, next.Text, "FORWARD", "only what changed")
}

// A connection that was allowed goes on under a policy that would not have
// allowed it; a new one is not made.
func TestConnectionsGoOn(t *testing.T) {
	l := build(t, tools(t)[0])
	require.NoError(t, l.sync(world()))
	server, err := netns.Listen(context.Background(), l.paths[pod("p1")], "tcp4", ":9000")
	require.NoError(t, err)
	defer server.Close()
	client, err := netns.Dialer(l.paths[pod("p6")])(context.Background(), "tcp4", podAddr(0).String()+":9000")
	require.NoError(t, err)
	defer client.Close()
	conn, err := server.Accept()
	require.NoError(t, err)
	defer conn.Close()
	say := func(from, to net.Conn) {
		t.Helper()
		_, err := from.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, to.SetReadDeadline(time.Now().Add(patience)))
		_, err = to.Read(make([]byte, 1))
		require.NoError(t, err)
	}
	say(client, conn)
	require.NoError(t, l.sync(world(deny("a"))))
	say(client, conn)
	say(conn, client)
	require.Equal(t, rejected, l.fate(t, pod("p6"), pod("p1"), "TCP", 80))
	require.Equal(t, answered, l.fate(t, pod("p1"), pod("p6"), "TCP", 80), "replies come back")
}

// modes are the proxy modes that this kernel has.
func (l *lab) modes(t *testing.T) (list []proxy.Mode) {
	t.Helper()
	for _, m := range proxy.Modes() {
		if l.proxy(t, 1).SetMode(context.Background(), m) == nil {
			list = append(list, m)
		}
	}
	require.Contains(t, list, proxy.IPTables)
	return list
}

// proxy is one of a node, from 1.
func (l *lab) proxy(t *testing.T, node int) *proxy.Proxy {
	n := l.nodes[node-1]
	p := &proxy.Proxy{
		Node: proxy.Node{Name: l.guards[node-1].Node, IP: nodeAddrs(node)[0], Pods: netip.MustParsePrefix("10.244.0.0/16"),
			Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}},
		Net: n, Backends: map[proxy.Mode]proxy.Backend{
			proxy.IPTables: &proxy.IPTablesBackend{Tool: l.tool, Net: n},
			proxy.NFTables: &proxy.NFTBackend{Net: n},
			proxy.IPVS:     &proxy.IPVSBackend{Tool: l.tool, Net: n, By: link.By{Actor: "test"}},
		},
	}
	t.Cleanup(p.Close)
	return p
}

// A Service is no way around a policy: who asks is judged as who asks, wherever
// the packet becomes one for an endpoint, and whatever the proxy accepts.
func TestServices(t *testing.T) {
	for _, tool := range tools(t) {
		t.Run(tool.Backend, func(t *testing.T) {
			l := build(t, tool)
			for _, m := range l.modes(t) {
				t.Run(string(m), func(t *testing.T) { l.services(t, m) })
			}
		})
	}
}

func (l *lab) services(t *testing.T, mode proxy.Mode) {
	ctx := context.Background()
	proxies := []*proxy.Proxy{l.proxy(t, 1), l.proxy(t, 2)}
	for _, p := range proxies {
		require.NoError(t, p.SetMode(ctx, mode))
	}
	svc := proxy.Service{Namespace: "a", Name: "web", ClusterIP: netip.MustParseAddr("10.96.0.10"),
		Ports: []proxy.Port{{Protocol: "TCP", Port: 80, NodePort: 30080}}}
	behind := func(to end) {
		t.Helper()
		for _, p := range proxies {
			require.NoError(t, p.Sync(ctx, proxy.State{Services: []proxy.Service{svc}, Slices: []proxy.Slice{{
				Namespace: "a", Service: "web", Ports: []proxy.SlicePort{{Protocol: "TCP", Port: 8080}},
				Endpoints: []proxy.Endpoint{{IP: to.addr(), Node: to.at(), Ready: true, Serving: true}}}}}))
		}
	}
	ask := func(from end, addr string, port int, to end) fate {
		t.Helper()
		f, err := l.send(shot{from: from, to: to, Packet: policy.Packet{To: netip.MustParseAddr(addr), Protocol: "TCP", Port: port}})
		require.NoError(t, err)
		return f
	}
	const cluster, node1 = "10.96.0.10", "172.30.0.11"
	require.NoError(t, l.sync(world(deny("a", named("p2")))))
	for _, to := range []end{pod("p1"), pod("p4")} {
		behind(to) // after the policies, and yet behind them
		require.Equal(t, answered, ask(pod("p2"), cluster, 80, to), "allowed, to %s", to)
		require.Equal(t, rejected, ask(pod("p3"), cluster, 80, to), "not allowed, from the first node to %s", to)
		require.Equal(t, rejected, ask(pod("p6"), cluster, 80, to), "not allowed, from the second node to %s", to)
		require.Equal(t, rejected, ask(end{pod: -1}, node1, 30080, to), "from outside, with masquerading, to %s", to)
		require.Equal(t, answered, ask(to, cluster, 80, to), "%s to itself, by hairpin", to)
	}
	require.Equal(t, answered, ask(end{node: 2, pod: -1}, cluster, 80, pod("p4")), "its own node")
	require.NoError(t, l.sync(world(deny("a", policy.Peer{Block: &policy.Block{CIDR: netip.PrefixFrom(outside, 32)}}))))
	behind(pod("p1"))
	require.Equal(t, answered, ask(end{pod: -1}, node1, 30080, pod("p1")), "an ipBlock is about who asks, on the node of the endpoint")
}
