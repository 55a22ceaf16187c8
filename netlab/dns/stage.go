package dns

import (
	"context"
	"log"
	"math/rand/v2"
	"net"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// Request is one question from somebody.
type Request struct {
	Msg    *mdns.Msg
	Client net.Addr
	Proto  string // "udp", "tcp"
	Port   int    // of this server

	by    string // the server's own name
	trail *trail // nil: nobody wants to know
}

func (r *Request) question() mdns.Question { return r.Msg.Question[0] }

// name is the name asked for, in lower case.
func (r *Request) name() string { return mdns.CanonicalName(r.question().Name) }

// Handler answers a request. An error is answered with SERVFAIL.
type Handler func(context.Context, *Request) (*mdns.Msg, error)

// Stage is a Handler that may leave a request to the next one.
type Stage func(next Handler) Handler

// chain is a block's stages around each other, in the order of the table of
// directives. What falls off its end nobody here is responsible for.
func (s *Server) chain(c *ServerConfig, g *generation) Handler {
	var stages []Stage
	use := func(on bool, stage func() Stage) {
		if on {
			stages = append(stages, stage())
		}
	}
	use(true, func() Stage { return s.counting(c) })
	use(c.Errors, func() Stage { return errorsStage(s.Log) })
	use(c.Log != nil, func() Stage { return s.logStage(c) })
	use(c.Balance, func() Stage { return balanceStage })
	use(c.Cache != nil, func() Stage { return newCache(c.Cache, s.Now, s.metrics).stage })
	use(c.Hosts != nil, func() Stage { return c.Hosts.stage })
	use(c.Zone != nil, func() Stage { return s.kubernetesStage(c.Zone) })
	use(c.Loop, func() Stage { return s.loopStage(c, g) })
	for _, f := range c.Forward {
		use(true, func() Stage { return s.forwardStage(f, g) })
	}
	handler := refuse
	for _, stage := range slices.Backward(stages) {
		handler = stage(handler)
	}
	return handler
}

func refuse(_ context.Context, r *Request) (*mdns.Msg, error) {
	r.trail.says("server", "refused", "no plugin here answers for %s: it is refused", r.name())
	return new(mdns.Msg).SetRcode(r.Msg, mdns.RcodeRefused), nil
}

// errorsStage logs why a question got no good answer.
func errorsStage(log *log.Logger) Stage {
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
			m, err := next(ctx, r)
			if err != nil {
				q := r.question()
				log.Printf("[ERROR] plugin/errors: %d %s %s: %v", mdns.RcodeServerFailure, q.Name, mdns.Type(q.Qtype), err)
			}
			return m, err
		}
	}
}

func headerFlags(m *mdns.Msg) string {
	var list []string
	for _, f := range []struct {
		on   bool
		name string
	}{{m.Response, "qr"}, {m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"}, {m.RecursionAvailable, "ra"}} {
		if f.on {
			list = append(list, f.name)
		}
	}
	return strings.Join(list, ",")
}

// balanceStage shuffles addresses, behind the CNAMEs that lead to them.
func balanceStage(next Handler) Handler {
	return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
		m, err := next(ctx, r)
		if m == nil || err != nil {
			return m, err
		}
		m = m.Copy()
		first := slices.IndexFunc(m.Answer, func(rr mdns.RR) bool { return rr.Header().Rrtype != mdns.TypeCNAME })
		if first < 0 {
			return m, nil
		}
		list := m.Answer[first:]
		if !slices.ContainsFunc(list, func(rr mdns.RR) bool {
			t := rr.Header().Rrtype
			return t != mdns.TypeA && t != mdns.TypeAAAA && t != mdns.TypeMX
		}) {
			rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		return m, nil
	}
}
