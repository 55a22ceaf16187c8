package dns_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/dns"
)

// known is a Source that has something to say from the beginning, or nothing.
type known struct{ index atomic.Pointer[dns.Index] }

func (k *known) Index() *dns.Index       { return k.index.Load() }
func (k *known) WantPods()               {}
func (k *known) Run(ctx context.Context) { <-ctx.Done() }

// running is a server on loopback.
type running struct {
	t    *testing.T
	file string
	out  *output
	done chan error
	stop context.CancelFunc
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// port finds a port of loopback that is free for UDP and TCP, below those that
// the kernel hands out: nobody gets it by chance before it is used.
func port(t *testing.T) int {
	t.Helper()
	for range 1000 {
		n := 10000 + rand.IntN(20000)
		addr := fmt.Sprintf("127.0.0.1:%d", n)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return n
		}
	}
	t.Fatal("no free port")
	return 0
}

func serve(t *testing.T, corefile string, source dns.Source) *running {
	t.Helper()
	r := &running{t: t, file: filepath.Join(t.TempDir(), "Corefile"), out: &output{}, done: make(chan error, 1)}
	r.write(corefile)
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	s := &dns.Server{File: r.file, Source: source, Log: log.New(r.out, "", 0), Host: "127.0.0.1"}
	go func() { r.done <- s.Run(ctx); close(r.done) }()
	t.Cleanup(func() {
		stop()
		for range r.done {
		}
	})
	return r
}

// write puts a Corefile in the place of the last one, as a whole: it may be read
// meanwhile.
func (r *running) write(corefile string) {
	next := r.file + ".next"
	require.NoError(r.t, os.WriteFile(next, []byte(corefile), 0o644))
	require.NoError(r.t, os.Rename(next, r.file))
}

func (r *running) says(text string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return strings.Contains(r.out.String(), text) }, time.Minute, time.Millisecond, "%s\nis not in\n%s", text, r.out)
}

// ask asks until there is a server, and until those that it asks itself were
// quick enough for it.
func ask(t *testing.T, network string, port int, name string, qtype uint16, change ...func(*mdns.Msg)) (m *mdns.Msg) {
	t.Helper()
	require.Eventually(t, func() bool {
		m = askOnce(t, network, port, name, qtype, change...)
		return m.Rcode != mdns.RcodeServerFailure
	}, time.Minute, time.Millisecond)
	return m
}

