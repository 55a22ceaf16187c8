package balancer_test

import (
	"context"
	"fmt"
	"io"
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
	all, local := balancer.Frontend{Name: "all", Check: 10256}, balancer.Frontend{Name: "local", Check: 31000}
	got := balancer.Routes([]balancer.Frontend{all, local}, []balancer.Node{a, b}, func(n balancer.Node, port int) bool {
		return port == 10256 || n.Name == "node-2"
	})
	require.Equal(t, []balancer.Route{{Frontend: all, Nodes: []balancer.Node{b, a}}, {Frontend: local, Nodes: []balancer.Node{a}}}, got)
}

// world is a client, a router and two nodes that have the address vip, and say
// at port 10256 whether they can take packets.
type world struct {
	client, router string
	up             [2]atomic.Bool
}

const vip = "198.51.100.1"

func build(t *testing.T) *world {
	leak.Check(t)
	w := &world{client: nettest.Namespace(t, "client"), router: nettest.Namespace(t, "router")}
	nettest.Run(t, w.router, "sysctl -qw net.ipv4.ip_forward=1; ip link add br0 type bridge; ip addr add 172.30.0.1/24 dev br0; ip link set br0 up")
	wire(t, w.router, "c", w.client, "192.0.2.10/24", "192.0.2.1")
	nettest.Run(t, w.router, "ip addr add 192.0.2.1/24 dev c")
	for i := range w.up {
		node := nettest.Namespace(t, fmt.Sprint("node-", i+1))
		port := fmt.Sprint("n", i+1)
		wire(t, w.router, port, node, fmt.Sprintf("172.30.0.1%d/24", i+1), "172.30.0.1")
		nettest.Run(t, w.router, "ip link set "+port+" master br0")
		nettest.Run(t, node, "ip addr add "+vip+"/32 dev lo")
		w.up[i].Store(true)
		serve(t, node, ":10256", func(rw http.ResponseWriter, _ *http.Request) {
			if !w.up[i].Load() {
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		serve(t, node, vip+":80", func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(rw, "node-%d %s", i+1, strings.Split(r.RemoteAddr, ":")[0])
		})
	}
	return w
}

// wire connects a namespace's eth0 to a port of the router.
func wire(t *testing.T, router, port, ns, addr, gw string) {
	require.NoError(t, nettest.Open(t, router).Veth(context.Background(), vethTo(t, port, ns)))
	nettest.Run(t, router, "ip link set "+port+" up")
	nettest.Run(t, ns, "ip addr add "+addr+" dev eth0 && ip link set eth0 up && ip route add default via "+gw)
}

func serve(t *testing.T, path, addr string, h http.HandlerFunc) {
	l, err := netns.Listen(context.Background(), path, "tcp4", addr)
	require.NoError(t, err)
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
}

// ask opens a connection of its own.
func (w *world) ask() (string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: netns.Dialer(w.client), DisableKeepAlives: true}}
	res, err := client.Get("http://" + vip)
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
	w := build(t)
	net := nettest.Open(t, w.router)
	router := balancer.Router{Net: net, Dev: "br0", Pool: netip.MustParsePrefix("198.51.100.0/24")}
	ctx, stop := context.WithCancel(context.Background())
	require.NoError(t, router.Prepare(ctx))
	// An earlier one left an address that nobody has any more.
	require.NoError(t, router.Spread(ctx, balancer.Frontend{Addr: netip.MustParseAddr("198.51.100.9")}, []balancer.Node{{IP: netip.MustParseAddr("172.30.0.11")}}))
	traced, trail := nettest.WithTrail(ctx)
	b := balancer.New(balancer.Steps(router, "service-lb"), w.router)
	b.Every = 20 * time.Millisecond
	done := make(chan struct{})
	go func() { defer close(done); b.Run(traced, func(err error) { t.Log(err) }) }()
	t.Cleanup(func() { stop(); <-done })
	nodes := []balancer.Node{{Name: "node-1", IP: netip.MustParseAddr("172.30.0.11")}, {Name: "node-2", IP: netip.MustParseAddr("172.30.0.12")}}
	front := []balancer.Frontend{{Name: "web", Addr: netip.MustParseAddr(vip), Check: 10256}}
	become := func(want map[string]bool) {
		t.Helper()
		require.Eventually(t, func() bool { got := w.answers(); return fmt.Sprint(got) == fmt.Sprint(want) }, time.Minute, 20*time.Millisecond)
	}
	b.Set(front, nodes)
	become(map[string]bool{"node-1 192.0.2.10": true, "node-2 192.0.2.10": true})
	kept, err := router.Kept()
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr(vip)}, kept)
	require.Contains(t, strings.Join(trail.Lines(t), "\n"), "ip route replace 198.51.100.1/32 nexthop via 172.30.0.11 dev br0 nexthop via 172.30.0.12 dev br0")
	w.up[0].Store(false)
	become(map[string]bool{"node-2 192.0.2.10": true})
	w.up[1].Store(false)
	require.Eventually(t, func() bool {
		routes, err := nettest.Try(w.router, "ip route")
		return err == nil && strings.Contains(routes, "unreachable "+vip)
	}, time.Minute, 20*time.Millisecond)
	_, err = w.ask()
	require.Error(t, err)
	w.up[0].Store(true)
	become(map[string]bool{"node-1 192.0.2.10": true})
	b.Set(nil, nodes)
	require.Eventually(t, func() bool { kept, err := router.Kept(); return err == nil && len(kept) == 0 }, time.Minute, 20*time.Millisecond)
}

func vethTo(t *testing.T, port, ns string) link.Veth {
	return link.Veth{Name: port, PeerName: "eth0", Peer: nettest.Open(t, ns)}
}
