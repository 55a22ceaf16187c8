package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

// through returns a transport that goes through a proxy of that configuration,
// and can go no other way.
func through(t *testing.T, c ProxyConfig, ca *x509.CertPool) *http.Transport {
	t.Helper()
	s := httptest.NewServer(Proxy(c))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	tr := &http.Transport{
		Proxy:           http.ProxyURL(u),
		TLSClientConfig: &tls.Config{RootCAs: ca},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			require.Equal(t, u.Host, addr, "only the proxy can be reached")
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// elsewhere dials one address, whatever name was asked for.
func elsewhere(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

func TestProxyToPlainRegistry(t *testing.T) {
	host := serve(t, Config{Tools: testLayer(t)})
	tr := through(t, ProxyConfig{Dial: elsewhere(host)}, nil)
	img, err := remote.Image(reference(t, "registry.example/tools:1"), remote.WithTransport(tr))
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))
}

func TestProxyToTLSRegistry(t *testing.T) {
	r, err := New(Config{Tools: testLayer(t)})
	require.NoError(t, err)
	s := httptest.NewTLSServer(r)
	t.Cleanup(s.Close)
	ca := x509.NewCertPool()
	ca.AddCert(s.Certificate())
	// The certificate is for example.com: the name is checked end to end.
	tr := through(t, ProxyConfig{Dial: elsewhere(s.Listener.Addr().String())}, ca)
	img, err := remote.Image(reference(t, "example.com/tools:1"), remote.WithTransport(tr))
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))
}

func TestProxyRefuses(t *testing.T) {
	s := httptest.NewServer(Proxy(ProxyConfig{MaxConns: 1}))
	t.Cleanup(s.Close)
	get := func(change func(*http.Request)) int {
		req, err := http.NewRequest(http.MethodGet, s.URL, nil)
		require.NoError(t, err)
		change(req)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	require.Equal(t, http.StatusBadRequest, get(func(*http.Request) {}), "not a proxy request")
	require.Equal(t, http.StatusLoopDetected, get(func(r *http.Request) { r.Header.Set("Via", via) }))
}

func TestProxySaysWhatFailed(t *testing.T) {
	tr := through(t, ProxyConfig{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "registry.example"}
	}}, nil)
	client := &http.Client{Transport: tr}
	resp, err := client.Get("http://registry.example/v2/")
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	require.Contains(t, string(body), "registry.example: no such host")
	_, err = client.Get("https://registry.example/v2/")
	require.ErrorContains(t, err, "Bad Gateway")
}

// fromLinkLocal is a connection that claims a link-local peer.
type fromLinkLocal struct{ net.Conn }

func (fromLinkLocal) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(169, 254, 169, 254), Port: 80}
}

func TestProxyKeepsOffLinkLocal(t *testing.T) {
	tr := through(t, ProxyConfig{Dial: func(context.Context, string, string) (net.Conn, error) {
		c, _ := net.Pipe()
		return fromLinkLocal{c}, nil
	}}, nil)
	_, err := (&http.Client{Transport: tr}).Get("https://metadata.example/")
	require.ErrorContains(t, err, "Forbidden")
}

func TestProxyIsBoundedAndIdleTunnelsEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	serve := func(c ProxyConfig) *httptest.Server {
		s := httptest.NewServer(Proxy(c))
		t.Cleanup(s.Close)
		return s
	}
	connect := func(s *httptest.Server) (net.Conn, string) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, "CONNECT "+l.Addr().String()+" HTTP/1.1\r\nHost: "+l.Addr().String()+"\r\n\r\n")
		require.NoError(t, err)
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		require.NoError(t, err)
		return conn, string(buf[:n])
	}
	bounded := serve(ProxyConfig{MaxConns: 1, Idle: time.Minute})
	first, line := connect(bounded)
	require.Contains(t, line, "200")
	_, line = connect(bounded)
	require.Contains(t, line, "503")
	require.NoError(t, first.Close())

	idle, line := connect(serve(ProxyConfig{MaxConns: 1, Idle: 50 * time.Millisecond}))
	require.Contains(t, line, "200")
	_, err = io.Copy(io.Discard, idle)
	require.NoError(t, err)
}
