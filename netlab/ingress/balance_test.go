package ingress_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/ingress"
)

// leading is a proxy whose Ingress "shop" leads to these endpoints of web.
func leading(t *testing.T, annotations, protocol string, endpoints ...string) *ingress.Proxy {
	t.Helper()
	s := shop(t, `
metadata: {namespace: default, name: shop, annotations: {`+annotations+`}}
spec:
  ingressClassName: klab
  rules: [{host: shop.example, http: {paths: [`+path("/", "Prefix", "web")+`]}}]`)
	s.Services[0].Spec.Ports[0].AppProtocol = protocol
	s.Slices = nil
	for i, to := range endpoints {
		host, port, err := net.SplitHostPort(to)
		require.NoError(t, err)
		s.Slices = append(s.Slices, from[ingress.Slice](t, fmt.Sprintf(`
metadata: {namespace: default, name: web-%d, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: %s}]
endpoints: [{addresses: [%q]}]`, i, port, host)))
	}
	own, err := ingress.SelfSigned()
	require.NoError(t, err)
	p := ingress.NewProxy(log.New(io.Discard, "", 0), own)
	p.Use(ingress.NewTable(s))
	return p
}

// send sends one request to a proxy and returns how it was answered.
func send(t *testing.T, client *http.Client, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Host = "shop.example"
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

func TestRequestsTakeTurns(t *testing.T) {
	var at []string
	for i := range 3 {
		at = append(at, echo(t, fmt.Sprint("web-", i)))
	}
	front := httptest.NewServer(leading(t, "", "", at...))
	defer front.Close()
	count := map[string]int{}
	for range 9 {
		_, body := send(t, front.Client(), http.MethodGet, front.URL, "")
		who, _, _ := strings.Cut(body, " ")
		count[who]++
	}
	require.Equal(t, map[string]int{"web-0": 3, "web-1": 3, "web-2": 3}, count)
}

// With least_conn who is busy gets nothing, as long as somebody is not.
func TestTheLeastBusyIsChosen(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			once.Do(func() { close(begun) })
			<-end
		}
		fmt.Fprint(w, "slow ")
	}))
	defer slow.Close()
	quick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			w.WriteHeader(http.StatusTeapot) // not this one
			return
		}
		fmt.Fprint(w, "quick ")
	}))
	defer quick.Close()
	front := httptest.NewServer(leading(t, "klab.local/load-balance: least_conn", "", slow.Listener.Addr().String(), quick.Listener.Addr().String()))
	defer front.Close()
	var held sync.WaitGroup
	other := &http.Client{Transport: &http.Transport{}} // a connection's requests come one after the other
	defer other.CloseIdleConnections()
	held.Go(func() { // until the slow one has it: whose turn it is first is not said
		for code := 0; code != http.StatusOK; {
			code, _ = send(t, other, http.MethodGet, front.URL+"/slow", "")
		}
	})
	<-begun
	for range 6 {
		_, body := send(t, front.Client(), http.MethodGet, front.URL, "")
		require.Equal(t, "quick ", body)
	}
	close(end)
	held.Wait()
}

// refusing is an address at which nobody listens, and nobody else can meanwhile.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := unix.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprint("127.0.0.1:", at.(*unix.SockaddrInet4).Port)
}

// A request that reached nobody goes to the next endpoint, with its body; one
// that was taken and not answered only if it may be carried out twice.
func TestDeadEndpoints(t *testing.T) {
	closed := refusing(t)
	rude, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer rude.Close()
	go func() { // takes each request and hangs up
		for {
			c, err := rude.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			c.Close()
		}
	}()
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Method, body)
	}))
	defer well.Close()
	alive := well.Listener.Addr().String()

	front := httptest.NewServer(leading(t, "", "", closed, alive))
	defer front.Close()
	for range 4 {
		code, body := send(t, front.Client(), http.MethodPost, front.URL, "order")
		require.Equal(t, "200 POST order", fmt.Sprint(code, " ", body))
	}
	broken := httptest.NewServer(leading(t, "", "", rude.Addr().String(), alive))
	defer broken.Close()
	for range 4 {
		code, body := send(t, broken.Client(), http.MethodGet, broken.URL, "")
		require.Equal(t, "200 GET ", fmt.Sprint(code, " ", body))
	}
	only := httptest.NewServer(leading(t, "", "", rude.Addr().String()))
	defer only.Close()
	code, _ := send(t, only.Client(), http.MethodPost, only.URL, "order")
	require.Equal(t, http.StatusBadGateway, code)
	codes := map[int]int{}
	both := httptest.NewServer(leading(t, "", "", rude.Addr().String(), alive))
	defer both.Close()
	for range 4 {
		code, _ := send(t, both.Client(), http.MethodPost, both.URL, "")
		codes[code]++
	}
	require.Positive(t, codes[http.StatusBadGateway])
	require.Positive(t, codes[http.StatusOK], "then it is put aside")
}

// Clients may speak HTTP/2, and endpoints whose port says so.
func TestHTTP2(t *testing.T) {
	well := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprintf(w, "by %s", r.Proto)
		w.Header().Set("Grpc-Status", "0")
	}))
	well.Config.Protocols = new(http.Protocols)
	well.Config.Protocols.SetUnencryptedHTTP2(true)
	well.Config.Protocols.SetHTTP1(true)
	well.Start()
	defer well.Close()
	for protocol, want := range map[string]string{"": "by HTTP/1.1", "kubernetes.io/h2c": "by HTTP/2.0"} {
		p := leading(t, "", protocol, well.Listener.Addr().String())
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		front := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
		done := make(chan error, 1)
		go func() { done <- front.Serve(tls.NewListener(l, p.TLS())) }()
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+l.Addr().String(), nil)
		require.NoError(t, err)
		req.Host = "shop.example"
		res, err := client.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, "HTTP/2.0 "+want, res.Proto+" "+string(body))
		require.Equal(t, "0", res.Trailer.Get("Grpc-Status"))
		client.CloseIdleConnections()
		require.NoError(t, front.Shutdown(context.Background()))
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	}
}

func TestBadBalanceAnnotation(t *testing.T) {
	s := shop(t, `
metadata: {namespace: default, name: shop, annotations: {klab.local/load-balance: dice}}
spec: {ingressClassName: klab, rules: [{http: {paths: [`+path("/", "Prefix", "web")+`]}}]}`)
	table := ingress.NewTable(s)
	require.Equal(t, `klab.local/load-balance is round_robin or least_conn, not "dice": round_robin is used`, table.Problems[0].Message)
	require.Equal(t, ingress.RoundRobin, table.Route("x", "/").Balance)
}
