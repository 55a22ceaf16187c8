package fault_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// death is a way to lose a packet: what is broken, by a card or by a command;
// what is sent; and what the tracer must say: the reason, and the place. Saw
// and unseen are namespaces in which tcpdump must have seen it, or must not.
type death struct {
	name          string
	ask           fault.Ask
	at, by, after string // a command, where, and its undoing
	from, to      string
	proto         string // "tcp" unless said
	size          int
	reason, place string
	saw, unseen   string
	evidence      string // a command at the place whose output must have this word in it
	word          string
}

// silent tells whether nobody says to whoever sent it that the packet is lost.
func (x death) silent() bool {
	return !slices.Contains([]string{"no-route", "no-listener", "no-endpoints", "reject"}, x.reason)
}

func deaths() []death {
	card := func(name, target string) fault.Ask {
		a := fault.Ask{Card: name, Target: target}
		if name == "drop" {
			a.Args = map[string]string{"share": "100"}
		}
		return a
	}
	const service = near
	return []death{
		{name: "the cable of a node is cut", ask: card("cut-link", "node-2"), to: "c", reason: "link-down", place: "underlay", saw: "node-1", unseen: "node-2", evidence: "ip link show n-2", word: "state DOWN"},
		{name: "the cable of a pod is cut", ask: card("cut-link", "client"), to: "a", reason: "link-down", place: "pod/default/client", unseen: "node-1", evidence: "ip link show eth0", word: "NO-CARRIER"},
		{name: "a cable loses packets", ask: card("drop", "node-2"), to: "c", reason: "link-loss", place: "underlay", saw: "node-1", unseen: "node-2", evidence: "nft list table netdev klab-drop-node-2", word: "drop"},
		{name: "the way is too narrow", ask: card("mtu", "node-1"), to: "c", proto: "icmp", size: 1400, reason: "link-loss", place: "node-1", saw: "node-1", unseen: "node-2", evidence: "ip link show eth0", word: "mtu 1500"},
		{name: "the forwarding entry is missing", ask: card("no-fdb", "node-1"), to: "c", reason: "fdb-missing", place: "node-1", saw: "node-1", unseen: "underlay", evidence: "bridge fdb show dev flannel.1; echo none", word: "none"},
		{name: "the ARP entry is missing", ask: card("no-arp", "node-1"), to: "c", reason: "arp-missing", place: "node-1", saw: "node-1", unseen: "underlay", evidence: "ip neigh show dev flannel.1; echo none", word: "none"},
		{name: "the MAC of the pod is another", ask: card("wrong-arp", "c"), to: "c", reason: "wrong-mac", place: "node-2", saw: "node-2", evidence: "ip neigh show dev cni0", word: "02:00:00:00:00:01 PERMANENT"},
		{name: "the tunnel is down", ask: card("vxlan-down", "node-1"), to: "c", reason: "no-route", place: "gateway", saw: "gateway", unseen: "node-2", evidence: "ip route get 10.244.2.2 2>&1 || true", word: "unreachable"},
		{name: "a black hole", ask: card("blackhole", "node-1"), to: "c", reason: "blackhole", place: "node-1", saw: "node-1", unseen: "underlay", evidence: "ip route", word: "blackhole 10.244.2.0/24"},
		{name: "the wrong way", ask: card("wrong-route", "node-1"), to: "c", reason: "no-route", place: "gateway", saw: "gateway", unseen: "node-2", evidence: "ip route get 10.244.2.2 2>&1 || true", word: "unreachable"},
		{name: "a firewall", ask: card("firewall", "node-2"), to: "c", reason: "rule", place: "node-2", saw: "underlay", unseen: "pod/default/c", evidence: "nft list table inet klab-firewall-node-2", word: "8472"},
		{name: "no default route", ask: card("no-default-route", "node-1"), to: "outside", reason: "no-route", place: "node-1", saw: "node-1", unseen: "underlay", evidence: "ip route show default; echo none", word: "none"},
		{name: "forwarding is off", ask: card("ip-forward", "node-1"), to: "c", reason: "ip-forward-off", place: "node-1", saw: "node-1", unseen: "underlay", evidence: "sysctl net.ipv4.ip_forward", word: "= 0"},
		{name: "the bridge is hidden from iptables", ask: card("bridge-nf", "node-1"), to: service, reason: "bridge-nf-off", place: "pod/default/client", saw: "pod/default/a", evidence: "true; echo none", word: "none"},
		{name: "the connection table is full", ask: card("conntrack-full", "node-1"), to: "c", reason: "conntrack-full", place: "node-1", saw: "node-1", unseen: "underlay", evidence: "sysctl -n net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max | awk '{n[NR]=$1} END{if (n[1] > n[2]*0.99) print \"full\"}'", word: "full"},
		{name: "a chain is empty", ask: card("flush-chain", "node-1"), to: service, reason: "no-route", place: "gateway", saw: "gateway", unseen: "pod/default/a", evidence: "true; echo none", word: "none"},
		{name: "hairpin mode is off", ask: card("no-hairpin", "a"), from: "a", to: service, reason: "hairpin-off", place: "node-1", saw: "node-1", evidence: "bridge -d link show", word: "hairpin off"},
		{name: "strict reverse path filter", ask: card("rp-filter", "node-1"), to: "c", reason: "rp-filter", place: "node-1", saw: "node-2", evidence: "sysctl net.ipv4.conf.flannel/1.rp_filter", word: "= 1"},
		{name: "nobody listens", to: "c:9", reason: "no-listener", place: "pod/default/c", saw: "pod/default/c", evidence: "ss -ltn; echo none", word: "none"},
		{name: "no such pod on the own subnet: nobody answers the ARP question", to: "10.244.1.99:8080", reason: "arp-missing", place: "pod/default/client", unseen: "underlay", evidence: "ip neigh show dev eth0", word: "10.244.1.99"},
		{name: "no such pod", to: "10.244.2.99:8080", reason: "no-such-pod", place: "node-2", saw: "node-2", unseen: "pod/default/c", evidence: "ip neigh show dev cni0", word: "10.244.2.99"},
		{name: "a Service without endpoints", to: "10.96.0.30:80", reason: "no-endpoints", place: "node-1", saw: "node-1", unseen: "underlay", evidence: "iptables-save -t filter", word: "has no endpoints"},
		{name: "a rule drops it", at: "node-1", by: "iptables -I FORWARD -d 10.244.2.0/24 -j DROP", after: "iptables -D FORWARD -d 10.244.2.0/24 -j DROP", to: "c", reason: "rule", place: "node-1", saw: "node-1", unseen: "underlay", evidence: "iptables -nvL FORWARD", word: "DROP"},
		{name: "a rule refuses it", at: "node-2", by: "iptables -I FORWARD -p tcp --dport 8080 -j REJECT", after: "iptables -D FORWARD -p tcp --dport 8080 -j REJECT", to: "c", reason: "reject", place: "node-2", saw: "node-2", unseen: "pod/default/c", evidence: "iptables -nvL FORWARD", word: "REJECT"},
	}
}

