package fault_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/labtest"
	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// lab is two nodes with proxies: the pods client, a and b on the first, c on
// the second. The Service near has the endpoint a, far has c.
type lab struct {
	*labtest.Lab
	nodes   []fault.Node
	proxies []*proxy.Proxy
	ns      map[string]string // of pods and nodes
	ip      map[string]netip.Addr
	tool    *firewall.Tool
	book    *fault.Book
}

const (
	near, far = "10.96.0.10:80", "10.96.0.20:80"
	// patience is how long a packet may take where it must arrive; where it must
	// not, loss is how long it is waited for.
	patience, loss = time.Minute, 500 * time.Millisecond
)

func build(t testing.TB) *lab {
	t.Helper()
	ctx := context.Background()
	l := &lab{Lab: labtest.Build(t, 2, labtest.Config{}), ns: map[string]string{}, ip: map[string]netip.Addr{}}
	var err error
	l.tool, err = firewall.Detect(ctx)
	require.NoError(t, err)
	l.tool.Lock = filepath.Join(l.Root, "lock")
	for i, pods := range [][]string{{"client", "a", "b"}, {"c"}} {
		l.node(t, i+1, l.Nodes[i], pods)
	}
	for i, n := range l.Nodes {
		l.proxies = append(l.proxies, &proxy.Proxy{Node: proxy.Node{Name: n.Name, IP: n.IP, Pods: l.Pods}, Net: n.Net,
			Backends: map[proxy.Mode]proxy.Backend{proxy.IPTables: &proxy.IPTablesBackend{Tool: l.tool, Net: n.Net}, proxy.NFTables: &proxy.NFTBackend{Net: n.Net},
				proxy.IPVS: &proxy.IPVSBackend{Tool: l.tool, Net: n.Net, By: link.By{Actor: "test"}}}})
		t.Cleanup(l.proxies[i].Close)
		require.NoError(t, l.proxies[i].SetMode(ctx, proxy.IPTables))
		require.NoError(t, l.proxies[i].Sync(ctx, l.services()))
	}
	l.book, l.ip["outside"] = l.newBook(), l.ClientIP()
	serve(t, l.OutsideNS(), "outside")
	return l
}

// node makes a node known to cards, and gives it its pods.
func (l *lab) node(t testing.TB, i int, n *labtest.Node, pods []string) {
	l.ns[n.Name], l.ip[n.Name] = n.Path, n.IP
	l.nodes = append(l.nodes, fault.Node{Name: n.Name, NetNS: n.Path, Port: fmt.Sprint("n-", i), Uplink: "eth0", IP: n.IP, Gateway: l.GatewayIP(),
		Pods: n.Pods, Bridge: "cni0", VTEP: "flannel.1", VTEPMAC: overlay.MAC(n.Pods)})
	serve(t, n.Path, n.Name)
	for _, name := range pods {
		path, ips := n.Pod(t, "default", name)
		l.ns[name], l.ip[name] = path, ips[0]
		serve(t, path, name)
	}
}

func (l *lab) services() (s proxy.State) {
	for name, x := range map[string]struct{ ip, pod, node string }{"near": {"10.96.0.10", "a", "node-1"}, "far": {"10.96.0.20", "c", "node-2"}} {
		s.Services = append(s.Services, proxy.Service{Namespace: "default", Name: name, ClusterIP: netip.MustParseAddr(x.ip),
			Ports: []proxy.Port{{Protocol: "TCP", Port: 80}}})
		s.Slices = append(s.Slices, proxy.Slice{Namespace: "default", Service: name, Ports: []proxy.SlicePort{{Protocol: "TCP", Port: 8080}},
			Endpoints: []proxy.Endpoint{{IP: l.ip[x.pod], Node: x.node, Ready: true, Serving: true}}})
	}
	return s
}

// spaces are the namespaces as the tracer names them.
func (l *lab) spaces() (list []trace.Space) {
	for name, path := range map[string]string{"underlay": l.UnderlayNS(), "gateway": l.GatewayNS(), "control": l.ControlNS(), "outside": l.OutsideNS()} {
		list = append(list, trace.Space{Name: name, Path: path})
	}
	for _, n := range l.nodes {
		list = append(list, trace.Space{Name: n.Name, Path: n.NetNS, Node: n.Name})
	}
	for pod, node := range map[string]string{"client": "node-1", "a": "node-1", "b": "node-1", "c": "node-2"} {
		list = append(list, trace.Space{Name: "pod/default/" + pod, Path: l.ns[pod], Node: node, Pod: "default/" + pod})
	}
	return list
}

func (l *lab) newBook() *fault.Book {
	return &fault.Book{Dir: filepath.Join(l.Root, "faults"), Kinds: fault.NetKinds(l.tool.Lock), Now: time.Now,
		Look: func(context.Context) (fault.Lab, error) {
			return fault.Lab{Nodes: l.nodes, UnderlayNS: l.UnderlayNS(), PodIPs: func(pod string) ([]netip.Addr, error) {
				return []netip.Addr{l.ip[strings.TrimPrefix(pod, "default/")]}, nil
			}, PodNS: func(pod string) (string, error) { return l.ns[strings.TrimPrefix(pod, "default/")], nil }, Netem: netem()}, nil
		}}
}

