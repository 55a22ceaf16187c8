package controller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// backend is a pod behind a service, with the ports under which it is reached.
type backend struct {
	pod   *corev1.Pod
	ports []discoveryv1.EndpointPort
}

// group are backends that have the same ports.
type group struct {
	ports    []discoveryv1.EndpointPort
	backends []backend
}

// maxEndpoints is how many endpoints a slice has at most.
const maxEndpoints = 100

// backendsOf are the pods behind a service that have an address and have not
// ended, in groups by their ports: a named target port may be another number
// in each pod.
func backendsOf(svc *corev1.Service, pods []*corev1.Pod) []group {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	var groups []group
	for _, p := range pods {
		if p.Status.PodIP == "" || isTerminal(p) {
			continue
		}
		ports := portsOf(svc, p)
		i := slices.IndexFunc(groups, func(g group) bool { return portKey(g.ports) == portKey(ports) })
		if i < 0 {
			groups = append(groups, group{ports: ports})
			i = len(groups) - 1
		}
		groups[i].backends = append(groups[i].backends, backend{p, ports})
	}
	slices.SortFunc(groups, func(a, b group) int { return cmp.Compare(portKey(a.ports), portKey(b.ports)) })
	return groups
}

func portKey(ports []discoveryv1.EndpointPort) string {
	key := ""
	for _, p := range ports {
		key += fmt.Sprintf("%s/%s/%d/%v;", *p.Name, *p.Protocol, *p.Port, p.AppProtocol != nil && *p.AppProtocol != "")
	}
	return key
}

// portsOf are a service's ports as this pod has them; one whose name it does
// not have is left out.
func portsOf(svc *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		number := p.TargetPort.IntVal
		if name := p.TargetPort.StrVal; name != "" {
			number = namedPort(pod, name, p.Protocol)
		} else if number == 0 {
			number = p.Port
		}
		if number != 0 {
			name, protocol := p.Name, p.Protocol
			ports = append(ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number, AppProtocol: p.AppProtocol})
		}
	}
	return ports
}

func namedPort(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.Name == name && p.Protocol == protocol {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// addressIn is a pod's address of a family, if it has one.
func addressIn(p *corev1.Pod, family corev1.IPFamily) string {
	for _, ip := range append(slices.Clone(p.Status.PodIPs), corev1.PodIP{IP: p.Status.PodIP}) {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is6() == (family == corev1.IPv6Protocol) {
			return ip.IP
		}
	}
	return ""
}

// endpoint says of a pod's address whether it is to get new connections,
// whether it could, and whether it is about to end.
func endpoint(svc *corev1.Service, p *corev1.Pod, address string) discoveryv1.Endpoint {
	serving, terminating := isReady(p), p.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Addresses: []string{address}, TargetRef: targetRef(p),
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
	}
	if p.Spec.NodeName != "" {
		node := p.Spec.NodeName
		e.NodeName = &node
	}
	if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name && svc.Namespace == p.Namespace {
		host := p.Spec.Hostname
		e.Hostname = &host
	}
	return e
}

func targetRef(p *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// planSlices are the slices, without names, that a service should have, of each
// family of its addresses. A family without backends has an empty slice.
func planSlices(svc *corev1.Service, groups []group) (list []*discoveryv1.EndpointSlice) {
	for _, family := range familiesOf(svc) {
		list = append(list, planFamily(svc, family, groups)...)
	}
	return list
}

func familiesOf(svc *corev1.Service) []corev1.IPFamily {
	if len(svc.Spec.IPFamilies) == 0 {
		return []corev1.IPFamily{corev1.IPv4Protocol}
	}
	return svc.Spec.IPFamilies
}

func planFamily(svc *corev1.Service, family corev1.IPFamily, groups []group) (list []*discoveryv1.EndpointSlice) {
	for _, g := range groups {
		endpoints := []discoveryv1.Endpoint{}
		for _, b := range g.backends {
			if address := addressIn(b.pod, family); address != "" {
				endpoints = append(endpoints, endpoint(svc, b.pod, address))
			}
		}
		for some := range slices.Chunk(endpoints, maxEndpoints) {
			list = append(list, &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressType(family), Ports: g.ports, Endpoints: some})
		}
	}
	if len(list) == 0 {
		list = append(list, &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressType(family), Endpoints: []discoveryv1.Endpoint{}, Ports: []discoveryv1.EndpointPort{}})
	}
	return list
}

// planSubsets is the same in the older form: addresses that are ready, and
// those that are not. A pod that ends is in neither.
func planSubsets(svc *corev1.Service, groups []group) []corev1.EndpointSubset { //nolint:staticcheck // deprecated, but served
	var subsets []corev1.EndpointSubset //nolint:staticcheck // as above
	for _, g := range groups {
		var s corev1.EndpointSubset //nolint:staticcheck // as above
		for _, p := range g.ports {
			s.Ports = append(s.Ports, corev1.EndpointPort{Name: *p.Name, Port: *p.Port, Protocol: *p.Protocol, AppProtocol: p.AppProtocol})
		}
		for _, b := range g.backends {
			address := addressIn(b.pod, familiesOf(svc)[0])
			if address == "" {
				continue
			}
			e := endpoint(svc, b.pod, address)
			if *e.Conditions.Terminating && !svc.Spec.PublishNotReadyAddresses {
				continue
			}
			a := corev1.EndpointAddress{IP: address, NodeName: e.NodeName, TargetRef: e.TargetRef}
			if e.Hostname != nil {
				a.Hostname = *e.Hostname
			}
			if *e.Conditions.Ready {
				s.Addresses = append(s.Addresses, a)
			} else {
				s.NotReadyAddresses = append(s.NotReadyAddresses, a)
			}
		}
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			subsets = append(subsets, s)
		}
	}
	return subsets
}
