package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"

	"github.com/klab-project/klab/core/step"
)

// PodMode is how names of pods, as 10-244-1-5.default.pod.cluster.local, are
// answered: not at all, for every address, or for those that a pod has.
type PodMode string

// The modes, in the Corefile's words.
const (
	PodsDisabled PodMode = "disabled"
	PodsInsecure PodMode = "insecure"
	PodsVerified PodMode = "verified"
)

// Zone is how the cluster's names are answered.
type Zone struct {
	Names    []string // the zones: "cluster.local.", "in-addr.arpa.", "ip6.arpa."
	TTL      uint32   // of every record, in seconds
	Pods     PodMode
	PodNames bool // an endpoint without a hostname is called like its pod
}

// Answer is what a zone has to say. Without records it is NODATA if the name
// Exists, else NXDOMAIN. (RFC 2308.)
type Answer struct {
	Exists     bool
	Records    []mdns.RR
	Additional []mdns.RR
	// Zone is the one of the zone's names that the question is in.
	Zone string
}

// slicesResource is the resource of EndpointSlices.
const slicesResource = "endpointslices.discovery.k8s.io"

// version is what dns-version says: that of the specification.
const version = "1.1.0"

// Find returns the longest of the zone's names that has name in it, or "".
func (z *Zone) Find(name string) string { return zoneOf(z.Names, name) }

// Answer answers one question. The name keeps its case in what is returned.
func (z *Zone) Answer(x *Index, name string, qtype uint16) Answer {
	return z.answer(x, name, qtype, nil)
}

// answer is Answer that also says what it follows from.
func (z *Zone) answer(x *Index, name string, qtype uint16, why *trail) Answer {
	zone := z.Find(name)
	q := question{z: z, x: x, zone: zone, name: name, qtype: qtype, why: why, Answer: Answer{Zone: zone}}
	switch {
	case zone == "":
		return q.Answer
	case mdns.IsSubDomain("in-addr.arpa.", zone), mdns.IsSubDomain("ip6.arpa.", zone):
		q.reverse()
	default:
		below := strings.TrimSuffix(strings.TrimSuffix(mdns.CanonicalName(name), zone), ".")
		var labels []string
		if below != "" {
			labels = strings.Split(below, ".")
		}
		slices.Reverse(labels)
		q.forward(labels)
	}
	return q.Answer
}

// SOA is the zone's start of authority: it says for how long a "no" is good.
func (z *Zone) SOA(zone string, serial uint32) *mdns.SOA {
	return &mdns.SOA{
		Hdr: mdns.RR_Header{Name: zone, Rrtype: mdns.TypeSOA, Class: mdns.ClassINET, Ttl: min(z.TTL, soaMost)},
		Ns:  mdns.Fqdn("ns.dns." + strings.TrimPrefix(zone, ".")), Mbox: mdns.Fqdn("hostmaster." + strings.TrimPrefix(zone, ".")),
		Serial: serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: z.TTL,
	}
}

// soaMost is for how long a SOA is good at most, as CoreDNS has it: with it a
// "no" ends.
const soaMost = 300

// question is one question on its way to an answer.
type question struct {
	z          *Zone
	x          *Index
	zone, name string
	qtype      uint16
	why        *trail
	Answer
}

func (q *question) header(name string, qtype uint16) mdns.RR_Header {
	return mdns.RR_Header{Name: name, Rrtype: qtype, Class: mdns.ClassINET, Ttl: q.z.TTL}
}

// forward takes the labels below the zone, the last one first: svc, then the
// namespace, then the Service.
func (q *question) forward(labels []string) {
	switch {
	case len(labels) == 0:
		q.apex()
	case slices.Equal(labels, []string{"dns-version"}):
		q.Exists = true
		if q.qtype == mdns.TypeTXT {
			q.add(&mdns.TXT{Hdr: q.header(q.name, mdns.TypeTXT), Txt: []string{version}})
		}
	case slices.Equal(labels, []string{"dns"}):
		q.Exists = true // nothing but a part of ns.dns
	case slices.Equal(labels, []string{"dns", "ns"}):
		q.Exists = true
		q.addresses(q.name, q.servers())
	case labels[0] != "svc" && labels[0] != "pod":
		q.says("no-such", "names of %s end in svc or pod, and this one in %s", q.zone, labels[0])
	case len(labels) == 1:
		q.Exists = true // a part of other names
		q.says("part", "it is only a part of longer names")
	case !q.x.namespaces[labels[1]]:
		q.says("no-namespace", "there is no namespace %s", labels[1])
	case len(labels) == 2:
		q.Exists = true
		q.says("part", "it is only a part of longer names")
	case labels[0] == "pod" && len(labels) == 3:
		q.pod(labels[1], labels[2])
	case labels[0] == "svc":
		q.service(labels[1], labels[2], labels[3:])
	}
}

