package trace_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// cluster is what a lab's names are, for packets that need them.
type cluster struct{ endpoints []netip.AddrPort }

var webService = &step.Object{Resource: "services", Namespace: "default", Name: "web"}

func (cluster) Chain(name, comment string) *step.Object {
	if strings.HasPrefix(name, "KUBE-NWPLCY-") {
		return &step.Object{Resource: "networkpolicies.networking.k8s.io", Namespace: "default", Name: "deny"}
	}
	return nil
}

// Address knows the nodes' ends of the overlay.
func (cluster) Address(a netip.Addr) *step.Object {
	if a.Is6() {
		return nil
	}
	if b := a.As4(); b[0] == 10 && b[1] == 244 && b[3] == 0 {
		return &step.Object{Resource: "nodes", Name: fmt.Sprint("node-", b[2])}
	}
	return nil
}

// names are the lab's with these pods behind the Service.
func (l *lab) names(pods ...string) cluster {
	c := cluster{}
	for _, pod := range pods {
		c.endpoints = append(c.endpoints, netip.AddrPortFrom(l.ip[pod], 8080))
	}
	return c
}

func (c cluster) Endpoints(at netip.AddrPort, proto string) (*step.Object, bool, []netip.AddrPort) {
	switch at.Addr().String() {
	case "10.96.0.10", "192.0.2.50", inSix["10.96.0.10"], inSix["192.0.2.50"]:
		return webService, at.Port() == 80, c.endpoints
	case "172.30.0.11", "172.30.0.12", inSix["172.30.0.11"], inSix["172.30.0.12"]:
		if at.Port() == 30080 {
			return webService, true, c.endpoints
		}
	}
	return nil, false, nil
}

// loss is a way to lose a packet: what is broken in which namespace, what is
// sent, and where and why it must end.
type loss struct {
	name       string
	in         string // namespace: "node-1", "a"
	breaks     string // a command line
	mends      string
	from, to   string
	proto      string
	pods       []string // behind the Service
	outcome    string
	reason, at string
	says       string // part of the sentence or the evidence
	forecast   string // how it compares with the prediction; "": it differs where it ends
}

const hairpin = `for l in $(ip -o link show master cni0 | sed 's/^[0-9]*: \([^@]*\)@.*/\1/'); do bridge link set dev $l hairpin `

