package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"
)

// ProxyConfig is what a [Proxy] is made of; its zero value is good.
type ProxyConfig struct {
	// Dial reaches other registries; by default through the network of the
	// process that serves, which is the machine's own.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// MaxConns is how many requests and tunnels there may be at once; 0: 64.
	MaxConns int
	// Idle ends a tunnel in which nothing moves for so long; 0: two minutes.
	Idle time.Duration
}

// proxy is a forward proxy (RFC 9110, sections 3.7 and 9.3.6).
type proxy struct {
	config ProxyConfig
	slots  chan struct{}
	plain  *httputil.ReverseProxy
}

// Proxy forwards plain requests with an absolute address, and CONNECT. It
// refuses what no image pull needs: link-local addresses, where clouds keep
// their machines' secrets, requests that came through it before, and more than
// MaxConns at once. It does not otherwise choose: whoever can start a pod on a
// node could send the same request from there, if the node had a way out.
func Proxy(c ProxyConfig) http.Handler {
	if c.MaxConns == 0 {
		c.MaxConns = 64
	}
	if c.Idle == 0 {
		c.Idle = 2 * time.Minute
	}
	if c.Dial == nil {
		d := &net.Dialer{Timeout: 20 * time.Second}
		c.Dial = d.DialContext
	}
	p := &proxy{config: c, slots: make(chan struct{}, c.MaxConns)}
	p.plain = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.Header.Add("Via", via) },
		Transport: &http.Transport{
			DialContext: p.dial, MaxIdleConns: 16, IdleConnTimeout: c.Idle, DisableCompression: true,
			ResponseHeaderTimeout: time.Minute,
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "klab proxy: "+err.Error(), http.StatusBadGateway)
		},
	}
	return p
}

// via marks what went through the proxy, so that a loop ends.
const via = "1.1 klab-proxy"

var errLinkLocal = errors.New("link-local addresses are not reached through klab's proxy")

func (p *proxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	for _, v := range req.Header.Values("Via") {
		if v == via {
			http.Error(w, "klab proxy: the request goes in a circle", http.StatusLoopDetected)
			return
		}
	}
	if req.Method != http.MethodConnect && (!req.URL.IsAbs() || req.URL.Scheme != "http") {
		http.Error(w, "klab proxy: it takes CONNECT and absolute http addresses only", http.StatusBadRequest)
		return
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		http.Error(w, fmt.Sprintf("klab proxy: %d connections are open already", p.config.MaxConns), http.StatusServiceUnavailable)
		return
	}
	if req.Method == http.MethodConnect {
		p.tunnel(w, req)
		return
	}
	p.plain.ServeHTTP(w, req)
}

// dial connects and then looks whom it reached: a name may resolve to anything.
func (p *proxy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := p.config.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if to, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil && to.Addr().Unmap().IsLinkLocalUnicast() {
		return nil, errors.Join(errLinkLocal, conn.Close())
	}
	return conn, nil
}

// tunnel joins the client with the server that it named.
func (p *proxy) tunnel(w http.ResponseWriter, req *http.Request) {
	server, err := p.dial(req.Context(), "tcp", req.Host)
	if err != nil {
		status := http.StatusBadGateway
		if errors.Is(err, errLinkLocal) {
			status = http.StatusForbidden
		}
		http.Error(w, "klab proxy: "+err.Error(), status)
		return
	}
	defer server.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "klab proxy: "+err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if err := client.SetDeadline(time.Time{}); err != nil {
		return
	}
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	// When one direction ends, for whatever reason, so does the tunnel's use
	// for it; the other may still finish.
	var both sync.WaitGroup
	both.Go(func() { p.pump(server, buffered, client) })
	both.Go(func() { p.pump(client, server, server) })
	both.Wait()
}

// pump copies until from ends or is idle too long, then ends to's input.
// source is the connection under from.
func (p *proxy) pump(to net.Conn, from io.Reader, source net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		if source.SetReadDeadline(time.Now().Add(p.config.Idle)) != nil {
			break
		}
		n, err := from.Read(buf)
		if n > 0 {
			if to.SetWriteDeadline(time.Now().Add(p.config.Idle)) != nil {
				break
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		return
	}
	to.Close()
}
