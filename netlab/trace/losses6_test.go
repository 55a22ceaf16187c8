package trace_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// losses6 are the ways to lose a packet of IPv6 that are its own, or that the
// kernel tells of in other words than those of IPv4.
var losses6 = []loss{
	{name: "a rule drops it", in: "node-1", breaks: "ip6tables -I FORWARD -p tcp --dport 8080 -j DROP", mends: "ip6tables -D FORWARD 1",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonRule, at: "node-1", says: "FORWARD"},
	{name: "a chain's policy drops it", in: "node-2", breaks: "ip6tables -P FORWARD DROP; ip6tables -I FORWARD -j RETURN", mends: "ip6tables -P FORWARD ACCEPT; ip6tables -D FORWARD 1",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonPolicy, at: "node-2"},
	{name: "a rule rejects it", in: "node-1", breaks: "ip6tables -I FORWARD -p tcp --dport 8080 -j REJECT --reject-with icmp6-adm-prohibited", mends: "ip6tables -D FORWARD 1",
		from: "client", to: "b:8080", outcome: "refused", reason: trace.ReasonReject, at: "node-1"},
	{name: "a NetworkPolicy", in: "node-2", breaks: "ip6tables -N KUBE-NWPLCY-X; ip6tables -A KUBE-NWPLCY-X -d fd00:10:244:2::2 -j DROP; ip6tables -I FORWARD -j KUBE-NWPLCY-X",
		mends: "ip6tables -D FORWARD 1; ip6tables -F KUBE-NWPLCY-X; ip6tables -X KUBE-NWPLCY-X",
		from:  "client", to: "b:8080", outcome: "lost", reason: trace.ReasonNetworkPolicy, at: "node-2"},
	{name: "no endpoints", forecast: step.AsPredicted, from: "client", to: "10.96.0.10:80", outcome: "refused", reason: trace.ReasonNoEndpoints, at: "node-1", says: "icmp6-port-unreachable"},
	{name: "no route", in: "node-1", breaks: "ip -6 route del default; ip route del fd00:10:244:2::/64", mends: "ip -6 route add default via fd00:172:30::1; ip route add fd00:10:244:2::/64 via fd00:172:30::c",
		from: "client", to: "b:8080", outcome: "refused", reason: trace.ReasonNoRoute, at: "node-1", says: "ICMPv6 no route"},
	{name: "no route at all", in: "pod/default/client", breaks: "ip -6 route del default", mends: "ip -6 route add default via fd00:10:244:1::1",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonNoRoute, at: "pod/default/client"},
	{name: "a black hole", in: "node-1", breaks: "ip -6 route add blackhole fd00:10:244:2::2", mends: "ip -6 route del blackhole fd00:10:244:2::2",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonBlackhole, at: "node-1"},
	{name: "an unreachable route", in: "node-1", breaks: "ip -6 route add unreachable fd00:10:244:2::2", mends: "ip -6 route del unreachable fd00:10:244:2::2",
		from: "client", to: "b:8080", outcome: "refused", reason: trace.ReasonUnreachable, at: "node-1"},
	{name: "a prohibition", in: "node-1", breaks: "ip -6 route add prohibit fd00:10:244:2::2", mends: "ip -6 route del prohibit fd00:10:244:2::2",
		from: "client", to: "b:8080", outcome: "refused", reason: trace.ReasonProhibit, at: "node-1"},
	{name: "forwarding off", in: "node-1", breaks: "sysctl -qw net.ipv6.conf.all.forwarding=0", mends: "sysctl -qw net.ipv6.conf.all.forwarding=1",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonForwardOff, at: "node-1", says: "net.ipv6.conf.all.forwarding on node-1 is 0"},
	{name: "no such pod", forecast: step.AsPredicted, from: "client", to: "10.244.2.77:80", outcome: "lost", reason: trace.ReasonNoSuchPod, at: "node-2", says: "Neighbour Discovery asked"},
	{name: "no such node", in: "node-1", breaks: "ip route replace fd00:10:244:2::/64 via fd00:172:30::99 dev eth0", mends: "ip route replace fd00:10:244:2::/64 via fd00:172:30::c dev eth0",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonND, at: "node-1", says: "does not know the MAC of fd00:172:30::99 on eth0"},
	{name: "the MAC of another", forecast: step.DiffersNeighbour, in: "node-2", breaks: "ip neigh replace fd00:10:244:2::2 lladdr 02:00:00:00:00:01 dev cni0 nud permanent", mends: "ip neigh del fd00:10:244:2::2 dev cni0",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonMAC, at: "node-2", says: "node-2 sends packets for fd00:10:244:2::2 to the MAC 02:00:00:00:00:01"},
	{name: "a cable is cut", in: "underlay", breaks: "ip link set n-2 down", mends: "ip link set n-2 up; until bridge link show dev n-2 | grep -q 'state forwarding'; do sleep 0.01; done",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonLinkDown},
	{name: "nobody listens", forecast: step.AsPredicted, from: "client", to: "b:81", outcome: "refused", reason: trace.ReasonNoListener, at: "pod/default/b"},
	{name: "nobody listens to datagrams", forecast: step.AsPredicted, from: "client", to: "b:81", proto: "udp", outcome: "refused", reason: trace.ReasonNoListener, at: "pod/default/b", says: "ICMPv6 port unreachable"},
	{name: "bridge-nf off", forecast: step.DiffersSource, in: "node-1", breaks: "sysctl -qw net.bridge.bridge-nf-call-ip6tables=0", mends: "sysctl -qw net.bridge.bridge-nf-call-ip6tables=1",
		from: "client", to: "10.96.0.10:80", pods: []string{"a"}, outcome: "lost", reason: trace.ReasonBridgeNF, says: "bridge-nf-call-ip6tables on node-1 is 0"},
	{name: "no hairpin", in: "node-1", breaks: hairpin + "off; done", mends: hairpin + "on; done",
		from: "a", to: "10.96.0.10:80", pods: []string{"a"}, outcome: "lost", reason: trace.ReasonHairpin, at: "node-1"},
	{name: "a device's own rule", in: "underlay", breaks: netdev("ingress", "n-1", "ip6 nexthdr tcp drop"), mends: "nft delete table netdev sieve",
		from: "client", to: "b:8080", outcome: "lost", reason: trace.ReasonLinkLoss, at: "underlay", says: "ip6 nexthdr tcp drop"},
}

