package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// ForwardConfig is a forward directive: who is asked instead.
type ForwardConfig struct {
	From          string
	To            []string // "192.0.2.10:53"
	Except        []string
	Policy        string // "random", "round_robin", "sequential"
	MaxFails      int    // failures in a row after which a server is down; 0: never
	HealthCheck   time.Duration
	MaxConcurrent int64
	ForceTCP      bool
}

func (r *reader) forward(d Directive) {
	f := &ForwardConfig{Policy: "random", MaxFails: 2, HealthCheck: 500 * time.Millisecond}
	r.server.Forward = append(r.server.Forward, f)
	if !r.args(d, 2, 1<<10) {
		return
	}
	if from := r.zones(d, d.Args[:1]); len(from) == 1 {
		f.From = from[0]
	}
	for _, to := range d.Args[1:] {
		list, err := upstreams(to)
		if err != nil {
			r.fail(d.Line, "forward: %v", err)
			return
		}
		f.To = append(f.To, list...)
	}
	set := func(to *int) func(Directive) {
		return func(o Directive) {
			if r.args(o, 1, 1) {
				*to = int(r.seconds(o, o.Args[0], 0))
			}
		}
	}
	concurrent := 0
	r.options(d, map[string]func(Directive){
		"except":         func(o Directive) { f.Except = r.zones(o, o.Args) },
		"force_tcp":      func(o Directive) { f.ForceTCP = r.args(o, 0, 0) },
		"max_fails":      set(&f.MaxFails),
		"max_concurrent": set(&concurrent),
		"policy": func(o Directive) {
			if f.Policy = strings.Join(o.Args, " "); !slices.Contains([]string{"random", "round_robin", "sequential"}, f.Policy) {
				r.fail(o.Line, "forward: the policy is random, round_robin or sequential, not %q", f.Policy)
			}
		},
		"health_check": func(o Directive) {
			if r.args(o, 1, 1) {
				f.HealthCheck = max(10*time.Millisecond, r.duration(o, o.Args[0]))
			}
		},
	})
	f.MaxConcurrent = int64(concurrent)
}

// upstreams are the servers that one word of forward means: an address, or the
// nameservers of a resolv.conf(5).
func upstreams(to string) ([]string, error) {
	if strings.Contains(to, "://") {
		scheme, rest, _ := strings.Cut(to, "://")
		if scheme != "dns" {
			return nil, fmt.Errorf("%q: upstream servers are asked over plain DNS here, not %s", to, scheme)
		}
		to = rest
	}
	if a, err := netip.ParseAddr(to); err == nil {
		return []string{netip.AddrPortFrom(a, dnsPort).String()}, nil
	}
	if a, err := netip.ParseAddrPort(to); err == nil {
		return []string{a.String()}, nil
	}
	text, err := os.ReadFile(to)
	if err != nil {
		return nil, fmt.Errorf("not an IP address or file: %q", to)
	}
	var list []string
	for l := range strings.Lines(string(text)) {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				list = append(list, netip.AddrPortFrom(a, dnsPort).String())
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no nameservers found in %q", to)
	}
	return list, nil
}

// upstream is a server that is asked.
type upstream struct {
	addr  string
	fails atomic.Int32
	check sync.Mutex // held while its health is looked at
}

type forwarder struct {
	*ForwardConfig
	list   []*upstream
	busy   atomic.Int64
	turn   atomic.Uint64
	server *Server
	ended  <-chan struct{} // its configuration is no longer in use
}

// How long one server may take, and all of them together.
const (
	readTimeout    = 2 * time.Second
	forwardTimeout = 5 * time.Second
)

func (s *Server) forwardStage(c *ForwardConfig, g *generation) Stage {
	f := &forwarder{ForwardConfig: c, server: s, ended: g.ctx.Done()}
	for _, to := range c.To {
		f.list = append(f.list, &upstream{addr: to})
	}
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
			if !mdns.IsSubDomain(f.From, r.name()) || fallsThrough(f.Except, r.name()) {
				return next(ctx, r)
			}
			return f.ask(ctx, r)
		}
	}
}

var errBusy = errors.New("plugin/forward: concurrent queries exceeded maximum")

// ask tries the servers in the policy's order, those that are well first. When
// all are down it asks nevertheless: that they are is only what was seen last.
func (f *forwarder) ask(ctx context.Context, r *Request) (*mdns.Msg, error) {
	defer f.busy.Add(-1)
	if n := f.busy.Add(1); f.MaxConcurrent > 0 && n > f.MaxConcurrent {
		return nil, fmt.Errorf("%w %d", errBusy, f.MaxConcurrent)
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	var last error
	for _, u := range f.order() {
		m, err := f.exchange(ctx, u, r)
		if err == nil {
			u.fails.Store(0)
			return m, nil
		}
		last = err
		if int(u.fails.Add(1)) >= f.MaxFails && f.MaxFails > 0 {
			f.watch(u)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func (f *forwarder) down(u *upstream) bool {
	return f.MaxFails > 0 && int(u.fails.Load()) >= f.MaxFails
}

func (f *forwarder) order() []*upstream {
	list := slices.Clone(f.list)
	switch f.Policy {
	case "random":
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	case "round_robin":
		n := int(f.turn.Add(1)-1) % len(list)
		list = slices.Concat(list[n:], list[:n])
	}
	slices.SortStableFunc(list, func(a, b *upstream) int {
		return boolRank(f.down(a)) - boolRank(f.down(b))
	})
	return list
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// exchange asks one server, in the way in which the client asked.
func (f *forwarder) exchange(ctx context.Context, u *upstream, r *Request) (*mdns.Msg, error) {
	network := r.Proto
	if f.ForceTCP {
		network = "tcp"
	}
	ask := r.Msg.Copy()
	ask.Id = mdns.Id()
	f.server.metrics.count("coredns_forward_requests_total", "to", u.addr)
	m, err := exchange(ctx, network, u.addr, ask)
	if err != nil {
		r.trail.says("forward", "unanswered", "forward %s asked %s, which did not answer: %v", f.From, u.addr, err)
		return nil, err
	}
	r.trail.says("forward", "forwarded", "forward %s asked %s, which says %s", f.From, u.addr, mdns.RcodeToString[m.Rcode])
	r.trail.told(u.addr, m)
	withoutReason(m)
	m.Id = r.Msg.Id
	return m, nil
}

func exchange(ctx context.Context, network, addr string, ask *mdns.Msg) (*mdns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	c := mdns.Client{Net: network, Timeout: readTimeout, UDPSize: mdns.MaxMsgSize}
	m, _, err := c.ExchangeContext(ctx, ask, addr)
	if netErr := (net.Error)(nil); errors.As(err, &netErr) || err == nil {
		return m, err
	}
	return m, fmt.Errorf("ask %s: %w", addr, err)
}

// watch asks a server that is down, over and over, until it answers or another
// configuration is in use.
func (f *forwarder) watch(u *upstream) {
	if !u.check.TryLock() {
		return
	}
	f.server.work.Go(func() {
		defer u.check.Unlock()
		for {
			select {
			case <-f.ended:
				return
			case <-time.After(f.HealthCheck):
			}
			ask := new(mdns.Msg).SetQuestion(".", mdns.TypeNS)
			if _, err := exchange(context.Background(), "udp", u.addr, ask); err == nil {
				u.fails.Store(0)
				return
			}
			f.server.metrics.count("coredns_forward_healthcheck_failures_total", "to", u.addr)
		}
	})
}