// askOnce is ask for those whose answer may be that the server failed.
func askOnce(t *testing.T, network string, port int, name string, qtype uint16, change ...func(*mdns.Msg)) *mdns.Msg {
	t.Helper()
	q := new(mdns.Msg).SetQuestion(name, qtype)
	for _, f := range change {
		f(q)
	}
	c := mdns.Client{Net: network, Timeout: 6 * time.Second, UDPSize: 65535}
	var m *mdns.Msg
	require.Eventually(t, func() bool {
		var err error
		m, _, err = c.Exchange(q.Copy(), fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil
	}, time.Minute, time.Millisecond)
	return m
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	var res *http.Response
	require.Eventually(t, func() (ok bool) {
		var err error
		res, err = http.Get(url)
		return err == nil
	}, time.Minute, time.Millisecond)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

func TestServerAnswersOverUDPAndTCP(t *testing.T) {
	p, pages := port(t), [3]int{port(t), port(t), port(t)}
	source := &known{}
	r := serve(t, fmt.Sprintf(`.:%d {
	errors
	log
	health :%d
	ready :%d
	prometheus :%d
	kubernetes cluster.local in-addr.arpa
	loadbalance
}`, p, pages[0], pages[1], pages[2]), source)

	// As long as the API has not answered, nothing is known.
	require.Equal(t, mdns.RcodeServerFailure, askOnce(t, "udp", p, "web.shop.svc.cluster.local.", mdns.TypeA).Rcode)
	r.says("[ERROR] plugin/errors: 2 web.shop.svc.cluster.local. A: plugin/kubernetes: the API has not answered yet")
	code, text := get(t, fmt.Sprintf("http://127.0.0.1:%d/ready", pages[1]))
	require.Equal(t, []any{503, "kubernetes"}, []any{code, text})
	code, _ = get(t, fmt.Sprintf("http://127.0.0.1:%d/health", pages[0]))
	require.Equal(t, 200, code)

	source.index.Store(cluster(t))
	code, _ = get(t, fmt.Sprintf("http://127.0.0.1:%d/ready", pages[1]))
	require.Equal(t, 200, code)
	for _, network := range []string{"udp", "tcp"} {
		m := ask(t, network, p, "WEB.shop.svc.cluster.local.", mdns.TypeA)
		require.True(t, m.Authoritative)
		require.Equal(t, []string{"WEB.shop.svc.cluster.local.\t5\tIN\tA\t10.96.7.1"}, texts(m.Answer))
		no := ask(t, network, p, "no.shop.svc.cluster.local.", mdns.TypeA)
		require.Equal(t, mdns.RcodeNameError, no.Rcode)
		require.Equal(t, []string{"cluster.local.\t5\tIN\tSOA\tns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"}, texts(no.Ns))
	}
	for _, kind := range []uint16{mdns.TypeAXFR, mdns.TypeIXFR} { // no transfer is configured
		no := ask(t, "tcp", p, "cluster.local.", kind)
		require.Equal(t, mdns.RcodeRefused, no.Rcode)
		require.Empty(t, append(no.Answer, no.Ns...))
	}
	all := ask(t, "udp", p, "web.shop.svc.cluster.local.", mdns.TypeANY)
	require.Equal(t, []any{mdns.RcodeSuccess, 0, 1}, []any{all.Rcode, len(all.Answer), len(all.Ns)}, "as of a type that it does not have")
	require.Equal(t, mdns.RcodeRefused, ask(t, "udp", p, "example.com.", mdns.TypeA).Rcode) // there is no forward
	require.Equal(t, mdns.RcodeNotImplemented, ask(t, "udp", p, ".", mdns.TypeA, func(m *mdns.Msg) { m.Opcode = mdns.OpcodeStatus }).Rcode)
	require.Equal(t, mdns.RcodeRefused, ask(t, "udp", p, "cluster.local.", mdns.TypeA, func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS }).Rcode)
	require.Equal(t, mdns.RcodeBadVers, ask(t, "udp", p, "cluster.local.", mdns.TypeA, func(m *mdns.Msg) { m.SetEdns0(512, false); m.IsEdns0().SetVersion(1) }).Rcode)
	r.says(`"A IN web.shop.svc.cluster.local. tcp 44 false 512" NOERROR qr,aa,rd,ra`)

	_, text = get(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", pages[2]))
	require.Regexp(t, regexp.QuoteMeta(fmt.Sprintf(`coredns_dns_responses_total{rcode="NXDOMAIN",server="dns://:%d",zone="."} `, p))+"([2-9]|[1-9][0-9])", text, "twice, or more often if it was slow")
}

func texts(list []mdns.RR) (out []string) {
	for _, rr := range list {
		out = append(out, rr.String())
	}
	return out
}

// What does not fit is cut off, and the client comes back over TCP, unless it
// said by EDNS that it can take more.
func TestTruncation(t *testing.T) {
	var s dns.Snapshot
	svc := dns.Service{Meta: dns.Meta{Namespace: "shop", Name: "many"}}
	svc.Spec.ClusterIP = "None"
	s.Services = []dns.Service{svc}
	slice := dns.EndpointSlice{Meta: dns.Meta{Namespace: "shop", Name: "many-1", Labels: map[string]string{"kubernetes.io/service-name": "many"}}}
	for i := range 60 {
		slice.Endpoints = append(slice.Endpoints, dns.Endpoint{Addresses: []string{fmt.Sprintf("10.244.1.%d", i)}})
	}
	s.Slices = []dns.EndpointSlice{slice}
	source, p := &known{}, port(t)
	source.index.Store(dns.NewIndex(s, 1))
	serve(t, fmt.Sprintf(".:%d {\n kubernetes cluster.local\n}", p), source)
	const name = "many.shop.svc.cluster.local."
	m := ask(t, "udp", p, name, mdns.TypeA)
	require.True(t, m.Truncated)
	m.Compress = true
	require.LessOrEqual(t, m.Len(), 512)
	m = ask(t, "udp", p, name, mdns.TypeA, func(m *mdns.Msg) { m.SetEdns0(4096, false) })
	require.False(t, m.Truncated)
	require.Len(t, m.Answer, 60)
	require.NotNil(t, m.IsEdns0())
	m = ask(t, "tcp", p, name, mdns.TypeA)
	require.Len(t, m.Answer, 60)
}

func TestReload(t *testing.T) {
	p, moved := port(t), port(t)
	r := serve(t, fmt.Sprintf(".:%d {\n reload 2s\n hosts {\n  192.0.2.1 a.test\n }\n}", p), nil)
	require.Equal(t, []string{"a.test.\t3600\tIN\tA\t192.0.2.1"}, texts(ask(t, "udp", p, "a.test.", mdns.TypeA).Answer))
	r.write(".:53 {\n reload 2s\n hostess\n}")
	r.says("[ERROR] plugin/reload: Corefile changed but reload failed: " + r.file + ":3 - Error during parsing: Unknown directive 'hostess'")
	require.Len(t, ask(t, "udp", p, "a.test.", mdns.TypeA).Answer, 1, "the old configuration stays")
	r.write(fmt.Sprintf(".:%d {\n reload 2s\n hosts {\n  192.0.2.2 a.test\n  ttl 7\n }\n}", moved))
	r.says("[INFO] Reloading complete")
	require.Equal(t, []string{"a.test.\t7\tIN\tA\t192.0.2.2"}, texts(ask(t, "udp", moved, "a.test.", mdns.TypeA).Answer))
	_, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p))
	require.Error(t, err, "the old port is closed")
}