func (q *question) add(rr ...mdns.RR) { q.Records = append(q.Records, rr...) }

// apex is the zone itself.
func (q *question) apex() {
	q.Exists = true
	switch q.qtype {
	case mdns.TypeSOA:
		q.add(q.z.SOA(q.zone, q.x.serial))
	case mdns.TypeNS:
		ns := "ns.dns." + q.zone
		q.add(&mdns.NS{Hdr: q.header(q.name, mdns.TypeNS), Ns: ns})
		for _, a := range q.servers() {
			q.Additional = append(q.Additional, q.address(ns, a))
		}
	}
}

// servers are the addresses of the DNS server itself.
func (q *question) servers() []netip.Addr {
	if svc := q.x.services["kube-system/kube-dns"]; svc != nil {
		return svc.addrs()
	}
	return nil
}

func (q *question) address(name string, a netip.Addr) mdns.RR {
	if a.Is4() {
		return &mdns.A{Hdr: q.header(name, mdns.TypeA), A: a.AsSlice()}
	}
	return &mdns.AAAA{Hdr: q.header(name, mdns.TypeAAAA), AAAA: a.AsSlice()}
}

// addresses adds those addresses that are of the question's type, once each.
func (q *question) addresses(name string, list []netip.Addr) {
	seen := map[netip.Addr]bool{}
	for _, a := range list {
		if seen[a] || q.qtype == mdns.TypeA && !a.Is4() || q.qtype == mdns.TypeAAAA && a.Is4() || q.qtype != mdns.TypeA && q.qtype != mdns.TypeAAAA {
			continue
		}
		seen[a] = true
		q.add(q.address(name, a))
	}
}

func (q *question) pod(namespace, label string) {
	a, ok := undashed(label)
	switch {
	case !ok:
		q.says("no-pod", "names of pods are addresses with dashes, and not %s", label)
		return
	case q.z.Pods == PodsDisabled:
		q.says("no-pod", "names of pods are not answered (pods disabled)")
		return
	case q.z.Pods == PodsVerified && !q.x.pods[namespace][label]:
		q.says("no-pod", "no pod of namespace %s has the address %s (pods verified)", namespace, a)
		return
	case q.z.Pods == PodsVerified:
		q.says("pod", "a pod of namespace %s has the address %s (pods verified)", namespace, a)
	default:
		q.says("pod", "it is written in the name, and nobody looks whether a pod has it (pods insecure)")
	}
	q.Exists = true
	q.addresses(q.name, []netip.Addr{a})
}

// service answers for a Service and what is below it: an endpoint's name, or a
// protocol and a port, both nearest to the Service first.
func (q *question) service(namespace, name string, below []string) {
	key := namespace + "/" + name
	svc := q.x.services[key]
	switch {
	case svc == nil && len(below) > 0:
		q.says("no-below", "there is no Service %s in namespace %s that could have names below it", name, namespace)
	case svc == nil:
		q.says("no-service", "there is no Service %s in namespace %s", name, namespace)
	case svc.external() && isAddress(svc.Spec.ExternalName):
		q.about(svc, "no-such", "Service %s stands for another name, and %s is an address: it is not answered", key, svc.Spec.ExternalName)
	case svc.external():
		q.about(svc, "external", "Service %s stands for another name: %s", key, svc.Spec.ExternalName)
		if q.Exists = len(below) == 0; q.Exists {
			q.add(&mdns.CNAME{Hdr: q.header(q.name, mdns.TypeCNAME), Target: mdns.Fqdn(svc.Spec.ExternalName)})
		}
	case len(below) > 0 && strings.HasPrefix(below[0], "_"):
		q.port(svc, below)
	case len(below) == 1:
		q.endpoints(svc, below[0])
	case len(below) > 0:
		q.about(svc, "no-such", "there are no such names below Service %s", key)
	case svc.headless():
		q.endpoints(svc, "")
	default:
		q.Exists = true
		q.addresses(q.name, svc.addrs())
		q.services(svc, "", "")
		q.about(svc, "service", "Service %s has the address %s", key, strings.Join(svc.Spec.ClusterIPs, " "))
	}
}

// isAddress tells whether what ought to be a name is an address. ("Service",
// "Type: ExternalName": such Services are not resolved by DNS servers.)
func isAddress(name string) bool {
	_, err := netip.ParseAddr(strings.TrimSuffix(name, "."))
	return err == nil
}

// says notes what the answer follows from.
func (q *question) says(what, format string, args ...any) {
	q.why.says("kubernetes", what, format, args...)
}

