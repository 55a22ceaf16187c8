package ingress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
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

	"github.com/klab-project/klab/netlab/ingress"
	"github.com/klab-project/klab/netlab/kube"
)

// fakeAPI has lists, lets them be watched, and takes Events and status.
type fakeAPI struct {
	mu      sync.Mutex
	lists   map[string][]any
	version int
	changed chan struct{} // closed with each change
	wrote   chan string
}

func (f *fakeAPI) put(path string, objects ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists[path] = objects
	f.version++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer secret" {
		http.Error(w, `{"message": "Unauthorized"}`, http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet {
		body, _ := io.ReadAll(r.Body)
		f.wrote <- r.Method + " " + r.URL.Path + " " + string(body)
		fmt.Fprint(w, "{}")
		return
	}
	f.mu.Lock()
	items, version, changed := f.lists[r.URL.Path], f.version, f.changed
	f.mu.Unlock()
	if r.URL.Query().Get("watch") == "" {
		_ = json.NewEncoder(w).Encode(map[string]any{"metadata": map[string]any{"resourceVersion": fmt.Sprint(version)}, "items": items})
		return
	}
	if r.URL.Query().Get("resourceVersion") != fmt.Sprint(version) {
		w.WriteHeader(http.StatusGone)
		return
	}
	w.(http.Flusher).Flush()
	select {
	case <-changed:
	case <-r.Context().Done():
	}
}

// writes waits until something is written.
func (f *fakeAPI) writes(t *testing.T, what string) {
	t.Helper()
	for end := time.After(time.Minute); ; {
		select {
		case said := <-f.wrote:
			if strings.Contains(said, what) {
				return
			}
		case <-end:
			t.Fatalf("nobody writes %s", what)
		}
	}
}

// echo is an endpoint: it says who it is and what it was sent, or speaks after
// an upgrade.
func echo(t *testing.T, name string) (addr string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = rw.Flush()
			line, _ := rw.ReadString('\n')
			fmt.Fprint(rw, name+" heard "+line)
			_ = rw.Flush()
			return
		}
		fmt.Fprintf(w, "%s host=%s for=%s proto=%s forwarded-host=%s port=%s real=%s", name, r.Host, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"),
			r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Forwarded-Port"), r.Header.Get("X-Real-IP"))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// The whole controller against an API: routes, certificates by name, upgrades,
// status and Events; and changes take effect without a restart.
func TestController(t *testing.T) {
	web, other := echo(t, "web"), echo(t, "other")
	s := shop(t, `
metadata: {namespace: default, name: shop, uid: u1, generation: 1}
spec:
  ingressClassName: klab
  tls: [{hosts: [shop.example], secretName: shop}, {secretName: none}]
  rules: [{host: shop.example, http: {paths: [`+path("/", "Prefix", "web")+`]}}]`)
	cert, trusts := secret(t, "shop", "shop.example")
	slice := func(to string) map[string]any {
		host, port, err := net.SplitHostPort(to)
		require.NoError(t, err)
		return map[string]any{
			"metadata":  map[string]any{"namespace": "default", "name": "web-1", "labels": map[string]any{"kubernetes.io/service-name": "web"}},
			"ports":     []any{map[string]any{"name": "http", "port": json.Number(port)}},
			"endpoints": []any{map[string]any{"addresses": []any{host}}},
		}
	}
	f := &fakeAPI{lists: map[string][]any{}, changed: make(chan struct{}), wrote: make(chan string, 100)}
	f.put("/apis/networking.k8s.io/v1/ingresses", s.Ingresses[0])
	f.put("/apis/networking.k8s.io/v1/ingressclasses", s.Classes[0], s.Classes[1])
	f.put("/api/v1/services", s.Services[0])
	f.put("/apis/discovery.k8s.io/v1/endpointslices", slice(web))
	f.put("/api/v1/secrets", cert)
	server := httptest.NewServer(f)
	defer server.Close()

	logger := log.New(io.Discard, "", 0)
	own, err := ingress.SelfSigned()
	require.NoError(t, err)
	c := &ingress.Controller{Log: logger, Proxy: ingress.NewProxy(logger, own), NodeIP: "172.30.0.11",
		API: &kube.Client{Base: server.URL, HTTP: server.Client(), Token: func() (string, error) { return "secret", nil }}}
	var at []net.Listener
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		at = append(at, l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx, at[0], at[1], at[2]) }()
	defer func() { cancel(); require.NoError(t, <-done) }()

	require.Contains(t, <-f.wrote, `PATCH /apis/networking.k8s.io/v1/namespaces/default/ingresses/shop/status {"status":{"loadBalancer":{"ingress":[{"ip":"172.30.0.11"}]}}}`)
	require.Contains(t, <-f.wrote, `"reason":"Sync"`)
	missing := <-f.wrote
	require.Contains(t, missing, `POST /api/v1/namespaces/default/events`)
	require.Contains(t, missing, `"message":"Secret default/none does not exist: the controller's own certificate is shown"`)

	get := func(url, host string, config *tls.Config) (string, *tls.ConnectionState) {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: time.Minute}
		req, err := http.NewRequest(http.MethodGet, url, nil)
		require.NoError(t, err)
		req.Host = host
		req.Header.Set("X-Forwarded-For", "6.6.6.6") // what a client claims does not count
		res, err := client.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return strings.TrimSpace(string(body)), res.TLS
	}
	plain, secure := "http://"+at[0].Addr().String()+"/x", "https://"+at[1].Addr().String()+"/x"
	_, port, _ := net.SplitHostPort(at[0].Addr().String())
	body, _ := get(plain, "shop.example", nil)
	require.Equal(t, "web host=shop.example for=127.0.0.1 proto=http forwarded-host=shop.example port="+port+" real=127.0.0.1", body)
	body, _ = get(plain, "else.example", nil)
	require.Equal(t, "default backend - 404", body)
	body, _ = get(secure, "shop.example", &tls.Config{RootCAs: trusts, ServerName: "shop.example"})
	require.Contains(t, body, "web host=shop.example")
	require.Contains(t, body, "proto=https")
	_, state := get(secure, "else.example", &tls.Config{InsecureSkipVerify: true, ServerName: "else.example"})
	require.Equal(t, "Ingress Controller Fake Certificate", state.PeerCertificates[0].Subject.CommonName)

	conn, err := net.Dial("tcp", at[0].Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	fmt.Fprint(conn, "hello\n")
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "web heard hello\n", line)

	f.put("/apis/discovery.k8s.io/v1/endpointslices", slice(other))
	require.Eventually(t, func() bool {
		body, _ := get(plain, "shop.example", nil)
		return strings.HasPrefix(body, "other ")
	}, time.Minute, 10*time.Millisecond)
	f.put("/apis/discovery.k8s.io/v1/endpointslices")
	require.Eventually(t, func() bool {
		body, _ := get(plain, "shop.example", nil)
		return body == "503 Service Temporarily Unavailable"
	}, time.Minute, 10*time.Millisecond)
	body, _ = get("http://"+at[2].Addr().String()+"/readyz", "", nil)
	require.Equal(t, "ok", body)

	// A certificate that is renewed is shown to whoever comes next.
	renewed, _ := secret(t, "shop", "shop.example")
	want, err := tls.X509KeyPair(renewed.Data["tls.crt"], renewed.Data["tls.key"])
	require.NoError(t, err)
	f.put("/api/v1/secrets", renewed)
	require.Eventually(t, func() bool {
		_, state := get(secure, "shop.example", &tls.Config{InsecureSkipVerify: true, ServerName: "shop.example"})
		return bytes.Equal(state.PeerCertificates[0].Raw, want.Certificate[0])
	}, time.Minute, 10*time.Millisecond)

	// Somebody else's status is made right again; an Ingress that becomes another
	// controller's is no longer here.
	theirs := s.Ingresses[0]
	theirs.Status.LoadBalancer.Ingress = []ingress.Address{{IP: "203.0.113.9"}}
	f.put("/apis/networking.k8s.io/v1/ingresses", theirs)
	f.writes(t, `/ingresses/shop/status {"status":{"loadBalancer":{"ingress":[{"ip":"172.30.0.11"}]}}}`)
	theirs.Status.LoadBalancer.Ingress = []ingress.Address{{IP: "172.30.0.11"}}
	class := "other"
	theirs.Spec.IngressClassName = &class
	f.put("/apis/networking.k8s.io/v1/ingresses", theirs)
	f.writes(t, `/ingresses/shop/status {"status":{"loadBalancer":{"ingress":[]}}}`)
}
