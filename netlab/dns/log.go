package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// LogConfig is the log directive: which questions are written to the log.
type LogConfig struct {
	Zones   []string
	Classes []string // of answers: "success", "denial", "error"; none: all
}

var logClasses = []string{"all", "success", "denial", "error"}

func (r *reader) log(d Directive) {
	c := &LogConfig{Zones: r.server.Zones}
	r.server.Log = c
	for _, a := range d.Args {
		if strings.Contains(a, "{") {
			r.fail(d.Line, "log: %q: its lines have one form here, the common one; a format cannot be chosen", a)
			return
		}
	}
	if len(d.Args) > 0 {
		c.Zones = r.zones(d, d.Args)
	}
	r.options(d, map[string]func(Directive){"class": func(o Directive) {
		if !r.args(o, 1, len(logClasses)) {
			return
		}
		for _, class := range o.Args {
			if !slices.Contains(logClasses, class) {
				r.fail(o.Line, "log: the classes of answers are %s, and not %q", strings.Join(logClasses, ", "), class)
			}
		}
		c.Classes = append(c.Classes, o.Args...)
	}})
}

// wants tells whether answers of a class are written.
func (c *LogConfig) wants(class string) bool {
	return len(c.Classes) == 0 || slices.Contains(c.Classes, class) || slices.Contains(c.Classes, "all")
}

// answerClass is the class of an answer, as the log directive has them.
func answerClass(m *mdns.Msg) string {
	switch {
	case m == nil || m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError:
		return "error"
	case m.Rcode == mdns.RcodeNameError || len(m.Answer) == 0:
		return "denial"
	}
	return "success"
}

// logStage writes a line for each question that somebody asked, when it has its
// answer. What the server asks itself on its way is a part of that line.
func (s *Server) logStage(c *ServerConfig) Stage {
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
			if inner, _ := ctx.Value(depthKey{}).(int); inner > 0 || zoneOf(c.Log.Zones, r.name()) == "" {
				return next(ctx, r)
			}
			heard := *r
			if heard.trail == nil {
				heard.trail = &trail{unasked: true}
			}
			before := len(heard.trail.list)
			begun := time.Now()
			m, err := next(ctx, &heard)
			if err != nil {
				m = nil
			}
			if !c.Log.wants(answerClass(m)) {
				return m, err
			}
			line := logged(r, m)
			line.Zone, line.Took = zoneOf(c.Zones, r.name()), time.Since(begun)
			for _, d := range heard.trail.list[before:] {
				if d.At == "" && d.What != "block" && d.What != "miss" {
					line.Decided = append(line.Decided, d)
				}
			}
			if err != nil {
				line.Error = err.Error()
			}
			s.Log.Print("[INFO] " + line.String())
			return m, err
		}
	}
}

// logged is the line for a question and its answer; nil: there is none.
func logged(r *Request, m *mdns.Msg) *Logged {
	q := r.question()
	l := &Logged{Client: clientOf(r.Client), ID: r.Msg.Id, Type: mdns.Type(q.Qtype).String(), Class: mdns.Class(q.Qclass).String(),
		Name: r.name(), Proto: r.Proto, Size: r.Msg.Len(), BufSize: mdns.MinMsgSize, Rcode: mdns.RcodeToString[mdns.RcodeServerFailure], Flags: "-"}
	if opt := r.Msg.IsEdns0(); opt != nil {
		l.BufSize, l.DO = int(opt.UDPSize()), opt.Do()
	}
	if m != nil {
		l.Rcode, l.Flags, l.Bytes = mdns.RcodeToString[m.Rcode], headerFlags(m), m.Len()
		l.Answer = dnsRecords(m.Answer)
	}
	return l
}

func clientOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	case *net.TCPAddr:
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	return netip.AddrPort{}
}