// about notes what follows from a Service, and from those of its endpoints.
func (q *question) about(svc *Service, what, format string, args ...any) {
	q.says(what, format, args...)
	q.why.about(step.Object{Resource: "services", Namespace: svc.Namespace, Name: svc.Name})
}

// endpoints answers with a Service's endpoints, or those with one name.
func (q *question) endpoints(svc *Service, label string) {
	var list []netip.Addr
	var from []step.Object
	key := svc.Namespace + "/" + svc.Name
	for _, e := range q.x.endpoints[key] {
		if label == "" || q.label(e) == label {
			list = append(list, e.addr)
			if o := (step.Object{Resource: slicesResource, Namespace: svc.Namespace, Name: e.slice}); !slices.Contains(from, o) {
				from = append(from, o)
			}
		}
	}
	q.Exists = len(list) > 0
	switch {
	case label != "" && q.Exists:
		q.about(svc, "endpoint", "an endpoint of Service %s is called %s", key, label)
	case label != "":
		q.about(svc, "no-endpoint", "no ready endpoint of Service %s is called %s", key, label)
	case q.Exists:
		q.about(svc, "endpoints", "Service %s has no address of its own: its ready endpoints answer, %d of them", key, len(list))
	default:
		q.about(svc, "no-endpoints", "Service %s has no address of its own and no ready endpoints (%d are not ready)", key, q.x.notReady[key])
	}
	q.why.about(from...)
	q.addresses(q.name, list)
	if label == "" {
		q.services(svc, "", "")
	}
}

func (q *question) label(e endpoint) string {
	if q.z.PodNames {
		return e.pod
	}
	return e.name
}

// port answers for _proto and _port._proto below a Service.
func (q *question) port(svc *Service, below []string) {
	proto := strings.TrimPrefix(below[0], "_")
	switch {
	case len(below) == 1:
		q.Exists = slices.ContainsFunc(svc.Spec.Ports, func(p ServicePort) bool { return matches(p.Protocol, proto) })
		q.about(svc, "part", "it is only a part of longer names")
	case len(below) == 2 && strings.HasPrefix(below[1], "_"):
		port := strings.TrimPrefix(below[1], "_")
		q.Exists = slices.ContainsFunc(svc.Spec.Ports, func(p ServicePort) bool { return p.Name == port && matches(p.Protocol, proto) })
		if svc.headless() && len(q.x.endpoints[svc.Namespace+"/"+svc.Name]) == 0 {
			q.Exists = false
		}
		if !q.Exists {
			q.about(svc, "no-port", "Service %s has no port called %s of %s with somebody behind it", svc.Namespace+"/"+svc.Name, port, proto)
			return
		}
		q.services(svc, port, proto)
		q.about(svc, "port", "Service %s has a port called %s of %s", svc.Namespace+"/"+svc.Name, port, proto)
	}
}

func matches(protocol, label string) bool {
	return strings.EqualFold(cmp.Or(protocol, "TCP"), label)
}

// services adds SRV records: for a Service with an address one for each port,
// which leads to the Service; for a headless one, one for each endpoint too.
// Without a port, all ports are meant.
func (q *question) services(svc *Service, port, proto string) {
	if q.qtype != mdns.TypeSRV {
		return
	}
	base := svc.below() + "." + q.zone
	wanted := func(name, protocol string) bool { return proto == "" || name == port && matches(protocol, proto) }
	var found []*mdns.SRV
	add := func(target string, number int, addrs ...netip.Addr) {
		rr := &mdns.SRV{Hdr: q.header(q.name, mdns.TypeSRV), Port: uint16(number), Target: target}
		if !slices.ContainsFunc(found, func(have *mdns.SRV) bool { return mdns.IsDuplicate(have, rr) }) {
			found = append(found, rr)
		}
		for _, a := range addrs {
			if rr := q.address(target, a); !slices.ContainsFunc(q.Additional, func(have mdns.RR) bool { return mdns.IsDuplicate(have, rr) }) {
				q.Additional = append(q.Additional, rr)
			}
		}
	}
	if svc.headless() {
		for _, e := range q.x.endpoints[svc.Namespace+"/"+svc.Name] {
			for _, p := range e.ports {
				if wanted(p.Name, p.Protocol) {
					add(q.label(e)+"."+base, p.Port, e.addr)
				}
			}
		}
	} else {
		own := svc.addrs()
		for _, p := range svc.Spec.Ports {
			if wanted(p.Name, p.Protocol) {
				add(base, p.Port, own...)
			}
		}
	}
	for _, rr := range found {
		rr.Weight = uint16(max(1, 100/len(found)))
		q.add(rr)
	}
}
