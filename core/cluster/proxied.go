package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/klab-project/klab/netlab/proxy"
)

// proxied is what a proxy needs of a Service; nil if it is not to be proxied:
// it has no cluster IP, or is somebody else's.
// Source: k8s.io/kubernetes/pkg/proxy/serviceport.go.
func proxied(svc *corev1.Service, six bool) *proxy.Service {
	_, theirs := svc.Labels[otherProxy]
	ip, ok := clusterIP(svc, six)
	if theirs || !ok || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	s := &proxy.Service{
		Namespace: svc.Namespace, Name: svc.Name, ClusterIP: ip,
		InternalLocal: svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal: svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	for _, p := range svc.Spec.Ports {
		s.Ports = append(s.Ports, proxy.Port{Name: p.Name, Protocol: string(p.Protocol), Port: int(p.Port), NodePort: int(p.NodePort)})
	}
	for _, text := range svc.Spec.ExternalIPs {
		s.ExternalIPs = appendAddr(s.ExternalIPs, text, six)
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			s.LoadBalancerIPs = appendAddr(s.LoadBalancerIPs, in.IP, six)
		}
	}
	s.SourceRanges = sourceRanges(svc.Spec.LoadBalancerSourceRanges, six)
	if c := svc.Spec.SessionAffinityConfig; svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP && c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		s.Affinity = int(*c.ClientIP.TimeoutSeconds)
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && s.ExternalLocal {
		s.HealthCheckNodePort = int(svc.Spec.HealthCheckNodePort)
	}
	return s
}

// clusterIP is a Service's address of one family, if it has one.
func clusterIP(svc *corev1.Service, six bool) (netip.Addr, bool) {
	for _, text := range append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...) {
		if ip, ok := addrOf(text, six); ok {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// addrOf reads an address of one family. "::ffff:10.0.0.1" is one of IPv4, as
// the API server takes it.
func addrOf(text string, six bool) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(text)
	ip = ip.Unmap()
	return ip, err == nil && ip.Zone() == "" && ip.Is6() == six
}

// sourceRanges are those of one family; none if one of them is everybody.
func sourceRanges(texts []string, six bool) (list []netip.Prefix) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || p.Addr().Is6() != six {
			continue
		}
		if p.Bits() == 0 {
			return nil
		}
		list = append(list, p.Masked())
	}
	return list
}

// serviceRanges are the networks of one family that ServiceCIDRs have for
// Services, also of those that are not ready or about to go: addresses of them
// may be in use. One within another is left out.
// Source: k8s.io/kubernetes/pkg/proxy/config/config.go.
func serviceRanges(all []*networkingv1.ServiceCIDR, six bool) []netip.Prefix {
	var list, wide []netip.Prefix
	for _, r := range all {
		for _, text := range r.Spec.CIDRs {
			if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is6() == six {
				list = append(list, p.Masked())
			}
		}
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int { // the wider ones first
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	for _, p := range list {
		if len(wide) == 0 || !wide[len(wide)-1].Overlaps(p) {
			wide = append(wide, p)
		}
	}
	return wide
}

func appendAddr(list []netip.Addr, text string, six bool) []netip.Addr {
	if ip, ok := addrOf(text, six); ok {
		return append(list, ip)
	}
	return list
}

// proxiedSlice is what a proxy needs of an EndpointSlice, or nil.
// Source: k8s.io/kubernetes/pkg/proxy/endpointslicecache.go.
func proxiedSlice(e *discoveryv1.EndpointSlice, six bool) *proxy.Slice {
	_, theirs := e.Labels[otherProxy]
	_, headless := e.Labels[corev1.IsHeadlessService]
	service := e.Labels[discoveryv1.LabelServiceName]
	of := discoveryv1.AddressTypeIPv4
	if six {
		of = discoveryv1.AddressTypeIPv6
	}
	if theirs || headless || service == "" || e.AddressType != of {
		return nil
	}
	s := &proxy.Slice{Namespace: e.Namespace, Service: service}
	for _, p := range e.Ports {
		if p.Name != nil && p.Port != nil && p.Protocol != nil {
			s.Ports = append(s.Ports, proxy.SlicePort{Name: *p.Name, Protocol: string(*p.Protocol), Port: int(*p.Port)})
		}
	}
	for i := range e.Endpoints {
		if one, ok := proxiedEndpoint(&e.Endpoints[i], six); ok {
			s.Endpoints = append(s.Endpoints, one)
		}
	}
	return s
}

func proxiedEndpoint(e *discoveryv1.Endpoint, six bool) (one proxy.Endpoint, ok bool) {
	if len(e.Addresses) == 0 {
		return one, false
	}
	ip, ok := addrOf(e.Addresses[0], six)
	if !ok { // one that no rule can have would keep all others from being there
		return one, false
	}
	yes := func(b *bool) bool { return b == nil || *b }
	one = proxy.Endpoint{
		IP: ip, Ready: yes(e.Conditions.Ready), Serving: yes(e.Conditions.Serving),
		Terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating,
	}
	if e.NodeName != nil {
		one.Node = *e.NodeName
	}
	if e.Hints != nil {
		for _, zone := range e.Hints.ForZones {
			one.Zones = append(one.Zones, zone.Name)
		}
		for _, node := range e.Hints.ForNodes {
			one.Nodes = append(one.Nodes, node.Name)
		}
	}
	return one, true
}