func TestServerRefusesToStart(t *testing.T) {
	busy, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	for name, c := range map[string]struct{ corefile, want string }{
		"wrong Corefile": {".:53 {\n oops\n}", "Corefile:2 - Error during parsing: Unknown directive 'oops'"},
		"port taken":     {fmt.Sprintf(".:%d {\n}", busy.LocalAddr().(*net.UDPAddr).Port), "address already in use"},
		"no API":         {".:53 {\n kubernetes cluster.local\n}", "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, <-serve(t, c.corefile, nil).done, c.want)
		})
	}
}

func TestLameduck(t *testing.T) {
	for limit := 3 * time.Second; !lameduck(t, limit); limit *= 4 {
		require.Less(t, limit, time.Minute, "it does not answer any more")
	}
}

// lameduck ends a server, and tells whether it was still asked within a limit: a
// busy machine may be too slow for that.
func lameduck(t *testing.T, limit time.Duration) bool {
	p, ready := port(t), port(t)
	r := serve(t, fmt.Sprintf(".:%d {\n ready :%d\n health :%d {\n  lameduck %s\n }\n hosts {\n  192.0.2.1 a.test\n }\n}", p, ready, port(t), limit), nil)
	require.Len(t, ask(t, "udp", p, "a.test.", mdns.TypeA).Answer, 1)
	r.stop()
	r.says("[INFO] plugin/health: Going into lameduck mode for " + limit.String())
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", ready))
	if err == nil {
		require.NoError(t, res.Body.Close())
		require.Equal(t, 503, res.StatusCode)
		var m *mdns.Msg
		if m, err = mdns.Exchange(new(mdns.Msg).SetQuestion("a.test.", mdns.TypeA), fmt.Sprintf("127.0.0.1:%d", p)); err == nil {
			require.Len(t, m.Answer, 1, "it still answers")
		}
	}
	require.NoError(t, <-r.done)
	return err == nil
}
