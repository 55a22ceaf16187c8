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
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/labtest"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/topology"
)

// dual is a lab of both families: the pods client and a on node-1, c on node-2,
// and one Service of IPv6.
type dual struct {
	*labtest.Lab
	t    *testing.T
	ns   map[string]string
	ip   map[string][]netip.Addr
	mode string
	book *fault.Book

	proxies []*proxy.Proxy // of node-1, of either family
}

const service6 = "fd00:10:96::10"

func buildDual(t *testing.T) *dual {
	t.Helper()
	ctx := context.Background()
	l := &dual{Lab: labtest.Build(t, 2, labtest.Config{DualStack: true}), t: t, ns: map[string]string{}, ip: map[string][]netip.Addr{}}
	for pod, n := range map[string]*labtest.Node{"client": l.Nodes[0], "a": l.Nodes[0], "c": l.Nodes[1]} {
		l.ns[pod], l.ip[pod] = n.Pod(t, "default", pod)
	}
	for _, n := range l.Nodes {
		l.ns[n.Name], l.ip[n.Name] = n.Path, []netip.Addr{n.IP, n.IP6}
	}
	l.ns["outside"], l.ip["outside"] = l.OutsideNS(), []netip.Addr{l.ClientIP(), netip.MustParseAddr("2001:db8:192::a")}
	for _, name := range []string{"a", "c", "outside", "node-2"} {
		serve(t, l.ns[name], name)
	}
	tool, err := firewall.Detect(ctx)
	require.NoError(t, err)
	six, err := tool.IPv6(ctx)
	require.NoError(t, err)
	n := l.Nodes[0]
	for i, tool := range []*firewall.Tool{tool, six} {
		p := &proxy.Proxy{Node: proxy.Node{Name: n.Name, IP: l.ip[n.Name][i], Pods: []netip.Prefix{l.Pods, topology.Pods6}[i]}, Net: n.Net, Backends: map[proxy.Mode]proxy.Backend{
			proxy.IPTables: &proxy.IPTablesBackend{Tool: tool, Net: n.Net}, proxy.NFTables: &proxy.NFTBackend{Net: n.Net, IPv6: i == 1},
			proxy.IPVS: &proxy.IPVSBackend{Tool: tool, Net: n.Net, IPv6: i == 1}}}
		t.Cleanup(p.Close)
		l.proxies = append(l.proxies, p)
	}
	l.book = &fault.Book{Dir: t.TempDir(), Kinds: fault.NetKinds(""), Now: time.Now, Look: l.look}
	return l
}

// serve makes the Service, in a mode of the proxies; false if the kernel does not
// have that.
func (l *dual) serve(m proxy.Mode) bool {
	ctx := context.Background()
	far := proxy.State{
		Services: []proxy.Service{{Namespace: "default", Name: "far", ClusterIP: netip.MustParseAddr(service6), Ports: []proxy.Port{{Protocol: "TCP", Port: 80}}}},
		Slices: []proxy.Slice{{Namespace: "default", Service: "far", Ports: []proxy.SlicePort{{Protocol: "TCP", Port: 8080}},
			Endpoints: []proxy.Endpoint{{IP: l.ip["c"][1], Node: "node-2", Ready: true, Serving: true}}}},
	}
	for i, s := range []proxy.State{{}, far} {
		err := l.proxies[i].SetMode(ctx, m)
		if m == proxy.IPVS && err != nil {
			require.ErrorIs(l.t, err, proxy.ErrNoIPVS)
			return false
		}
		require.NoError(l.t, err)
		require.NoError(l.t, l.proxies[i].Sync(ctx, s))
	}
	l.mode = string(m)
	return true
}

func (l *dual) look(context.Context) (fault.Lab, error) {
	lab := fault.Lab{UnderlayNS: l.UnderlayNS(), Netem: netem(),
		PodNS:  func(pod string) (string, error) { return l.ns[strings.TrimPrefix(pod, "default/")], nil },
		PodIPs: func(pod string) ([]netip.Addr, error) { return l.ip[strings.TrimPrefix(pod, "default/")], nil }}
	for i, n := range l.Nodes {
		lab.Nodes = append(lab.Nodes, fault.Node{Name: n.Name, NetNS: n.Path, Port: fmt.Sprint("n-", i+1), Uplink: "eth0", IP: n.IP, Gateway: l.GatewayIP(),
			Pods: n.Pods, Bridge: "cni0", VTEP: "flannel.1", VTEPMAC: overlay.MAC(n.Pods), Proxy: l.mode,
			IP6: n.IP6, Pods6: n.Pods6, Gateway6: topology.Underlay6.Addr().Next(), VTEP6: "flannel-v6.1", VTEPMAC6: overlay.MAC(n.Pods6)})
	}
	return lab, nil
}

