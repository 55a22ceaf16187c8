package ingress

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Proxy serves requests by a table.
type Proxy struct {
	Log *log.Logger
	// Own is the certificate for names that no Ingress has one for.
	Own *tls.Certificate

	table     atomic.Pointer[Table]
	transport http.Transport
}

// NewProxy returns a proxy that knows no routes yet.
func NewProxy(logger *log.Logger, own *tls.Certificate) *Proxy {
	p := &Proxy{Log: logger, Own: own}
	p.transport = http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 32, IdleConnTimeout: 60 * time.Second, DisableCompression: true,
	}
	p.table.Store(NewTable(Snapshot{}))
	return p
}

// Use replaces the table; requests that are under way go on.
func (p *Proxy) Use(t *Table) { p.table.Store(t) }

// TLS is how connections are secured: by the certificate of the name that the
// client asks for (SNI).
func (p *Proxy) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c := p.table.Load().Certificate(hello.ServerName); c != nil {
			return c, nil
		}
		return p.Own, nil
	}}
}

// ServeHTTP leads a request to an endpoint.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := p.table.Load().Route(r.Host, r.URL.Path)
	switch {
	case route == nil:
		http.Error(w, "default backend - 404", http.StatusNotFound)
		p.said(r, "no Ingress", http.StatusNotFound)
	case len(route.Endpoints) == 0:
		http.Error(w, "503 Service Temporarily Unavailable", http.StatusServiceUnavailable)
		p.said(r, route.Ingress+" "+route.Service+" has no endpoints", http.StatusServiceUnavailable)
	default:
		p.forward(w, r, route)
	}
}

// forward sends the request to one endpoint, and to others if nobody listens
// there. Upgrades, such as to websockets, pass.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, route *Route) {
	first := rand.IntN(len(route.Endpoints))
	to := route.Endpoints[first]
	proxy := httputil.ReverseProxy{
		Transport: &tries{next: &p.transport, endpoints: route.Endpoints, first: first},
		ErrorLog:  p.Log, FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(&url.URL{Scheme: "http", Host: to})
			pr.Out.Host = pr.In.Host
			pr.SetXForwarded()
			client, _, _ := net.SplitHostPort(pr.In.RemoteAddr)
			pr.Out.Header.Set("X-Real-IP", client)
			pr.Out.Header.Set("X-Forwarded-Port", portOf(pr.In))
		},
		ModifyResponse: func(res *http.Response) error {
			p.said(r, route.Ingress+" "+route.Service+" "+res.Request.URL.Host, res.StatusCode)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, "502 Bad Gateway", http.StatusBadGateway)
			p.said(r, fmt.Sprintf("%s %s: %v", route.Ingress, route.Service, err), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, r)
}

// portOf is the port at which a request came in.
func portOf(r *http.Request) string {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(addr.String()); err == nil {
			return port
		}
	}
	return ""
}

func (p *Proxy) said(r *http.Request, by string, code int) {
	p.Log.Printf("%s %s %s%s %d by %s", r.RemoteAddr, r.Method, r.Host, strings.SplitN(r.URL.RequestURI(), "?", 2)[0], code, by)
}

// tries sends a request to the next endpoint if it did not reach one.
type tries struct {
	next      http.RoundTripper
	endpoints []string
	first     int
}

func (t *tries) RoundTrip(r *http.Request) (res *http.Response, err error) {
	for i := range t.endpoints {
		out := r.Clone(r.Context())
		out.URL.Host = t.endpoints[(t.first+i)%len(t.endpoints)]
		res, err = t.next.RoundTrip(out)
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" || r.Body != nil && r.Body != http.NoBody {
			return res, err
		}
	}
	return res, err
}
