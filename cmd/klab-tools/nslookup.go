package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var questionTypes = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "SRV": dnsmessage.TypeSRV, "PTR": dnsmessage.TypePTR,
	"CNAME": dnsmessage.TypeCNAME, "TXT": dnsmessage.TypeTXT, "NS": dnsmessage.TypeNS, "MX": dnsmessage.TypeMX,
	"SOA": dnsmessage.TypeSOA,
}

// lookup is one run of nslookup.
type lookup struct {
	*call
	conf    resolvConf
	types   []dnsmessage.Type
	verbose bool
}

func nslookup(c *call) int {
	o, rest, err := parse("type= query= v debug timeout=", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	if len(rest) < 1 || len(rest) > 2 {
		return c.usage("a name, and perhaps a server")
	}
	conf, err := readResolvConf()
	if err != nil && len(rest) < 2 {
		return c.failf("%v", err)
	}
	if len(rest) == 2 {
		conf.servers = []string{rest[1]}
		if conf.timeout == 0 {
			conf = parseResolvConf("nameserver " + rest[1])
		}
	}
	if o.has("timeout") {
		if conf.timeout, err = duration(o["timeout"]); err != nil {
			return c.usage(err.Error())
		}
	}
	l := lookup{c, conf, []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}, o.has("v") || o.has("debug")}
	name := rest[0]
	if ip, err := netip.ParseAddr(name); err == nil {
		name, l.types = reverseName(ip), []dnsmessage.Type{dnsmessage.TypePTR}
	}
	for _, k := range []string{"type", "query"} {
		if o.has(k) {
			t, ok := questionTypes[strings.ToUpper(o[k])]
			if !ok {
				return c.usage(fmt.Sprintf("type %q is not one of A AAAA SRV PTR CNAME TXT NS MX SOA", o[k]))
			}
			l.types = []dnsmessage.Type{t}
		}
	}
	return l.run(name)
}

// reverseName is the name under in-addr.arpa or ip6.arpa of an address.
func reverseName(ip netip.Addr) string {
	var b strings.Builder
	if ip = ip.Unmap(); ip.Is4() {
		a := ip.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", a[3], a[2], a[1], a[0])
	}
	a := ip.As16()
	for _, x := range slices.Backward(a[:]) {
		fmt.Fprintf(&b, "%x.%x.", x&15, x>>4)
	}
	return b.String() + "ip6.arpa."
}

// run tries the candidates in turn, each at the servers in turn, until a name
// exists.
func (l lookup) run(name string) int {
	for _, server := range l.conf.servers {
		address := server
		if _, _, err := net.SplitHostPort(server); err != nil {
			address = net.JoinHostPort(server, "53")
		}
		code, err := l.at(address, name)
		if err != nil {
			l.failf("%s: %v", server, err)
			continue
		}
		return code
	}
	return l.failf("no server answered")
}

func (l lookup) at(server, name string) (int, error) {
	last := dnsmessage.RCodeNameError
	for i, candidate := range l.conf.candidates(name) {
		exists := false
		for _, t := range l.types {
			start := time.Now()
			m, err := ask(context.Background(), server, candidate, t, l.conf.timeout)
			if err != nil {
				return 1, err
			}
			if i == 0 && t == l.types[0] {
				fmt.Fprintf(l.out, "Server:   %s\n\n", server)
			}
			last = m.RCode
			if l.verbose {
				code := codeName(m.RCode)
				if len(m.Answers) > 0 {
					code, _, _ = strings.Cut(code, ",")
				}
				fmt.Fprintf(l.out, "asked %s %s: %s, %d answers, %v\n", candidate, typeName(t), code,
					len(m.Answers), time.Since(start).Round(10*time.Microsecond))
			}
			for _, rr := range m.Answers {
				fmt.Fprintln(l.out, resource(rr))
				exists = true
			}
		}
		if exists {
			return 0, nil
		}
		if last != dnsmessage.RCodeNameError && last != dnsmessage.RCodeSuccess {
			break
		}
	}
	return l.failf("%s: %s (asked for %s)", name, codeName(last), strings.Join(l.conf.candidates(name), ", ")), nil
}

func typeName(t dnsmessage.Type) string { return strings.TrimPrefix(t.String(), "Type") }

// codeName is a response code as dig shows it (RFC 2929).
func codeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeSuccess:
		return "NOERROR, but no record of this type"
	case dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return strings.TrimPrefix(c.String(), "RCode")
}

// resource is a record as one line. Names and texts come from outside and are
// quoted where they are not plain.
func resource(rr dnsmessage.Resource) string {
	head := fmt.Sprintf("%-40s %5d %-5s ", plain(rr.Header.Name.String()), rr.Header.TTL, typeName(rr.Header.Type))
	switch b := rr.Body.(type) {
	case *dnsmessage.AResource:
		return head + netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return head + netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return head + plain(b.CNAME.String())
	case *dnsmessage.PTRResource:
		return head + plain(b.PTR.String())
	case *dnsmessage.NSResource:
		return head + plain(b.NS.String())
	case *dnsmessage.MXResource:
		return head + fmt.Sprintf("%d %s", b.Pref, plain(b.MX.String()))
	case *dnsmessage.SRVResource:
		return head + fmt.Sprintf("%d %d %d %s", b.Priority, b.Weight, b.Port, plain(b.Target.String()))
	case *dnsmessage.TXTResource:
		return head + fmt.Sprintf("%q", b.TXT)
	case *dnsmessage.SOAResource:
		return head + fmt.Sprintf("%s %s %d", plain(b.NS.String()), plain(b.MBox.String()), b.Serial)
	}
	return head + fmt.Sprintf("%T", rr.Body)
}

func plain(s string) string {
	if q := fmt.Sprintf("%q", s); q != `"`+s+`"` {
		return q
	}
	return s
}
