package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

func testServer(t *testing.T) (*web, *httptest.Server) {
	w := &web{pod: "web-1", node: "node-2", host: "web-1", started: time.Now(), out: &call{name: "httpd", out: t.Output(), err: t.Output()}}
	s := httptest.NewServer(w.handler())
	t.Cleanup(s.Close)
	return w, s
}

func TestHTTPAnswersWhoIsWho(t *testing.T) {
	_, s := testServer(t)
	r := run(t, "", "wget", "-q", s.URL+"/x")
	require.Equal(t, 0, r.code, r.err)
	require.Contains(t, r.out, "pod      web-1\nnode     node-2\n")
	require.Contains(t, r.out, "client   127.0.0.1:")
	require.Contains(t, r.out, `GET "/x"`)
}

func TestHTTPHealthCanFail(t *testing.T) {
	w, s := testServer(t)
	require.Equal(t, 0, run(t, "", "wget", s.URL+"/healthz").code)
	require.Equal(t, 0, run(t, "", "wget", s.URL+"/fail").code)
	r := run(t, "", "wget", s.URL+"/healthz")
	require.Equal(t, 8, r.code)
	require.Contains(t, r.err, "500")
	require.Equal(t, 0, run(t, "", "wget", s.URL+"/heal").code)
	require.Equal(t, 0, run(t, "", "wget", s.URL+"/readyz").code)
	w.draining.Store(true)
	require.Equal(t, 8, run(t, "", "wget", s.URL+"/readyz").code)
	require.Equal(t, 8, run(t, "", "wget", s.URL+"/slow?for=x").code)
	require.Equal(t, 4, run(t, "", "wget", "-T", "2", "http://127.0.0.1:1/").code)
}

// It waits for a server that does not answer yet, and then is not ready yet.
func TestDNSAwait(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan result, 1)
	go func() { done <- run(t, "", "klab-dns", "-await", "http://"+l.Addr().String()+"/ready") }()
	asked := make(chan int, 1000)
	n := 0
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		asked <- n
	})}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	r := <-done
	require.Equal(t, 0, r.code, r.err)
	require.GreaterOrEqual(t, len(asked), 3, "an answer that comes late may be asked for again")
}

func TestNetcat(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 16)
		n, _ := conn.Read(buf)
		conn.Write([]byte(strings.ToUpper(string(buf[:n]))))
	}()
	host, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.Equal(t, "HELLO\n", run(t, "hello\n", "nc", host, port).out)
}

// zone is a DNS server on loopback that knows a few names.
func zone(t *testing.T, names map[string][4]byte) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response = true
			q := m.Questions[0]
			ip, ok := names[q.Name.String()]
			if !ok {
				m.RCode = dnsmessage.RCodeNameError
			} else if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 5}, Body: &dnsmessage.AResource{A: ip}}}
			}
			if out, err := m.Pack(); err == nil {
				conn.WriteTo(out, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func TestNslookup(t *testing.T) {
	server := zone(t, map[string][4]byte{"web.lab.": {10, 0, 0, 7}})
	r := run(t, "", "nslookup", "web.lab", server)
	require.Equal(t, 0, r.code, r.err)
	require.Contains(t, r.out, "10.0.0.7")
	r = run(t, "", "nslookup", "none.lab.", server)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "NXDOMAIN")
	require.Equal(t, 2, run(t, "", "nslookup", "-type=WAT", "x").code)
}

func TestSearchListAndNdots(t *testing.T) {
	conf := parseResolvConf("# x\nnameserver 10.96.0.10\nsearch default.svc.lab svc.lab\noptions ndots:2 timeout:1\n")
	require.Equal(t, time.Second, conf.timeout)
	require.Equal(t, []string{"web.default.svc.lab.", "web.svc.lab.", "web."}, conf.candidates("web"))
	require.Equal(t, []string{"a.b.c.", "a.b.c.default.svc.lab.", "a.b.c.svc.lab."}, conf.candidates("a.b.c"))
	require.Equal(t, []string{"a."}, conf.candidates("a."))
	require.Equal(t, "7.0.0.10.in-addr.arpa.", reverseName(netip.MustParseAddr("10.0.0.7")))
}

func TestPing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: opens a raw socket")
	}
	r := run(t, "", "ping", "-c", "2", "-i", "0.01", "127.0.0.1")
	require.Equal(t, 0, r.code, r.err)
	require.Contains(t, r.out, "2 sent, 2 received, 0% lost")
}

func TestProcAddr(t *testing.T) {
	require.Equal(t, "127.0.0.1:80", procAddr("0100007F:0050"))
	require.Equal(t, "[::1]:80", procAddr("00000000000000000000000001000000:0050"))
	require.Equal(t, "0.0.0.0:*", procAddr("00000000:0000"))
}
