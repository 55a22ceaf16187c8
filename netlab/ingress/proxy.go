package ingress

import (
	"crypto/tls"
	"fmt"
	"log"
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
	balance   *balance
	transport http.Transport // HTTP/1.1
	h2c       http.Transport // HTTP/2 without TLS
}

// answerTimeout is how long an endpoint may take to begin its answer, as nginx's
// proxy_read_timeout.
const answerTimeout = 60 * time.Second

// NewProxy returns a proxy that knows no routes yet.
func NewProxy(logger *log.Logger, own *tls.Certificate) *Proxy {
	p := &Proxy{Log: logger, Own: own, balance: newBalance()}
	dial := (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	p.transport = http.Transport{
		DialContext: dial, MaxIdleConnsPerHost: 32, IdleConnTimeout: 60 * time.Second, DisableCompression: true,
		ResponseHeaderTimeout: answerTimeout,
	}
	p.h2c = http.Transport{DialContext: dial, IdleConnTimeout: 60 * time.Second, DisableCompression: true, Protocols: new(http.Protocols)}
	p.h2c.Protocols.SetUnencryptedHTTP2(true)
	p.table.Store(NewTable(Snapshot{}))
	return p
}

// Use replaces the table; requests that are under way go on.
func (p *Proxy) Use(t *Table) {
	p.table.Store(t)
	p.balance.keep(t)
}

// TLS is how connections are secured: by the certificate of the name that the
// client asks for (SNI), as the table of that moment has it.
func (p *Proxy) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
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

// forward sends the request to one endpoint, and to others if it cannot be
// reached. Upgrades, such as to websockets, pass.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, route *Route) {
	order := p.balance.order(route)
	to := order[0]
	t := &tries{next: &p.transport, balance: p.balance, endpoints: order}
	if route.H2C {
		t.next = &p.h2c
	}
	defer t.release()
	proxy := httputil.ReverseProxy{
		Transport: t,
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
