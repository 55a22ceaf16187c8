package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// listeners are what a server has open: for each port UDP and TCP, and the
// pages for probes.
type listeners struct {
	server *Server
	dns    map[int][]*mdns.Server
	http   map[string]*http.Server
}

// open opens what a configuration needs and is not open yet, and closes what it
// no longer needs. After an error nothing has changed.
func (l *listeners) open(ctx context.Context, c *Config) (err error) {
	dns, pages := map[int][]*mdns.Server{}, map[string]*http.Server{}
	defer func() {
		if err != nil {
			for port, list := range dns {
				if l.dns[port] == nil {
					shut(list)
				}
			}
			for addr, srv := range pages {
				if l.http[addr] == nil {
					srv.Close()
				}
			}
		}
	}()
	for _, s := range c.Servers {
		if dns[s.Port] != nil {
			continue
		}
		list := l.dns[s.Port]
		if list == nil {
			if list, err = l.port(ctx, s.Port); err != nil {
				return err
			}
		}
		dns[s.Port] = list
	}
	for addr, h := range l.pages(c) {
		srv := l.http[addr]
		if srv == nil {
			if srv, err = l.page(ctx, addr, h); err != nil {
				return err
			}
		}
		pages[addr] = srv
	}
	for port, list := range l.dns {
		if dns[port] == nil {
			shut(list)
		}
	}
	for addr, srv := range l.http {
		if pages[addr] == nil {
			srv.Close()
		}
	}
	l.dns, l.http = dns, pages
	return nil
}

func shut(list []*mdns.Server) {
	for _, srv := range list {
		_ = srv.Shutdown()
	}
}

func (l *listeners) close() {
	for _, list := range l.dns {
		shut(list)
	}
	for _, srv := range l.http {
		srv.Close()
	}
}

// port opens a port for UDP and TCP.
func (l *listeners) port(ctx context.Context, port int) ([]*mdns.Server, error) {
	addr := net.JoinHostPort(l.server.Host, strconv.Itoa(port))
	var lc net.ListenConfig
	packets, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	conns, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	handle := mdns.HandlerFunc(func(w mdns.ResponseWriter, m *mdns.Msg) { l.server.serve(ctx, port, w, m) })
	return start(&l.server.work, handle, packets, conns)
}

func (l *listeners) pages(c *Config) map[string]http.Handler {
	pages := map[string]http.Handler{}
	if c.Health != "" {
		pages[c.Health] = on("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	}
	if c.Ready != "" {
		pages[c.Ready] = on("/ready", func(w http.ResponseWriter, _ *http.Request) {
			if !l.server.Ready() {
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprint(w, "kubernetes")
				return
			}
			fmt.Fprint(w, "OK")
		})
	}
	if c.Prometheus != "" {
		pages[c.Prometheus] = on("/metrics", l.server.metrics.ServeHTTP)
	}
	return pages
}

func on(path string, h http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(path, h)
	return mux
}

func (l *listeners) page(ctx context.Context, addr string, h http.Handler) (*http.Server, error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && host == "" {
		addr = net.JoinHostPort(l.server.Host, port)
	}
	var lc net.ListenConfig
	at, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	l.server.work.Go(func() {
		if err := srv.Serve(at); !errors.Is(err, http.ErrServerClosed) {
			l.server.fail(err)
		}
	})
	return srv, nil
}

// serve answers one message, in the size that its sender can take.
func (s *Server) serve(ctx context.Context, port int, w mdns.ResponseWriter, m *mdns.Msg) {
	r := &Request{Msg: m, Client: w.RemoteAddr(), Proto: w.RemoteAddr().Network(), Port: port, by: s.name}
	reply(w, r, func() (*mdns.Msg, error) { return s.Answer(ctx, r) })
}

// reply answers what can be answered at all, by answer.
func reply(w mdns.ResponseWriter, r *Request, answer func() (*mdns.Msg, error)) {
	var out *mdns.Msg
	opt := r.Msg.IsEdns0()
	size := 0
	r.trail, size = newTrail(r.Msg, r.by)
	switch {
	case r.Msg.Opcode != mdns.OpcodeQuery:
		out = new(mdns.Msg).SetRcode(r.Msg, mdns.RcodeNotImplemented)
	case len(r.Msg.Question) != 1:
		out = new(mdns.Msg).SetRcodeFormatError(r.Msg)
	case r.question().Qclass != mdns.ClassINET:
		out = new(mdns.Msg).SetRcode(r.Msg, mdns.RcodeRefused)
	case opt != nil && opt.Version() != 0:
		out = new(mdns.Msg).SetRcode(r.Msg, mdns.RcodeBadVers)
	default:
		var err error
		if out, err = answer(); err != nil {
			out = new(mdns.Msg).SetRcode(r.Msg, mdns.RcodeServerFailure)
			r.trail.says("server", "error", "it could not be answered: %v", err)
		}
	}
	_ = w.WriteMsg(fit(out, r, size)) // the client may be gone
}

// fit brings an answer into the size that the client takes: 512 bytes, what it
// says by EDNS, or over TCP all that there can be. What was cut off is asked for
// again over TCP. (RFC 1035, section 4.2; RFC 6891.) A query that asks for
// reasons says itself what its resolver would take; reasons come on top.
func fit(m *mdns.Msg, r *Request, said int) *mdns.Msg {
	var why []mdns.EDNS0
	if own := m.IsEdns0(); own != nil {
		why = slices.DeleteFunc(own.Option, func(o mdns.EDNS0) bool { return o.Option() != mdns.EDNS0EDE })
	}
	m.Extra = slices.DeleteFunc(slices.Clone(m.Extra), func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypeOPT })
	m.Compress = true
	size, room := mdns.MinMsgSize, ednsSize
	if r.Proto == "tcp" {
		size, room, said = mdns.MaxMsgSize, mdns.MaxMsgSize, 0
	}
	if said > 0 {
		m.Truncate(said)
		size = room
	}
	if opt := r.Msg.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
		m.SetEdns0(ednsSize, opt.Do())
		m.IsEdns0().Option = why
		if m.Rcode > 0xF {
			m.IsEdns0().SetExtendedRcode(uint16(m.Rcode))
		}
	}
	if !m.Truncated {
		m.Truncate(size)
	}
	r.trail.tell(m, room)
	return m
}

// ednsSize is what this server takes itself: more would be cut into fragments.
const ednsSize = 1232

// start serves UDP and TCP on what is open already, and returns when both do.
func start(work *sync.WaitGroup, h mdns.Handler, packets net.PacketConn, conns net.Listener) ([]*mdns.Server, error) {
	list := []*mdns.Server{{PacketConn: packets, UDPSize: mdns.MaxMsgSize}, {Listener: conns}}
	failed := make(chan error, len(list))
	for _, srv := range list {
		started := make(chan struct{})
		srv.Handler, srv.NotifyStartedFunc = h, func() { close(started) }
		work.Go(func() {
			if err := srv.ActivateAndServe(); err != nil {
				failed <- err
			}
		})
		select {
		case <-started:
		case err := <-failed:
			return nil, errors.Join(err, packets.Close(), conns.Close())
		}
	}
	return list, nil
}
