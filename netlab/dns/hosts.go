package dns

import (
	"context"
	"fmt"
	"net/netip"

	mdns "github.com/miekg/dns"
)

// HostsConfig is the hosts directive, with its lines in the Corefile itself.
type HostsConfig struct {
	names   map[string][]netip.Addr
	owners  map[netip.Addr][]string
	further []string // zones in which an unknown name is the next stage's
	ttl     uint32
}

func (r *reader) hosts(d Directive) {
	h := &HostsConfig{names: map[string][]netip.Addr{}, owners: map[netip.Addr][]string{}, ttl: 3600}
	r.server.Hosts = h
	if len(d.Args) > 0 {
		r.fail(d.Line, "hosts: a file is not read here; write its lines between braces")
		return
	}
	for _, o := range d.Options {
		a, err := netip.ParseAddr(o.Name)
		switch {
		case err == nil && len(o.Args) > 0:
			for _, name := range r.zones(o, o.Args) {
				h.names[name] = append(h.names[name], a)
				h.owners[a] = append(h.owners[a], name)
			}
		case o.Name == "fallthrough":
			if h.further = r.zones(o, o.Args); len(o.Args) == 0 {
				h.further = []string{"."}
			}
		case o.Name == "ttl" && r.args(o, 1, 1):
			h.ttl = r.seconds(o, o.Args[0], 1)
		default:
			r.fail(o.Line, "hosts: a line is an address and its names, fallthrough or ttl, not %q", o.Name)
		}
	}
}

func (h *HostsConfig) stage(next Handler) Handler {
	return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
		q := r.question()
		m := new(mdns.Msg).SetReply(r.Msg)
		m.Authoritative = true
		head := mdns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: mdns.ClassINET, Ttl: h.ttl}
		addrs, known := h.names[r.name()]
		for _, a := range addrs {
			switch {
			case q.Qtype == mdns.TypeA && a.Is4():
				m.Answer = append(m.Answer, &mdns.A{Hdr: head, A: a.AsSlice()})
			case q.Qtype == mdns.TypeAAAA && !a.Is4():
				m.Answer = append(m.Answer, &mdns.AAAA{Hdr: head, AAAA: a.AsSlice()})
			}
		}
		if a, ok := addressOf(q.Name); ok && q.Qtype == mdns.TypePTR {
			for _, name := range h.owners[a] {
				m.Answer = append(m.Answer, &mdns.PTR{Hdr: head, Ptr: name})
			}
		}
		switch {
		case len(m.Answer) > 0 || known:
			r.trail.says("hosts", "line", "a line of hosts has %s", r.name())
			return m, nil
		case h.further == nil || !fallsThrough(h.further, r.name()):
			// Without a SOA a "no" could not say for how long it is good.
			return nil, fmt.Errorf("plugin/hosts: no line has %s, and there is no fallthrough", r.name())
		}
		r.trail.says("hosts", "next", "no line of hosts has %s: the next plugin is asked", r.name())
		return next(ctx, r)
	}
}
