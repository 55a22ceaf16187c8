package dns

import (
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// reverse answers for an address.
func (q *question) reverse() {
	a, ok := addressOf(q.name)
	owners := q.x.byAddress[a]
	if !ok || len(owners) == 0 {
		q.Exists = mdns.CanonicalName(q.name) == q.zone
		q.says("no-owner", "no Service and no endpoint of a headless one has the address of %s", q.name)
		return
	}
	cluster := ""
	for _, zone := range q.z.Names {
		if !strings.HasSuffix(zone, ".arpa.") {
			cluster = zone
			break
		}
	}
	q.Exists = true
	q.says("owner", "the address %s is that of %s", a, owners[0].service)
	if q.qtype == mdns.TypePTR && cluster != "" {
		for _, o := range owners {
			name := o.service + "." + cluster
			if o.endpoint != nil {
				name = q.label(*o.endpoint) + "." + name
			}
			q.add(&mdns.PTR{Hdr: q.header(q.name, mdns.TypePTR), Ptr: name})
		}
	}
}

// addressOf is the address that a name below in-addr.arpa or ip6.arpa is of.
func addressOf(name string) (netip.Addr, bool) {
	name = mdns.CanonicalName(name)
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		slices.Reverse(labels)
		a, err := netip.ParseAddr(strings.Join(labels, "."))
		return a, err == nil && a.Is4()
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	labels := strings.Split(rest, ".")
	if !ok || len(labels) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(labels)
	var b strings.Builder
	for i, l := range labels {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(l)
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}