var losses = []loss{
	{name: "a rule drops it", in: "node-1", breaks: "iptables -I FORWARD -p tcp --dport 8080 -j DROP", mends: "iptables -D FORWARD 1",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonRule, at: "node-1", says: "FORWARD"},
	{name: "a chain's policy drops it", in: "node-2", breaks: "iptables -P FORWARD DROP; iptables -I FORWARD -j RETURN", mends: "iptables -P FORWARD ACCEPT; iptables -D FORWARD 1",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonPolicy, at: "node-2"},
	{name: "a rule rejects it", in: "node-1", breaks: "iptables -I FORWARD -p tcp --dport 8080 -j REJECT", mends: "iptables -D FORWARD 1",
		from: "client", to: "b:8080", outcome: "refused", reason: trace.ReasonReject, at: "node-1"},
	{name: "a NetworkPolicy", in: "node-2", breaks: "iptables -N KUBE-NWPLCY-X; iptables -A KUBE-NWPLCY-X -d 10.244.2.2 -j DROP; iptables -I FORWARD -j KUBE-NWPLCY-X",
		mends: "iptables -D FORWARD 1; iptables -F KUBE-NWPLCY-X; iptables -X KUBE-NWPLCY-X",
		from:  "client", to: "b:8080", outcome: "lost", reason: trace.ReasonNetworkPolicy, at: "node-2"},
	{name: "no endpoints", forecast: step.AsPredicted, from: "client", to: "10.96.0.10:80", outcome: "refused", reason: trace.ReasonNoEndpoints, at: "node-1"},
	{name: "no such port of the Service", forecast: step.AsPredicted, from: "client", to: "10.96.0.10:81", pods: []string{"a"}, reason: trace.ReasonServicePort},
	{name: "nothing leads to the rules of Services", forecast: step.DiffersTarget, in: "node-1", breaks: "iptables -t nat -D PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES",
		mends: "iptables -t nat -I PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES",
		from:  "client", to: "10.96.0.10:80", pods: []string{"a"}, reason: trace.ReasonServiceRules, says: "node-1"},
	{name: "no route", in: "node-1", breaks: "ip route del default; ip route del 10.244.2.0/24", mends: "ip route add default via 172.30.0.1; ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
		from: "client", to: "b:8080", outcome: "refused", reason: trace.ReasonNoRoute, at: "node-1"},
	{name: "a black hole", in: "node-1", breaks: "ip route add blackhole 10.244.2.2", mends: "ip route del blackhole 10.244.2.2",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonBlackhole, at: "node-1"},
	{name: "an unreachable route", in: "node-1", breaks: "ip route add unreachable 10.244.2.2", mends: "ip route del unreachable 10.244.2.2",
		from: "client", to: "b:8080", outcome: "refused", reason: trace.ReasonUnreachable, at: "node-1"},
	{name: "rp_filter", in: "node-2", breaks: "sysctl -qw net.ipv4.conf.flannel/1.rp_filter=1 net.ipv4.conf.all.rp_filter=1; ip route replace 10.244.1.0/24 via 172.30.0.11",
		mends: "sysctl -qw net.ipv4.conf.flannel/1.rp_filter=0 net.ipv4.conf.all.rp_filter=0; ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink",
		from:  "client", to: "b:8080", outcome: "lost", reason: trace.ReasonRPFilter, at: "node-2", says: "rp_filter"},
	{name: "ip_forward off", in: "node-1", breaks: "sysctl -qw net.ipv4.ip_forward=0", mends: "sysctl -qw net.ipv4.ip_forward=1",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonForwardOff, at: "node-1"},
	{name: "no such pod", forecast: step.AsPredicted, from: "client", to: "10.244.2.77:80", outcome: "lost", reason: trace.ReasonNoSuchPod, at: "node-2"},
	{name: "no ARP entry", in: "node-1", breaks: "ip neigh del 10.244.2.0 dev flannel.1", mends: "ip neigh replace 10.244.2.0 lladdr 0a:58:0a:f4:02:00 dev flannel.1 nud permanent",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonARP, at: "node-1", says: "10.244.2.0"},
	{name: "the MAC of another", forecast: step.DiffersNeighbour, in: "node-2", breaks: "ip neigh replace 10.244.2.2 lladdr 02:00:00:00:00:01 dev cni0 nud permanent", mends: "ip neigh del 10.244.2.2 dev cni0",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonMAC, at: "node-2", says: "node-2 sends packets for 10.244.2.2 to the MAC 02:00:00:00:00:01"},
	{name: "the MAC of another, by a Service", in: "node-1", breaks: "ip neigh replace 10.244.1.3 lladdr 02:00:00:00:00:01 dev cni0 nud permanent", mends: "ip neigh del 10.244.1.3 dev cni0",
		from: "client", to: "10.96.0.10:80", pods: []string{"a"}, outcome: "lost", reason: trace.ReasonMAC, at: "node-1", says: "02:00:00:00:00:01 PERMANENT"},
	{name: "no FDB entry", in: "node-1", breaks: "bridge fdb del 0a:58:0a:f4:02:00 dev flannel.1", mends: "bridge fdb replace 0a:58:0a:f4:02:00 dev flannel.1 dst 172.30.0.12 self permanent",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonFDB, at: "node-1"},
	{name: "VXLAN down", in: "node-2", breaks: "ip link set flannel.1 down", mends: "ip link set flannel.1 up; ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink; ip neigh replace 10.244.1.0 lladdr 0a:58:0a:f4:01:00 dev flannel.1 nud permanent",
		from: "client", to: "b:8080", reason: trace.ReasonVXLAN, at: "node-2"},
	{name: "a cable is cut", in: "underlay", breaks: "ip link set n-2 down", mends: "ip link set n-2 up; until bridge link show dev n-2 | grep -q 'state forwarding'; do sleep 0.01; done",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonLinkDown},
	{name: "nobody listens", forecast: step.AsPredicted, from: "client", to: "b:81", outcome: "refused", reason: trace.ReasonNoListener, at: "pod/default/b"},
	{name: "nobody listens to datagrams", forecast: step.AsPredicted, from: "client", to: "b:81", proto: "udp", outcome: "refused", reason: trace.ReasonNoListener, at: "pod/default/b"},
	{name: "bridge-nf off", forecast: step.DiffersSource, in: "node-1", breaks: "sysctl -qw net.bridge.bridge-nf-call-iptables=0", mends: "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
		from: "client", to: "10.96.0.10:80", pods: []string{"a"}, outcome: "lost", reason: trace.ReasonBridgeNF, says: "bridge-nf-call-iptables on node-1 is 0"},
	{name: "no hairpin", in: "node-1", breaks: hairpin + "off; done", mends: hairpin + "on; done",
		from: "a", to: "10.96.0.10:80", pods: []string{"a"}, outcome: "lost", reason: trace.ReasonHairpin, at: "node-1"},
	{name: "a device's own rule, on the way in", in: "underlay", breaks: netdev("ingress", "n-1", "drop"), mends: "nft delete table netdev sieve",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonLinkLoss, at: "underlay", says: "rule 2 of chain holes of table netdev sieve drops everything at n-1"},
	{name: "on the way out", in: "underlay", breaks: netdev("egress", "n-2", "counter drop"), mends: "nft delete table netdev sieve",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonLinkLoss, at: "underlay", says: "at n-2 of underlay (egress)"},
	{name: "out of a node", in: "node-1", breaks: netdev("egress", "eth0", "udp dport 8472 drop"), mends: "nft delete table netdev sieve",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonLinkLoss, at: "node-1", says: "udp dport 8472 drop"},
	{name: "into a pod", in: "pod/default/b", breaks: netdev("ingress", "eth0", "tcp dport 8080 drop"), mends: "nft delete table netdev sieve",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonLinkLoss, at: "pod/default/b", says: "table netdev sieve"},
	{name: "out of a pod", in: "pod/default/client", breaks: netdev("egress", "eth0", "tcp dport 8080 drop"), mends: "nft delete table netdev sieve",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonLinkLoss, at: "pod/default/client", says: "table netdev sieve"},
}

