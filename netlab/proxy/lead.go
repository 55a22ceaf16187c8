package proxy

import (
	"net/netip"
	"slices"
	"strings"
)

// Packet is the first of a connection, as the rules of a node see it before
// they have changed anything. Protocol is "TCP", "UDP", "SCTP" or another one,
// which no Service has.
type Packet struct {
	From     netip.Addr
	To       netip.AddrPort
	Protocol string
	Local    bool // the node itself sends it
	Here     bool // To is one of the node's own addresses
}

// Led is where a node leads a packet. Service and Port are those that it is
// for, if there is such a one.
type Led struct {
	Service *Service
	Port    Port
	Verdict Verdict
	// Endpoints are those of which one gets the packet, in the order of their
	// addresses. One that has sent it gets it with the node's address.
	Endpoints  []netip.AddrPort
	Masquerade bool // whoever gets it sees the node's address
}

// Verdict is what becomes of a packet to a Service.
type Verdict string

// The verdicts.
const (
	Passed   Verdict = ""       // it is for no Service, and goes on as it is
	Sent     Verdict = "dnat"   // to an endpoint
	Rejected Verdict = "reject" // with an answer that says so
	Dropped  Verdict = "drop"   // in silence
)

// Lead is what the API says a node does with the first packet of a connection:
// an oracle of all modes that needs no kernel, as policy.Allowed is one of
// NetworkPolicies.
func (s State) Lead(node Node, mode Mode, p Packet) Led {
	for i := range s.Services {
		svc := &s.Services[i]
		for _, port := range svc.Ports {
			if port.Protocol != p.Protocol {
				continue
			}
			if l, ok := s.lead(node, mode, p, svc, port); ok {
				return l
			}
		}
	}
	return s.unled(node, mode, p)
}

// lead is for one port of a Service; false if the packet is not for it.
func (s State) lead(node Node, mode Mode, p Packet, svc *Service, port Port) (Led, bool) {
	at, n := p.To.Addr(), int(p.To.Port())
	here := at == node.IP || slices.Contains(node.Others, at) || mode != NFTables && p.Here
	l := Led{Service: svc, Port: port}
	c := choose(s.of(svc)[portID{svc.Namespace, svc.Name, port.Name, port.Protocol}], svc, port, node)
	switch {
	case at == svc.ClusterIP && n == port.Port:
		l.inside(c, svc.InternalLocal)
		l.Masquerade = !node.Pods.Contains(p.From)
	case slices.Contains(svc.LoadBalancerIPs, at) && n == port.Port:
		if l.outside(c, node, p); c.any && !svc.admits(p.From) {
			l.Verdict, l.Endpoints = Dropped, nil
		}
	case slices.Contains(svc.ExternalIPs, at) && n == port.Port, here && port.NodePort != 0 && n == port.NodePort:
		l.outside(c, node, p)
	default:
		return l, false
	}
	return l, true
}

// of are the endpoints of one Service.
func (s State) of(svc *Service) map[portID][]backend {
	var own State
	for _, slice := range s.Slices {
		if slice.Namespace == svc.Namespace && slice.Service == svc.Name {
			own.Slices = append(own.Slices, slice)
		}
	}
	return own.backends()
}

// inside is for packets to the cluster IP.
func (l *Led) inside(c choice, local bool) {
	if local {
		l.to(c, c.local)
	} else {
		l.to(c, c.cluster)
	}
}

// outside is for packets to addresses that are for others than pods. Pods and
// the node itself reach all endpoints by them even if others do not.
func (l *Led) outside(c choice, node Node, p Packet) {
	switch {
	case !l.Service.ExternalLocal:
		l.Masquerade = true
		l.to(c, c.cluster)
	case node.Pods.Contains(p.From):
		l.to(c, c.cluster)
	case p.Local:
		l.Masquerade = true
		l.to(c, c.cluster)
	default:
		l.to(c, c.local)
	}
}

func (l *Led) to(c choice, list []backend) {
	switch {
	case !c.any:
		l.Verdict = Rejected
	case len(list) == 0:
		l.Verdict = Dropped
	default:
		l.Verdict = Sent
		for _, b := range list {
			l.Endpoints = append(l.Endpoints, b.to)
		}
	}
}

func (s *Service) admits(from netip.Addr) bool {
	return len(s.SourceRanges) == 0 || slices.ContainsFunc(s.SourceRanges, func(p netip.Prefix) bool { return p.Contains(from) })
}

// unled is for packets to no port of a Service. What has the address of one is
// turned away in the mode nftables, and ends at kube-ipvs0 in the mode ipvs.
func (s State) unled(node Node, mode Mode, p Packet) Led {
	to := p.To.Addr()
	i := slices.IndexFunc(s.Services, func(svc Service) bool { return svc.ClusterIP == to })
	l := Led{}
	if i >= 0 {
		l.Service = &s.Services[i]
	}
	switch {
	case mode == NFTables && i >= 0, mode == IPVS && i >= 0 && !strings.HasPrefix(p.Protocol, "ICMP"):
		l.Verdict = Rejected
	case mode == NFTables && slices.ContainsFunc(node.Services, func(p netip.Prefix) bool { return p.Contains(to) }):
		l.Verdict = Dropped
	}
	return l
}