// Every way to lose a packet has its place and its reason, and other programs
// agree about where it was seen and what is wrong there.
func TestDeathsAreExplained(t *testing.T) {
	l := build(t)
	l.unserved(t)
	tracer := &trace.Tracer{Home: l.GatewayNS(), Tool: l.tool}
	t.Cleanup(func() { require.NoError(t, tracer.Close()) })
	places := map[string]string{}
	for _, s := range l.spaces() {
		places[s.Name] = s.Path
	}
	require.NoError(t, tracer.Set(l.spaces()))
	l.works(t, []way{toNear, toFar, fromFar, nearService, farService, toItself, toOutside, nodeToPod})
	for _, x := range deaths() {
		t.Run(x.name, func(t *testing.T) {
			ctx := context.Background()
			if x.ask.Card != "" {
				l.forget(t, x.ask)
				_, err := l.book.Break(ctx, x.ask)
				require.NoError(t, err)
				defer func() { _, err := l.book.MendAll(ctx); require.NoError(t, err) }()
			} else if x.by != "" {
				nettest.Run(t, places[x.at], x.by)
				defer func() { nettest.Run(t, places[x.at], x.after) }()
			}
			to := l.addr(x.to)
			ears := map[string]*nettest.Dump{}
			for _, place := range []string{x.saw, x.unseen} {
				if place != "" {
					ears[place] = listen(t, places[place], l, to)
				}
			}
			ask := trace.Ask{From: "pod/default/client", To: to, Proto: "tcp", Size: x.size, Patience: loss}
			if x.from != "" {
				ask.From = "pod/default/" + x.from
			}
			if x.proto != "" {
				ask.Proto, ask.To = x.proto, netip.AddrPortFrom(to.Addr(), 0)
			}
			w, _, err := tracer.Follow(ctx, ask)
			require.NoError(t, err)
			for end := time.Now().Add(patience); x.silent() && w.Outcome == "refused" && time.Now().Before(end); {
				w, _, err = tracer.Follow(ctx, ask) // who looks seconds later hears that no neighbour has answered
				require.NoError(t, err)
			}
			hops := strings.Join(trace.Lines(w.Hops), "\n")
			require.NotNil(t, w.Drop, "%s\n%s", w.Outcome, hops)
			end := ""
			for _, h := range w.Hops {
				if h.Layer == "drop" {
					end = h.NS
				}
			}
			require.Equal(t, x.reason+" at "+x.place, w.Drop.Reason+" at "+end, "%s %v\n%s", w.Drop.Says, w.Drop.Evidence, hops)
			require.NotEmpty(t, w.Drop.Says)
			for place, e := range ears {
				heard := e.Stop(t)
				require.Equal(t, place == x.saw, len(heard) > 0, "tcpdump in %s: %v\n%s", place, heard, hops)
			}
			for end := time.Now().Add(patience); ; { // the kernel tells of a link late, and forgets a neighbour that does not answer
				text := nettest.Run(t, places[x.place], x.evidence)
				if strings.Contains(text, x.word) {
					break
				}
				require.True(t, time.Now().Before(end), "%s is not in\n%s", x.word, text)
				_, _, err := tracer.Follow(ctx, ask)
				require.NoError(t, err)
			}
		})
	}
}