// reaches tells whether from gets an answer of a place's address of a family,
// or of a Service.
func (l *dual) reaches(from, to string, limit time.Duration) bool {
	name, family, _ := strings.Cut(to, " ")
	at := netip.MustParseAddrPort("[" + service6 + "]:80")
	if name != "service" {
		at = netip.AddrPortFrom(l.ip[name][map[string]int{"4": 0, "6": 1}[family]], 8080)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := netns.Dialer(l.ns[from])(ctx, "tcp", at.String())
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// A card hurts both families of addresses, or says that it does not.
func TestCardsOfBothFamilies(t *testing.T) {
	l := buildDual(t)
	ctx := context.Background()
	state := func() string {
		return nettest.Run(t, l.ns["node-1"], "ip -o link show | sed 's/<.*>//; s/ state .*//'; ip route; ip -6 route | grep -v ^fe80 | sort; awk '{print $1, $2, $3}' /proc/net/ip_vs 2>/dev/null; sysctl -a 2>/dev/null | grep -E 'forwarding|ip_forward|bridge-nf' | sort; "+
			"(bridge fdb show dev flannel.1; bridge fdb show dev flannel-v6.1) | sort; ip neigh show nud permanent | sort; nft -s list ruleset | grep -v '^#'") +
			nettest.Run(t, l.ns["node-2"], "ip neigh show nud permanent | sort") +
			nettest.Run(t, l.UnderlayNS(), "ip -o link show | sed 's/<.*>//; s/ state .*//'; nft list ruleset")
	}
	for _, x := range []struct {
		card, target string
		mode         proxy.Mode
		args         map[string]string
		fails, works []string // from the client
	}{
		{"cut-link", "node-2", proxy.IPTables, nil, []string{"c 4", "c 6", "service"}, []string{"a 4", "a 6"}},
		{"cut-link", "client", proxy.IPTables, nil, []string{"a 4", "a 6"}, nil},
		{"drop", "client", proxy.IPTables, map[string]string{"share": "100"}, []string{"a 4", "a 6"}, nil},
		{"blackhole", "node-1", proxy.IPTables, nil, []string{"c 4", "c 6", "service"}, []string{"a 4", "a 6", "outside 4", "outside 6"}},
		{"wrong-route", "node-1", proxy.IPTables, nil, []string{"c 4"}, []string{"a 4", "a 6"}},
		{"no-default-route", "node-1", proxy.IPTables, nil, []string{"outside 4", "outside 6"}, []string{"c 4", "c 6"}},
		{"ip-forward", "node-1", proxy.IPTables, nil, []string{"c 4", "c 6", "outside 6"}, []string{"a 4", "a 6"}},
		{"no-arp", "node-1", proxy.IPTables, nil, []string{"c 4", "c 6", "service"}, []string{"a 4", "a 6"}},
		{"no-fdb", "node-1", proxy.IPTables, nil, []string{"c 4", "c 6", "service"}, []string{"a 4", "a 6"}},
		{"wrong-arp", "c", proxy.IPTables, nil, []string{"c 4", "c 6", "service"}, []string{"a 4", "a 6"}},
		{"rp-filter", "node-1", proxy.IPTables, nil, []string{"c 4"}, []string{"c 6", "a 4", "a 6"}},
		{"vxlan-down", "node-1", proxy.IPTables, nil, []string{"c 4", "c 6", "service"}, []string{"a 4", "a 6"}},
		{"flush-chain", "node-1", proxy.IPTables, nil, []string{"service"}, []string{"c 6"}},
		{"flush-chain", "node-1", proxy.NFTables, nil, []string{"service"}, []string{"c 6"}},
		{"flush-chain", "node-1", proxy.NFTables, map[string]string{"family": "6"}, []string{"service"}, []string{"c 6"}},
		{"flush-chain", "node-1", proxy.IPVS, map[string]string{"family": "6"}, []string{"service"}, []string{"c 6"}},
	} {
		if !l.serve(x.mode) {
			continue
		}
		for _, to := range slices.Concat(x.fails, x.works, []string{"service"}) {
			require.Eventually(t, func() bool { return l.reaches("client", to, patience) }, patience, time.Millisecond, "%s before %s", to, x.card)
		}
		before := state()
		f, err := l.book.Break(ctx, fault.Ask{Card: x.card, Target: x.target, Args: x.args})
		require.NoError(t, err, x.card)
		for _, to := range x.works {
			require.Eventually(t, func() bool { return l.reaches("client", to, patience) }, patience, time.Millisecond, "%s during %s", to, x.card)
		}
		for _, to := range x.fails {
			require.False(t, l.reaches("client", to, loss), "%s during %s", to, x.card)
		}
		_, err = l.book.Mend(ctx, f.ID)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return before == state() }, patience, 20*time.Millisecond, x.card)
		for _, to := range slices.Concat(x.fails, x.works, []string{"service"}) {
			require.Eventually(t, func() bool { return l.reaches("client", to, patience) }, patience, time.Millisecond, "%s after %s", to, x.card)
		}
	}
}

// What goes to a pod is held back in both families.
func TestDelayOfBothFamilies(t *testing.T) {
	l := buildDual(t)
	ctx := context.Background()
	f, err := l.book.Break(ctx, fault.Ask{Card: "delay", Target: "a", Args: map[string]string{"ms": fmt.Sprint(held.Milliseconds())}})
	require.NoError(t, err)
	for _, ip := range l.ip["a"] {
		require.GreaterOrEqual(t, shortest(t, l.ns["client"], netip.AddrPortFrom(ip, 8080)), held, ip)
	}
	_, err = l.book.Mend(ctx, f.ID)
	require.NoError(t, err)
	for _, ip := range l.ip["a"] {
		quick(t, l.ns["client"], ip)
	}
}