// netdev makes a table of a device's own rules, of which the first is harmless.
func netdev(hook, dev, rule string) string {
	return fmt.Sprintf("nft add table netdev sieve; nft add chain netdev sieve holes '{ type filter hook %s device \"%s\" priority 0; policy accept; }'; "+
		"nft add rule netdev sieve holes ip saddr 192.0.2.99 accept; nft add rule netdev sieve holes '%s'", hook, dev, rule)
}

// For each way to lose a packet the list ends where it was lost, and says why.
func TestLosses(t *testing.T) {
	l := build(t)
	for _, x := range losses {
		t.Run(x.name, func(t *testing.T) { l.lose(t, x) })
	}
	w, _ := l.follow(t, "pod/default/client", "b:8080", "tcp")
	require.Equal(t, "answered", w.Outcome, "everything is mended")
}

func (l *lab) lose(t *testing.T, x loss) trace.Way {
	require.Eventually(t, func() bool { // what was mended before is so, and neighbours have found each other again
		w, _ := l.follow(t, "pod/default/client", "b:8080", "tcp")
		return w.Outcome == "answered"
	}, time.Minute, time.Millisecond)
	l.tracer.SetNames(l.names(x.pods...))
	l.web(t, nil, x.pods...)
	if x.breaks != "" {
		spaces := l.tracer.Spaces()
		in := spaces[slices.IndexFunc(spaces, func(s trace.Space) bool { return s.Name == x.in })].Path
		nettest.Run(t, in, x.breaks)
		defer nettest.Run(t, in, x.mends)
	}
	proto := x.proto
	if proto == "" {
		proto = "tcp"
	}
	w, c := l.follow(t, "pod/default/"+x.from, x.to, proto)
	for end := time.Now().Add(time.Minute); x.outcome == "lost" && w.Outcome == "refused" && time.Now().Before(end); {
		w, c = l.follow(t, "pod/default/"+x.from, x.to, proto) // who looks seconds later hears that no neighbour has answered
	}
	text := strings.Join(trace.Lines(w.Hops), "\n")
	require.NotNil(t, w.Drop, "%s\n%s", w.Outcome, text)
	require.Equal(t, x.reason, w.Drop.Reason, "%s: %s\n%s", w.Drop.Says, w.Drop.Evidence, text)
	if x.outcome != "" {
		require.Equal(t, x.outcome, w.Outcome, text)
	}
	i := slices.IndexFunc(w.Hops, func(h step.Hop) bool { return h.Layer == step.LayerDrop })
	require.GreaterOrEqual(t, i, 0)
	if x.at != "" {
		require.Equal(t, x.at, w.Hops[i].NS, text)
	}
	l.forecast(t, x, c, w)
	require.Contains(t, w.Drop.Says+strings.Join(w.Drop.Evidence, "\n"), x.says)
	return w
}

// Each mode of the proxy has a way of its own to turn packets away from a
// Service that nobody is behind.
func TestNoEndpointsInEachMode(t *testing.T) {
	for _, mode := range []proxy.Mode{proxy.NFTables, proxy.IPVS} {
		t.Run(string(mode), func(t *testing.T) {
			if mode == proxy.IPVS && !hasIPVS(t) {
				return
			}
			l := buildIn(t, mode, overlay.VXLAN)
			l.web(t, nil)
			l.tracer.SetNames(l.names())
			for _, to := range []string{"10.96.0.10:80", "172.30.0.12:30080"} {
				w, _ := l.follow(t, "pod/default/client", to, "tcp")
				text := strings.Join(trace.Lines(w.Hops), "\n")
				require.Equal(t, "refused", w.Outcome, text)
				require.Equal(t, trace.ReasonNoEndpoints, w.Drop.Reason, text)
				require.Equal(t, webService, w.Drop.Object, text)
				require.Contains(t, w.Drop.Says, "default/web has no endpoints")
			}
		})
	}
}
