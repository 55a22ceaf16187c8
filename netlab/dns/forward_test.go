package dns_test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/dns"
)

// outside serves the world's names on loopback.
func outside(t *testing.T) (public, company int) {
	t.Helper()
	host := net.IPv4(127, 0, 0, 1).To4()
	var packets []net.PacketConn
	var conns []net.Listener
	for range 2 {
		addr := fmt.Sprintf("127.0.0.1:%d", port(t))
		p, err := net.ListenPacket("udp", addr)
		require.NoError(t, err)
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		packets, conns = append(packets, p), append(conns, l)
	}
	o, err := dns.ServeOutside(host, packets[0], packets[1], conns[0], conns[1])
	require.NoError(t, err)
	t.Cleanup(o.Close)
	return packets[0].LocalAddr().(*net.UDPAddr).Port, packets[1].LocalAddr().(*net.UDPAddr).Port
}

func TestForwardAndStubDomain(t *testing.T) {
	public, company := outside(t)
	source, p := &known{}, port(t)
	source.index.Store(cluster(t))
	serve(t, fmt.Sprintf(`.:%[1]d {
	kubernetes cluster.local
	forward . 127.0.0.1:%[2]d {
		except test
	}
	cache 30
}
corp.test:%[1]d {
	forward . 127.0.0.1:%[3]d
}`, p, public, company), source)
	for _, network := range []string{"udp", "tcp"} {
		require.Equal(t, []string{"www.example.com.\t60\tIN\tCNAME\texample.com.", "example.com.\t60\tIN\tA\t127.0.0.1"}, withTTL(60, ask(t, network, p, "www.example.com.", mdns.TypeA).Answer))
		require.Equal(t, []string{"db.corp.test.\t60\tIN\tA\t198.51.100.5"}, withTTL(60, ask(t, network, p, "db.corp.test.", mdns.TypeA).Answer))
		require.Equal(t, mdns.RcodeNameError, ask(t, network, p, "nowhere.example.com.", mdns.TypeA).Rcode)
		require.Equal(t, mdns.RcodeNameError, ask(t, network, p, "nosuch.", mdns.TypeA).Rcode)
		require.Equal(t, mdns.RcodeRefused, ask(t, network, p, ".", mdns.TypeNS).Rcode, "there is a root, but no way to it")
	}
	require.Equal(t, mdns.RcodeRefused, ask(t, "udp", p, "other.test.", mdns.TypeA).Rcode, "except")
	require.Equal(t, mdns.RcodeNameError, ask(t, "udp", public, "db.corp.test.", mdns.TypeA).Rcode, "the world does not know the company's names")
	m := ask(t, "udp", public, "kubernetes.io.", mdns.TypeA, func(m *mdns.Msg) { m.SetEdns0(1232, false) })
	require.Equal(t, mdns.RcodeRefused, m.Rcode)
	require.Contains(t, m.IsEdns0().String(), "the lab has no way to the Internet")
	require.Equal(t, []string{"1.0.0.127.in-addr.arpa.\t60\tIN\tPTR\texample.com."}, texts(ask(t, "udp", public, "1.0.0.127.in-addr.arpa.", mdns.TypePTR).Answer))

	// An ExternalName leads out of the cluster, and the server goes there itself.
	m = ask(t, "udp", p, "bank.shop.svc.cluster.local.", mdns.TypeA)
	require.Equal(t, []string{"bank.shop.svc.cluster.local.\t5\tIN\tCNAME\tapi.example.com.", "api.example.com.\t5\tIN\tA\t203.0.113.80"}, withTTL(5, m.Answer))
}

// withTTL shows records that a cache may have made a little older.
func withTTL(ttl uint32, list []mdns.RR) []string {
	for _, rr := range list {
		rr.Header().Ttl = ttl
	}
	return texts(list)
}