// serve answers at port 8080 of a namespace, over TCP and UDP: with its name
// and how many bytes it got.
func serve(t testing.TB, path, name string) {
	t.Helper()
	tcp, err := netns.Listen(context.Background(), path, "tcp", ":8080")
	require.NoError(t, err)
	udp, err := netns.ListenPacket(context.Background(), path, "udp", ":8080")
	require.NoError(t, err)
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				size, _ := io.Copy(io.Discard, c)
				fmt.Fprintf(c, "%s %d", name, size)
			}()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 1<<16)
		for {
			size, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(fmt.Appendf(nil, "%s %d", name, size), from)
		}
	}()
	t.Cleanup(func() { tcp.Close(); udp.Close(); <-done; <-done })
}

// way is a packet's: from one place to an address, and who answers there.
type way struct {
	from, to string // names; to may also be an address with port
	answers  string
	size     int // bytes that are sent
}

func (w way) String() string { return fmt.Sprintf("%s → %s (%d bytes)", w.from, w.to, w.size) }

// try sends and hears.
func (l *lab) try(w way, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	to := w.to
	if ip, ok := l.ip[to]; ok {
		to = netip.AddrPortFrom(ip, 8080).String()
	}
	from := l.ns[w.from]
	if w.from == "outside" {
		from = l.OutsideNS()
	}
	c, err := netns.Dialer(from)(ctx, "tcp4", to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	_ = c.(*net.TCPConn).SetLinger(0)
	if _, err := c.Write(make([]byte, w.size)); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c)
	return string(text), err
}

func (l *lab) works(t testing.TB, ways []way) {
	t.Helper()
	for _, w := range ways {
		got, err := l.try(w, patience)
		require.NoError(t, err, "%s must work", w)
		require.Equal(t, fmt.Sprintf("%s %d", w.answers, w.size), got, "%s", w)
	}
}

func (l *lab) fails(t testing.TB, ways []way) {
	t.Helper()
	for _, w := range ways {
		got, err := l.try(w, loss)
		require.Error(t, err, "%s must not work, and got %q", w, got)
	}
}

var volatile = regexp.MustCompile(`tentative|counter packets \d+ bytes \d+|\[\d+:\d+\]|refcnt \d+|handle [0-9a-f]+|qdisc (noqueue|tbf) [0-9a-f]+:|promiscuity \d+|allmulti \d+|_timer +[\d.]+|used \d+/\d+/\d+|# .*`)

// dump is the state of all namespaces, or some, as other programs see it, without
// counters and what the kernel learns by itself.
func (l *lab) dump(t testing.TB, only ...string) []string {
	t.Helper()
	places := map[string]string{"underlay": l.UnderlayNS(), "gateway": l.GatewayNS(), "outside": l.OutsideNS()}
	for name, path := range l.ns {
		places[name] = path
	}
	var all []string
	for name, path := range places {
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		text := nettest.Run(t, path, strings.Join([]string{
			"ip -o -d link show", "ip -o addr show", "ip route show table all", "ip rule show", "ip neigh show nud permanent",
			"bridge fdb show", "bridge -d link show", "tc qdisc show", "nft list ruleset", "XTABLES_LOCKFILE=" + l.tool.Lock + " iptables-save",
			"grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/ip_forward /proc/sys/net/bridge; true",
		}, "; echo; "))
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(volatile.ReplaceAllString(line, ""))
			learnt := strings.Contains(line, " master ") && !strings.Contains(line, "permanent") && strings.Contains(line, ":") && !strings.Contains(line, "mtu")
			if line != "" && !learnt {
				all = append(all, name+": "+line)
			}
		}
	}
	slices.Sort(all)
	return all
}

// same waits until a dump is what it was before: what the kernel does by
// itself, such as telling that a link is up, may take a moment.
func (l *lab) same(t testing.TB, before []string, why string, only ...string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		diff := leak.Snapshot{"state": before}.Diff(leak.Snapshot{"state": l.dump(t, only...)})
		if len(diff) == 0 {
			return
		}
		if time.Now().After(end) {
			require.FailNow(t, why, strings.Join(diff, "\n"))
		}
	}
}

// forget makes a node forget its connections before the card that fills the
// table of them: those that have ended give way to new ones, one by one.
func (l *lab) forget(t testing.TB, a fault.Ask) {
	t.Helper()
	if a.Card == "conntrack-full" {
		require.NoError(t, netns.Do(l.ns[a.Target], func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }))
	}
}

// datagrams sends that many and returns how many have no answer. They keep
// their order: when a later one is answered, no answer to an earlier one is
// still under way.
func (l *lab) datagrams(t testing.TB, from, to string, count int) (lost int) {
	t.Helper()
	c, err := netns.ListenPacket(context.Background(), l.ns[from], "udp4", ":0")
	require.NoError(t, err)
	defer c.Close()
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.ip[to], 8080))
	send := func(size int) {
		_, err := c.WriteTo(make([]byte, size), at)
		require.NoError(t, err)
	}
	const some = 10 // as many as a socket surely keeps
	lost = count
	mark := 1 // the size of one that only says that those before are over
	for end := time.Now().Add(patience); count > 0; count -= some {
		for range some {
			send(1)
		}
		first := mark + 1
		for over := false; !over; {
			require.True(t, time.Now().Before(end), "nothing gets through from %s to %s", from, to)
			mark++
			send(mark)
			for buf := make([]byte, 100); ; {
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				n, _, err := c.ReadFrom(buf)
				if err != nil {
					break
				}
				var size int
				_, err = fmt.Sscanf(string(buf[:n]), to+" %d", &size)
				require.NoError(t, err)
				if over = over || size >= first; size == 1 {
					lost--
				}
			}
		}
	}
	return lost
}