// unserved adds a Service without endpoints to those of all nodes.
func (l *lab) unserved(t *testing.T) {
	s := l.services()
	s.Services = append(s.Services, proxy.Service{Namespace: "default", Name: "nobody", ClusterIP: netip.MustParseAddr("10.96.0.30"),
		Ports: []proxy.Port{{Protocol: "TCP", Port: 80}}})
	for _, p := range l.proxies {
		require.NoError(t, p.Sync(context.Background(), s))
	}
}

func (l *lab) addr(to string) netip.AddrPort {
	name, port, ok := strings.Cut(to, ":")
	if ip, known := l.ip[name]; known {
		if !ok {
			port = "8080"
		}
		to = ip.String() + ":" + port
	}
	return netip.MustParseAddrPort(to)
}

// listen begins to listen with tcpdump to what is sent to an address, or to a.
func listen(t *testing.T, path string, l *lab, to netip.AddrPort) *nettest.Dump {
	t.Helper()
	// Inside of VXLAN the destination is 46 bytes behind the UDP header. Answers
	// to earlier packets, which may be sent again, are not meant.
	b := to.Addr().As4()
	return nettest.StartDump(t, path, fmt.Sprintf("ip dst host %s or (udp port 8472 and udp[46:4] = 0x%x) or (ip dst host %s and not src host %s)",
		to.Addr(), b[:], l.ip["a"], l.ip["c"]))
}
