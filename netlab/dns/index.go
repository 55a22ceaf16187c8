package dns

import (
	"net/netip"
	"slices"
	"strings"
)

// Index is a Snapshot arranged for questions. It does not change.
type Index struct {
	namespaces map[string]bool
	services   map[string]*Service        // by "namespace/name"
	endpoints  map[string][]endpoint      // of a Service, by the same key, in the slices' order
	byAddress  map[netip.Addr][]owner     // for PTR
	pods       map[string]map[string]bool // namespace, then address in dashes
	notReady   map[string]int             // of a Service: endpoints that are left out
	serial     uint32
}

// owner is who has an address: a Service, or an endpoint of a headless one.
type owner struct {
	service  string // "name.namespace.svc"
	endpoint *endpoint
}

// endpoint is one ready address of a headless Service, with its slice's ports.
type endpoint struct {
	name  string // its label below the Service
	slice string // that has it
	pod   string // its label with endpoint_pod_names
	addr  netip.Addr
	ports []EndpointPort
}

// NewIndex arranges a snapshot; serial is that of the zone.
func NewIndex(s Snapshot, serial uint32) *Index {
	x := &Index{
		namespaces: map[string]bool{}, services: map[string]*Service{}, endpoints: map[string][]endpoint{},
		byAddress: map[netip.Addr][]owner{}, pods: map[string]map[string]bool{}, notReady: map[string]int{}, serial: serial,
	}
	for _, n := range s.Namespaces {
		x.namespaces[n.Name] = true
	}
	for i := range s.Services {
		svc := &s.Services[i]
		x.namespaces[svc.Namespace] = true // the watches of the two may differ by a moment
		x.services[svc.Namespace+"/"+svc.Name] = svc
		for _, a := range svc.addrs() {
			x.byAddress[a] = append(x.byAddress[a], owner{service: svc.below()})
		}
	}
	ordered := slices.Clone(s.Slices)
	slices.SortFunc(ordered, func(a, b EndpointSlice) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	for i := range ordered {
		x.addSlice(&ordered[i])
	}
	for _, p := range s.Pods {
		for _, ip := range p.Status.PodIPs {
			if x.pods[p.Namespace] == nil {
				x.pods[p.Namespace] = map[string]bool{}
			}
			x.pods[p.Namespace][dashed(ip.IP)] = true
		}
	}
	return x
}

func (x *Index) addSlice(s *EndpointSlice) {
	key := s.Namespace + "/" + s.Labels[serviceLabel]
	svc := x.services[key]
	if svc == nil || s.AddressType == "FQDN" {
		return
	}
	for _, e := range s.Endpoints {
		if e.Conditions.Ready != nil && !*e.Conditions.Ready && !svc.Spec.PublishNotReadyAddresses {
			x.notReady[key]++
			continue
		}
		for _, text := range e.Addresses {
			a, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			found := endpoint{name: e.Hostname, slice: s.Name, addr: a, ports: s.Ports}
			if found.name == "" {
				found.name = dashed(text)
			}
			if found.pod = found.name; e.Hostname == "" && e.TargetRef != nil && e.TargetRef.Kind == "Pod" && len(e.TargetRef.Name) <= 63 {
				found.pod = e.TargetRef.Name
			}
			x.endpoints[key] = append(x.endpoints[key], found)
			if svc.headless() {
				x.byAddress[a] = append(x.byAddress[a], owner{svc.below(), &found})
			}
		}
	}
}

// dashed is an address as a label: 10-244-1-5, 2001-db8--5.
func dashed(ip string) string { return strings.NewReplacer(".", "-", ":", "-").Replace(ip) }

// undashed is the address that a label stands for.
func undashed(label string) (netip.Addr, bool) {
	for _, sep := range []string{".", ":"} {
		if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", sep)); err == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}
