package balancer_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/balancer"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
)

func TestRoutes(t *testing.T) {
	a, b := balancer.Node{Name: "node-2", IP: netip.MustParseAddr("10.0.0.2")}, balancer.Node{Name: "node-1", IP: netip.MustParseAddr("10.0.0.1")}
	six := balancer.Node{Name: "node-2", IP: netip.MustParseAddr("fd00::2")}
	front := func(name, addr string, check int) balancer.Frontend {
		return balancer.Frontend{Name: name, Addr: netip.MustParseAddr(addr), Check: check}
	}
	all, local, all6 := front("all", "198.51.100.1", 10256), front("local", "198.51.100.2", 31000), front("all", "2001:db8::1", 10256)
	got := balancer.Routes([]balancer.Frontend{all, local, all6}, []balancer.Node{a, b, six}, func(n balancer.Node, port int) bool {
		return port == 10256 || n.Name == "node-2"
	})
	require.Equal(t, []balancer.Route{{Frontend: all, Nodes: []balancer.Node{b, a}}, {Frontend: local, Nodes: []balancer.Node{a}},
		{Frontend: all6, Nodes: []balancer.Node{six}}}, got)
}

// world is a client, a router and two nodes that have the address vip of a
// family, and say at port 10256 whether they can take packets.
type world struct {
	family
	client, router string
	up             [2]atomic.Bool
}

// family is what addresses a world has. Those of nodes end in 1 and 2.
type family struct {
	vip, other, pool    string
	client, door        string // the client's, and the router's there
	node, gateway, bits string // the nodes', and the router's there
	ip                  string // the program's name for routes
}

var families = map[string]family{
	"IPv4": {"198.51.100.1", "198.51.100.9", "198.51.100.0/24", "192.0.2.10", "192.0.2.1", "172.30.0.1", "172.30.0.9", "/24", "ip"},
	"IPv6": {"2001:db8:198::1", "2001:db8:198::9", "2001:db8:198::/112", "2001:db8:192::a", "2001:db8:192::1", "fd00:172:30::", "fd00:172:30::9", "/64", "ip -6"},
}

func build(t *testing.T, f family) *world {
	leak.Check(t)
	w := &world{family: f, client: nettest.Namespace(t, "client"), router: nettest.Namespace(t, "router")}
	nettest.Run(t, w.router, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; ip link add br0 type bridge; ip addr add "+
		f.gateway+f.bits+" dev br0"+f.nodad()+"; ip link set br0 up")
	w.wire(t, "c", w.client, f.client, f.door)
	nettest.Run(t, w.router, "ip addr add "+f.door+f.bits+" dev c"+f.nodad())
	for i := range w.up {
		node := nettest.Namespace(t, fmt.Sprint("node-", i+1))
		port := fmt.Sprint("n", i+1)
		w.wire(t, port, node, fmt.Sprint(f.node, i+1), f.gateway)
		nettest.Run(t, w.router, "ip link set "+port+" master br0")
		nettest.Run(t, node, "ip addr add "+f.vip+" dev lo"+f.nodad())
		w.up[i].Store(true)
		serve(t, node, ":10256", func(rw http.ResponseWriter, _ *http.Request) {
			if !w.up[i].Load() {
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		serve(t, node, net.JoinHostPort(f.vip, "80"), func(rw http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(rw, "node-%d %s", i+1, host)
		})
	}
	return w
}

// nodad ends a line of ip-address(8): an address of IPv6 is good at once.
func (f family) nodad() string {
	if f.ip == "ip" {
		return ""
	}
	return " nodad"
}

// wire connects a namespace's eth0 to a port of the router.
func (w *world) wire(t *testing.T, port, ns, addr, gw string) {
	require.NoError(t, nettest.Open(t, w.router).Veth(context.Background(), vethTo(t, port, ns)))
	nettest.Run(t, w.router, "ip link set "+port+" up")
	nettest.Run(t, ns, "ip addr add "+addr+w.bits+" dev eth0"+w.nodad()+" && ip link set eth0 up && "+w.ip+" route add default via "+gw)
}

func serve(t *testing.T, path, addr string, h http.HandlerFunc) {
	l, err := netns.Listen(context.Background(), path, "tcp", addr)
	require.NoError(t, err)
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
}

// ask opens a connection of its own.
func (w *world) ask() (string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: netns.Dialer(w.client), DisableKeepAlives: true}}
	res, err := client.Get("http://" + net.JoinHostPort(w.vip, "80"))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

// answers are the nodes that take forty connections.
func (w *world) answers() map[string]bool {
	seen := map[string]bool{}
	for range 40 {
		text, err := w.ask()
		if err != nil {
			text = err.Error()
		}
		seen[text] = true
	}
	return seen
}

// Connections go to all nodes that can take them and to no others, from the
// client's own address; without any the client is told.
func TestFlowsAreSpreadOverHealthyNodes(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) { flowsAreSpread(t, f) })
	}
}