// For each way to lose a packet of IPv6 the list ends where it was lost, and
// says why.
func TestLossesOfIPv6(t *testing.T) {
	l := buildSix(t, proxy.IPTables)
	for _, x := range losses6 {
		t.Run(x.name, func(t *testing.T) { l.lose(t, x) })
	}
	w, _ := l.follow(t, "pod/default/client", "b:8080", "tcp")
	require.Equal(t, "answered", w.Outcome, "everything is mended")
}

// A packet that is too big is refused by the kernel that sends it, or by a router
// on its way, which says so: in IPv6 nobody else may cut it.
func TestTooBig(t *testing.T) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("six=%t", six), func(t *testing.T) {
			l := build4or6(t, six)
			nettest.Run(t, l.nodes[0].Path(), "ip link set eth0 mtu 1300")
			// 1350 bytes and their headers fit a pod's link, whatever the overlay takes
			for size, at := range map[int]string{1350: "node-1", 3000: "pod/default/client"} {
				w, _, err := l.tracer.Follow(context.Background(), trace.Ask{From: "pod/default/client", To: l.addr("172.30.0.12"), Proto: "icmp", Size: size})
				require.NoError(t, err)
				text := strings.Join(trace.Lines(w.Hops), "\n")
				require.NotNil(t, w.Drop, text)
				require.Equal(t, trace.ReasonMTU, w.Drop.Reason, "%s\n%s", w.Drop.Says, text)
				require.Equal(t, at, w.Hops[indexOf(w, step.LayerDrop)].NS, text)
			}
		})
	}
}

func build4or6(t *testing.T, six bool) *lab {
	if six {
		return buildSix(t, proxy.IPTables)
	}
	l := build(t)
	l.backend(t, overlay.HostGW)
	return l
}

func indexOf(w trace.Way, layer string) int {
	for i, h := range w.Hops {
		if h.Layer == layer {
			return i
		}
	}
	return -1
}
