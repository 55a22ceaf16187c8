package proxy

import (
	"net/netip"
	"slices"
	"strings"
)

// State is what a cluster has of Services, of one family of addresses.
type State struct {
	Services []Service
	Slices   []Slice
}

// Zoned tells whether it matters in which zone a node is.
func (s State) Zoned() bool {
	return slices.ContainsFunc(s.Slices, func(slice Slice) bool {
		return slices.ContainsFunc(slice.Endpoints, func(e Endpoint) bool { return len(e.Zones) > 0 })
	})
}

// Service is a Service that has a cluster IP.
type Service struct {
	Namespace, Name string
	ClusterIP       netip.Addr
	Ports           []Port
	ExternalIPs     []netip.Addr
	// LoadBalancerIPs are those of its status whose packets arrive at nodes as
	// they were sent; SourceRanges bounds who may send them, if not empty.
	LoadBalancerIPs []netip.Addr
	SourceRanges    []netip.Prefix
	// Affinity is for how many seconds a client keeps its endpoint; zero: it
	// does not.
	Affinity int
	// InternalLocal and ExternalLocal are the traffic policy Local.
	InternalLocal, ExternalLocal bool
	HealthCheckNodePort          int
}

// Port is a port of a Service. Protocol is the API's word: "TCP", "UDP", "SCTP".
type Port struct {
	Name, Protocol string
	Port, NodePort int
}

// Slice is an EndpointSlice of one Service.
type Slice struct {
	Namespace, Service string
	Ports              []SlicePort
	Endpoints          []Endpoint
}

// SlicePort is the port behind a Service's port of the same name and protocol.
type SlicePort struct {
	Name, Protocol string
	Port           int
}

// Endpoint is an address that takes packets of a Service, with its conditions.
// Zones and Nodes are hints whose packets it should take.
type Endpoint struct {
	IP                          netip.Addr
	Node                        string
	Ready, Serving, Terminating bool
	Zones, Nodes                []string
}

// Node is what the rules of a node follow from, besides the State.
type Node struct {
	Name, Zone string
	IP         netip.Addr
	// Pods is the network of all pods of the cluster: who else sends packets
	// to a Service gets the node's address, so that answers come back here.
	Pods netip.Prefix
	// Services are the networks of all cluster IPs, as far as they are known. None
	// is within another one.
	Services []netip.Prefix
	// Others are further addresses of the node that take packets to NodePorts.
	Others []netip.Addr
}

// portID names a port of a Service.
type portID struct{ namespace, service, name, protocol string }

// String is what comments and hashes say: "default/web:http".
func (id portID) String() string {
	s := id.namespace + "/" + id.service
	if id.name != "" {
		s += ":" + id.name
	}
	return s
}

// backend is an endpoint of one port.
type backend struct {
	Endpoint
	to netip.AddrPort
	at string // to, as text
}

// backends are the endpoints of every port, in the order of their addresses.
// Of two with the same address the one that is not about to end counts.
func (s State) backends() map[portID][]backend {
	all := map[portID][]backend{}
	for _, slice := range s.Slices {
		for _, p := range slice.Ports {
			id := portID{slice.Namespace, slice.Service, p.Name, p.Protocol}
			for _, e := range slice.Endpoints {
				if p.Port == 0 {
					continue
				}
				to := netip.AddrPortFrom(e.IP, uint16(p.Port))
				all[id] = append(all[id], backend{e, to, to.String()})
			}
		}
	}
	for id, list := range all {
		slices.SortStableFunc(list, func(a, b backend) int {
			if c := strings.Compare(a.at, b.at); c != 0 || a.Terminating == b.Terminating {
				return c
			}
			if a.Terminating {
				return 1
			}
			return -1
		})
		all[id] = slices.CompactFunc(list, func(a, b backend) bool { return a.at == b.at })
	}
	return all
}

func (s *Service) externallyAccessible(p Port) bool {
	return p.NodePort != 0 || len(s.LoadBalancerIPs) > 0 || len(s.ExternalIPs) > 0
}

// usesCluster: even if external packets stay on their node, those that come
// from within the cluster do not.
func (s *Service) usesCluster(p Port) bool { return !s.InternalLocal || s.externallyAccessible(p) }

func (s *Service) usesLocal(p Port) bool {
	return s.InternalLocal || s.ExternalLocal && s.externallyAccessible(p)
}
