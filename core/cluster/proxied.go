package cluster

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/klab-project/klab/netlab/proxy"
)

// proxied is what a proxy needs of a Service; nil if it is not to be proxied:
// it has no cluster IP, or is somebody else's.
// Source: k8s.io/kubernetes/pkg/proxy/serviceport.go.
func proxied(svc *corev1.Service) *proxy.Service {
	_, theirs := svc.Labels[otherProxy]
	ip, err := netip.ParseAddr(svc.Spec.ClusterIP)
	if theirs || err != nil || !ip.Is4() || svc.Spec.Type == corev1.ServiceTypeExternalName {
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
		s.ExternalIPs = appendV4(s.ExternalIPs, text)
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			s.LoadBalancerIPs = appendV4(s.LoadBalancerIPs, in.IP)
		}
	}
	s.SourceRanges = sourceRanges(svc.Spec.LoadBalancerSourceRanges)
	if c := svc.Spec.SessionAffinityConfig; svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP && c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		s.Affinity = int(*c.ClientIP.TimeoutSeconds)
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && s.ExternalLocal {
		s.HealthCheckNodePort = int(svc.Spec.HealthCheckNodePort)
	}
	return s
}

// sourceRanges are the IPv4 ones; none if one of them is everybody.
func sourceRanges(texts []string) (list []netip.Prefix) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || !p.Addr().Is4() {
			continue
		}
		if p.Bits() == 0 {
			return nil
		}
		list = append(list, p.Masked())
	}
	return list
}

func appendV4(list []netip.Addr, text string) []netip.Addr {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Is4() {
		return append(list, ip)
	}
	return list
}

// proxiedSlice is what a proxy needs of an EndpointSlice, or nil.
// Source: k8s.io/kubernetes/pkg/proxy/endpointslicecache.go.
func proxiedSlice(e *discoveryv1.EndpointSlice) *proxy.Slice {
	_, theirs := e.Labels[otherProxy]
	_, headless := e.Labels[corev1.IsHeadlessService]
	service := e.Labels[discoveryv1.LabelServiceName]
	if theirs || headless || service == "" || e.AddressType != discoveryv1.AddressTypeIPv4 {
		return nil
	}
	s := &proxy.Slice{Namespace: e.Namespace, Service: service}
	for _, p := range e.Ports {
		if p.Name != nil && p.Port != nil && p.Protocol != nil {
			s.Ports = append(s.Ports, proxy.SlicePort{Name: *p.Name, Protocol: string(*p.Protocol), Port: int(*p.Port)})
		}
	}
	for i := range e.Endpoints {
		if one, ok := proxiedEndpoint(&e.Endpoints[i]); ok {
			s.Endpoints = append(s.Endpoints, one)
		}
	}
	return s
}

func proxiedEndpoint(e *discoveryv1.Endpoint) (one proxy.Endpoint, ok bool) {
	if len(e.Addresses) == 0 {
		return one, false
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
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
