package dns

import (
	"fmt"
	"net"
	"strings"
	"sync"

	mdns "github.com/miekg/dns"
)

// Outside is the DNS of the world outside of the cluster: the resolver that
// nodes are told of, and, at a port of its own, the server of a company whose
// names nobody else knows. There is no Internet behind it, and it says so.
type Outside struct {
	public, company map[string][]mdns.RR
	servers         []*mdns.Server
	work            sync.WaitGroup
}

// CompanyPort is where the company's names are answered.
const CompanyPort = 5353

// publicZone has the names reserved for examples (RFC 2606), with addresses
// reserved for documentation (RFC 5737) except for the host that is there.
const publicZone = `
$ORIGIN com.
$TTL 60
example      SOA ns.example hostmaster.example 1 7200 1800 86400 10
example      NS  ns.example
example      A   %[1]s
example      TXT "this is not the Internet but a lab"
ns.example   A   %[1]s
www.example  CNAME example
api.example  A   203.0.113.80
mail.example A   203.0.113.25
example      MX  10 mail.example
$ORIGIN arpa.
%[2]s.in-addr SOA ns.example.com. hostmaster.example.com. 1 7200 1800 86400 10
%[3]s.in-addr PTR example.com.
`

// companyZone is in the domain "test", which is nobody's (RFC 6761).
const companyZone = `
$ORIGIN test.
$TTL 60
corp         SOA ns.corp hostmaster.corp 1 7200 1800 86400 10
corp         NS  ns.corp
ns.corp      A   %[1]s
db.corp      A   198.51.100.5
wiki.corp    A   198.51.100.7
`

// nowhere are the top level domains that no resolver of the world has. (RFC
// 6761, RFC 6762, and ICANN's resolution on .internal.)
const nowhere = " local internal test invalid localhost cluster onion home corp lan "

// ServeOutside answers on sockets that are open already: UDP and TCP of the
// resolver's address, and of the company's. Host is the address of the one host
// outside.
func ServeOutside(host net.IP, public, company net.PacketConn, publicTCP, companyTCP net.Listener) (*Outside, error) {
	o := &Outside{}
	labels := strings.Split(host.String(), ".")
	reverse := labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0]
	network := strings.SplitN(reverse, ".", 2)[1]
	var err error
	if o.public, err = records(fmt.Sprintf(publicZone, host, network, reverse)); err != nil {
		return nil, err
	}
	if o.company, err = records(fmt.Sprintf(companyZone, host)); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		names   map[string][]mdns.RR
		packets net.PacketConn
		conns   net.Listener
	}{{o.public, public, publicTCP}, {o.company, company, companyTCP}} {
		handle := mdns.HandlerFunc(func(w mdns.ResponseWriter, m *mdns.Msg) {
			r := &Request{Msg: m, Client: w.RemoteAddr(), Proto: w.RemoteAddr().Network()}
			reply(w, r, func() (*mdns.Msg, error) { return answerOutside(s.names, r), nil })
		})
		started, err := start(&o.work, handle, s.packets, s.conns)
		if err != nil {
			o.Close()
			return nil, err
		}
		o.servers = append(o.servers, started...)
	}
	return o, nil
}

// Close ends it.
func (o *Outside) Close() {
	shut(o.servers)
	o.work.Wait()
}

// records reads a zone file.
func records(text string) (map[string][]mdns.RR, error) {
	names := map[string][]mdns.RR{}
	p := mdns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		names[mdns.CanonicalName(rr.Header().Name)] = append(names[mdns.CanonicalName(rr.Header().Name)], rr)
	}
	return names, p.Err()
}

// answerOutside answers what the names have, with NXDOMAIN what does not exist
// anywhere, and refuses what may exist in a world that is not reached from here.
func answerOutside(names map[string][]mdns.RR, r *Request) *mdns.Msg {
	q := r.question()
	m := new(mdns.Msg).SetReply(r.Msg)
	m.RecursionAvailable = true
	soa := authority(names, r.name())
	if soa == nil {
		labels := mdns.SplitDomainName(r.name())
		if len(labels) == 1 || len(labels) > 1 && strings.Contains(nowhere, " "+labels[len(labels)-1]+" ") {
			m.Rcode = mdns.RcodeNameError
			r.trail.says("outside", "no-such", "the world outside has no such name: %s", r.name())
			return m
		}
		m.Rcode = mdns.RcodeRefused
		r.trail.says("outside", "refused", "the lab has no way to the Internet: its world is example.com")
		m.SetEdns0(ednsSize, false)
		m.IsEdns0().Option = []mdns.EDNS0{&mdns.EDNS0_EDE{InfoCode: mdns.ExtendedErrorCodeNotAuthoritative,
			ExtraText: "the lab has no way to the Internet: its world is example.com"}}
		return m
	}
	m.Authoritative = true
	name := r.name()
	exists := false
	for range chased {
		var alias string
		for _, rr := range names[name] {
			exists = true
			if rr.Header().Rrtype == q.Qtype || rr.Header().Rrtype == mdns.TypeCNAME {
				rr = mdns.Copy(rr)
				m.Answer = append(m.Answer, rr)
			}
			if c, ok := rr.(*mdns.CNAME); ok && q.Qtype != mdns.TypeCNAME {
				alias = mdns.CanonicalName(c.Target)
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	zone := soa.Header().Name
	if exists || hasBelow(names, name) {
		r.trail.says("outside", "zone", "the zone %s outside of the cluster has it", zone)
	} else {
		r.trail.says("outside", "no-such", "the zone %s outside of the cluster does not have it", zone)
		m.Rcode = mdns.RcodeNameError
	}
	if len(m.Answer) == 0 {
		m.Ns = []mdns.RR{soa}
	}
	return m
}

// authority is the SOA of the zone that a name is in.
func authority(names map[string][]mdns.RR, name string) mdns.RR {
	for at, end := 0, false; !end; at, end = mdns.NextLabel(name, at) {
		for _, rr := range names[name[at:]] {
			if rr.Header().Rrtype == mdns.TypeSOA {
				return mdns.Copy(rr)
			}
		}
	}
	return nil
}

func hasBelow(names map[string][]mdns.RR, name string) bool {
	for other := range names {
		if mdns.IsSubDomain(name, other) {
			return true
		}
	}
	return false
}
