package dns

import (
	"context"
	"errors"

	mdns "github.com/miekg/dns"
)

// errUnsynced is why nothing is known about the cluster.
var errUnsynced = errors.New("plugin/kubernetes: the API has not answered yet: Services and EndpointSlices are not known")

// chased bounds how many CNAMEs are followed for one question.
const chased = 8

type depthKey struct{}

// kubernetesStage answers for the cluster's zones.
func (s *Server) kubernetesStage(c *KubernetesConfig) Stage {
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
			q := r.question()
			if c.Find(r.name()) == "" {
				return next(ctx, r)
			}
			if q.Qtype == mdns.TypeAXFR || q.Qtype == mdns.TypeIXFR {
				r.trail.says("kubernetes", "refused", "the zone is not given away as a whole")
				return new(mdns.Msg).SetRcode(r.Msg, mdns.RcodeRefused), nil
			}
			x := s.Source.Index()
			if x == nil {
				r.trail.says("kubernetes", "unsynced", "the API has not told which Services there are yet")
				return nil, errUnsynced
			}
			a := c.answer(x, q.Name, q.Qtype, r.trail)
			if !a.Exists && fallsThrough(c.Fallthrough, r.name()) {
				r.trail.says("kubernetes", "next", "names of the zone %s that are not known here fall through to the next plugin", a.Zone)
				return next(ctx, r)
			}
			m := new(mdns.Msg).SetReply(r.Msg)
			m.Authoritative, m.RecursionAvailable = true, true
			if !a.Exists {
				m.Rcode = mdns.RcodeNameError
			}
			m.Answer, m.Extra = a.Records, a.Additional
			if err := s.chase(ctx, r, m); err != nil {
				return nil, err
			}
			if len(m.Answer) == 0 {
				m.Ns = []mdns.RR{c.SOA(a.Zone, x.serial)}
			}
			return m, nil
		}
	}
}

func fallsThrough(zones []string, name string) bool {
	for _, zone := range zones {
		if mdns.IsSubDomain(zone, name) {
			return true
		}
	}
	return false
}

// chase completes an answer that is a CNAME with what is at its end, which the
// server asks itself.
func (s *Server) chase(ctx context.Context, r *Request, m *mdns.Msg) error {
	q := r.question()
	if len(m.Answer) != 1 || q.Qtype == mdns.TypeCNAME {
		return nil
	}
	alias, ok := m.Answer[0].(*mdns.CNAME)
	if !ok {
		return nil
	}
	depth, _ := ctx.Value(depthKey{}).(int)
	if depth >= chased {
		return errors.New("plugin/kubernetes: the CNAME records of ExternalName Services lead round in a circle")
	}
	ask := new(mdns.Msg).SetQuestion(alias.Target, q.Qtype)
	if r.trail.asked() {
		AskReason(ask, mdns.MinMsgSize)
	}
	found, err := s.Answer(context.WithValue(ctx, depthKey{}, depth+1), &Request{Msg: ask, Client: r.Client, Proto: r.Proto, Port: r.Port, trail: r.trail})
	if err != nil {
		return err
	}
	m.Answer = append(m.Answer, found.Answer...)
	if found.Rcode != mdns.RcodeSuccess {
		m.Rcode, m.Ns = found.Rcode, found.Ns
	}
	return nil
}