// upstream is a server that counts, and can be told to be silent.
func upstream(t *testing.T, addr string) (asked *atomic.Int32, silent *atomic.Bool) {
	t.Helper()
	asked, silent = &atomic.Int32{}, &atomic.Bool{}
	conn, err := net.ListenPacket("udp", addr)
	require.NoError(t, err)
	s := &mdns.Server{PacketConn: conn, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, m *mdns.Msg) {
		if silent.Load() {
			return
		}
		out := new(mdns.Msg).SetReply(m)
		if q := m.Question[0]; q.Qtype == mdns.TypeA {
			asked.Add(1)
			out.Answer = []mdns.RR{&mdns.A{Hdr: mdns.RR_Header{Name: q.Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 1}, A: net.IPv4(192, 0, 2, 7)}}
			if strings.HasPrefix(q.Name, "no") {
				out.Answer, out.Rcode = nil, mdns.RcodeNameError
			}
		}
		_ = w.WriteMsg(out)
	})}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() { conn.Close(); <-done })
	return asked, silent
}

// A server that is silent is not asked any more, and is asked again when it
// answers.
func TestFailover(t *testing.T) {
	a, b, p := port(t), port(t), port(t)
	first, silent := upstream(t, fmt.Sprintf("127.0.0.1:%d", a))
	second, _ := upstream(t, fmt.Sprintf("127.0.0.1:%d", b))
	serve(t, fmt.Sprintf(".:%d {\n errors\n forward . 127.0.0.1:%d 127.0.0.1:%d {\n  policy sequential\n  max_fails 1\n  health_check 20ms\n }\n}", p, a, b), nil)
	byFirst := func() { // as soon as it is well, and no slower than a server may be
		t.Helper()
		require.Eventually(t, func() bool {
			asked, others := first.Load(), second.Load()
			require.Len(t, ask(t, "udp", p, "x.test.", mdns.TypeA).Answer, 1)
			return first.Load() > asked && second.Load() == others
		}, time.Minute, time.Millisecond)
	}
	byFirst()
	silent.Store(true)
	before := second.Load()
	for range 3 {
		require.Len(t, ask(t, "udp", p, "x.test.", mdns.TypeA).Answer, 1)
	}
	require.GreaterOrEqual(t, second.Load(), before+3)
	silent.Store(false)
	byFirst()
}

func TestDeadUpstream(t *testing.T) {
	p, dead := port(t), port(t)
	r := serve(t, fmt.Sprintf(".:%d {\n errors\n forward . 127.0.0.1:%d\n}", p, dead), nil)
	require.Equal(t, mdns.RcodeServerFailure, askOnce(t, "udp", p, "x.test.", mdns.TypeA).Rcode)
	r.says("[ERROR] plugin/errors: 2 x.test. A: read udp 127.0.0.1:")
	r.says(fmt.Sprintf("->127.0.0.1:%d: read: connection refused", dead))
}

// What comes back to the server that sent it ends the server: its container
// crashes in the sight of everybody, instead of eating the node.
func TestLoop(t *testing.T) {
	p := port(t)
	r := serve(t, fmt.Sprintf(".:%[1]d {\n loop\n forward . 127.0.0.1:%[1]d\n}", p), nil)
	err := <-r.done
	require.ErrorContains(t, err, `plugin/loop: Loop (127.0.0.1:`)
	require.ErrorContains(t, err, fmt.Sprintf(`-> :%d) detected for zone "."`, p))
}

// That somebody else cannot answer is no loop, however often he is asked.
func TestADeadUpstreamIsNoLoop(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var asked atomic.Int32
	s := &mdns.Server{PacketConn: conn, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, m *mdns.Msg) {
		asked.Add(1)
		_ = w.WriteMsg(new(mdns.Msg).SetRcode(m, mdns.RcodeServerFailure))
	})}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() { conn.Close(); <-done })
	r := serve(t, fmt.Sprintf(".:%d {\n loop\n forward . %s\n}", port(t), conn.LocalAddr()), nil)
	require.Eventually(t, func() bool { return asked.Load() > 2 }, time.Minute, time.Millisecond)
	r.stop()
	require.NoError(t, <-r.done)
}

func TestNoLoop(t *testing.T) {
	public, _ := outside(t)
	p := port(t)
	r := serve(t, fmt.Sprintf(".:%d {\n loop\n forward . 127.0.0.1:%d\n}", p, public), nil)
	require.Len(t, ask(t, "udp", p, "example.com.", mdns.TypeA).Answer, 1)
	r.stop()
	require.NoError(t, <-r.done)
}