func flowsAreSpread(t *testing.T, f family) {
	w := build(t, f)
	router := balancer.Router{Net: nettest.Open(t, w.router), Dev: "br0", Pools: []netip.Prefix{netip.MustParsePrefix(f.pool)}}
	ctx, stop := context.WithCancel(context.Background())
	require.NoError(t, router.Prepare(ctx))
	// An earlier one left an address that nobody has any more.
	one, two := netip.MustParseAddr(f.node+"1"), netip.MustParseAddr(f.node+"2")
	require.NoError(t, router.Spread(ctx, balancer.Frontend{Addr: netip.MustParseAddr(f.other)}, []balancer.Node{{IP: one}}))
	traced, trail := nettest.WithTrail(ctx)
	b := balancer.New(balancer.Steps(router, "service-lb"), w.router)
	b.Every = 20 * time.Millisecond
	done := make(chan struct{})
	go func() { defer close(done); b.Run(traced, func(err error) { t.Log(err) }) }()
	t.Cleanup(func() { stop(); <-done })
	nodes := []balancer.Node{{Name: "node-1", IP: one}, {Name: "node-2", IP: two}}
	front := []balancer.Frontend{{Name: "web", Addr: netip.MustParseAddr(f.vip), Check: 10256}}
	become := func(want map[string]bool) {
		t.Helper()
		require.Eventually(t, func() bool { got := w.answers(); return fmt.Sprint(got) == fmt.Sprint(want) }, time.Minute, 20*time.Millisecond)
	}
	b.Set(front, nodes)
	become(map[string]bool{"node-1 " + f.client: true, "node-2 " + f.client: true})
	kept, err := router.Kept()
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr(f.vip)}, kept)
	require.Contains(t, strings.Join(trail.Lines(t), "\n"), fmt.Sprintf("%s route replace %s nexthop via %s dev br0 nexthop via %s dev br0", f.ip, netip.PrefixFrom(front[0].Addr, front[0].Addr.BitLen()), one, two))
	w.up[0].Store(false)
	become(map[string]bool{"node-2 " + f.client: true})
	w.up[1].Store(false)
	require.Eventually(t, func() bool {
		routes, err := nettest.Try(w.router, f.ip+" route")
		return err == nil && strings.Contains(routes, "unreachable "+f.vip)
	}, time.Minute, 20*time.Millisecond)
	_, err = w.ask()
	require.Error(t, err)
	w.up[0].Store(true)
	become(map[string]bool{"node-1 " + f.client: true})
	b.Set(nil, nodes)
	require.Eventually(t, func() bool { kept, err := router.Kept(); return err == nil && len(kept) == 0 }, time.Minute, 20*time.Millisecond)
}

func vethTo(t *testing.T, port, ns string) link.Veth {
	return link.Veth{Name: port, PeerName: "eth0", Peer: nettest.Open(t, ns)}
}
