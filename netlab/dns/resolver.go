package dns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/klab-project/klab/core/step"
)

// Resolver looks names up as the resolver of glibc does (res_nsearch of
// resolv/res_query.c, res_nsend of resolv/res_send.c), one question after the
// other. Each is a step, and tells what the server says of its way to the answer.
type Resolver struct {
	Conf step.ResolvConf
	// Dial opens sockets where the resolver is, as [netns.Dialer] does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Place says whose address a server's is; nil: nobody's.
	Place func(netip.Addr) step.Place
	Port  int           // of the servers; 0: 53
	Wait  time.Duration // for an answer, instead of what Conf says; 0: as Conf says

	Actor, Node string // of the steps
}

// Looked is what came of a name.
type Looked struct {
	Outcome string // one of step's DNS… words
	Says    string
	Answer  []step.DNSRecord
	Queries []step.QueryDetail
}

// candidate is a fully qualified name that is asked for, and why it is.
type candidate struct{ name, why string }

// candidates are the names that a resolver asks for until one has an answer.
func candidates(c step.ResolvConf, name string) (list []candidate) {
	if strings.HasSuffix(name, ".") {
		return []candidate{{name, "the name ends in a dot: it is complete"}}
	}
	dots := strings.Count(name, ".")
	if dots >= c.Ndots {
		list = append(list, candidate{name + ".", fmt.Sprintf("as it is: its dots (%d) are not fewer than ndots (%d)", dots, c.Ndots)})
	}
	for i, domain := range c.Search {
		domain = strings.TrimSuffix(domain, ".")
		list = append(list, candidate{strings.TrimSuffix(name+"."+domain, ".") + ".", fmt.Sprintf("search domain %d of %d: %s", i+1, len(c.Search), domain)})
	}
	if dots < c.Ndots {
		list = append(list, candidate{name + ".", fmt.Sprintf("as it is, and last: its dots (%d) are fewer than ndots (%d)", dots, c.Ndots)})
	}
	return list
}

// Types are the types of records that a Resolver looks for.
func Types() []string { return []string{"A", "AAAA", "SRV", "PTR", "CNAME", "TXT"} }

// Question is what is really asked for: an address is asked for by its name
// below in-addr.arpa or ip6.arpa.
func Question(name, kind string) (string, string, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		if kind != "" && kind != "PTR" {
			return "", "", fmt.Errorf("%s is an address: what it has is a PTR record, and none of type %s", name, kind)
		}
		reverse, err := mdns.ReverseAddr(a.Unmap().String())
		return reverse, "PTR", err
	}
	kind = strings.ToUpper(kind)
	if kind == "" {
		kind = "A"
	}
	if !slices.Contains(Types(), kind) {
		return "", "", fmt.Errorf("type %q is none that is looked for here: use %s", kind, strings.Join(Types(), ", "))
	}
	if _, ok := mdns.IsDomainName(name); !ok || name == "" {
		return "", "", fmt.Errorf("%q is no name: its parts have at most 63 characters, and all of it at most 255", name)
	}
	return name, kind, nil
}

// Resolve looks a name up; id is that of the step that it is a part of. What
// [Question] returns is a name and a kind.
func (r *Resolver) Resolve(ctx context.Context, id, name, kind string) (l Looked, err error) {
	var none, failed bool
search:
	for _, c := range candidates(r.Conf, name) {
		last, err := r.name(ctx, &l, step.QueryDetail{Resolve: id, Name: c.name, Type: kind, Why: c.why})
		if err != nil {
			return l, err
		}
		l.Outcome = step.DNSNoName
		switch {
		case last.Error != "":
			l.Outcome = step.DNSSilent
			break search
		case last.Rcode == "NOERROR" && hasType(last.Answer, kind):
			l.Outcome, l.Answer = step.DNSAnswered, last.Answer
			break search
		case last.Rcode == "NOERROR":
			none = true
		case last.Rcode == "SERVFAIL":
			failed = true
		case last.Rcode != "NXDOMAIN":
			l.Outcome = step.DNSRefused
			break search
		}
	}
	switch missed := l.Outcome != step.DNSAnswered && l.Outcome != step.DNSSilent; {
	case missed && none: // what one name had counts more than how the last one came out
		l.Outcome = step.DNSNoData
	case missed && failed:
		l.Outcome = step.DNSFailed
	}
	l.Says = said(&l)
	return l, nil
}

func hasType(list []step.DNSRecord, kind string) bool {
	return slices.ContainsFunc(list, func(rr step.DNSRecord) bool { return rr.Type == kind })
}

// name asks for one name until a server has an answer that counts, or all have
// been asked often enough.
func (r *Resolver) name(ctx context.Context, l *Looked, q step.QueryDetail) (last step.QueryDetail, err error) {
	servers := slices.Clone(r.Conf.Servers)
	if r.Conf.Rotate {
		n := rand.IntN(len(servers))
		servers = slices.Concat(servers[n:], servers[:n])
	}
	for attempt := range r.Conf.Attempts {
		for i, server := range servers {
			try := q
			try.N, try.Attempt = len(l.Queries)+1, 0
			if attempt > 0 {
				try.Attempt = attempt + 1
			}
			try.Server = r.place(server)
			try.Proto = "udp"
			if r.Conf.TCP {
				try.Proto = "tcp"
			}
			wait := r.wait(i, len(servers))
			if last, err = r.query(ctx, try, wait); err != nil {
				return last, err
			}
			l.Queries = append(l.Queries, last)
			if last.Error == "" && strings.Contains(last.Flags, "tc") && try.Proto == "udp" {
				try.N, try.Proto = len(l.Queries)+1, "tcp"
				try.Why = "again over TCP: the answer was too long for a datagram"
				if last, err = r.query(ctx, try, wait); err != nil {
					return last, err
				}
				l.Queries = append(l.Queries, last)
			}
			switch last.Rcode {
			case "", "SERVFAIL", "NOTIMP", "REFUSED": // another server may do better
			default:
				return last, nil
			}
		}
	}
	return last, nil
}

// wait is how long the server at a place of the list may take.
func (r *Resolver) wait(at, servers int) time.Duration {
	if r.Wait > 0 {
		return r.Wait
	}
	wait := r.Conf.Timeout.Duration() << at
	if at > 0 {
		wait /= time.Duration(servers)
	}
	return max(wait, time.Second)
}

func (r *Resolver) place(server string) step.Place {
	a, err := netip.ParseAddr(server)
	if err != nil || r.Place == nil {
		return step.Place{Kind: "address", Address: server}
	}
	return r.Place(a)
}
