package api

import (
	"slices"

	serviceapi "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/core"
)

// pairClusterIPs keeps clusterIP and clusterIPs in step for clients that send
// only one of them, or neither when they update. The old one is nil at first.
// Source: k8s.io/kubernetes/pkg/registry/core/service/storage.
func pairClusterIPs(s, old *core.Service) {
	now := &s.Spec
	if old == nil {
		if now.ClusterIP != "" && len(now.ClusterIPs) == 0 {
			now.ClusterIPs = []string{now.ClusterIP}
		}
		return
	}
	was := &old.Spec
	if was.Type != core.ServiceTypeExternalName && now.Type != core.ServiceTypeExternalName {
		if now.ClusterIP == "" {
			now.ClusterIP = was.ClusterIP
		}
		if len(now.ClusterIPs) == 0 && now.ClusterIP == was.ClusterIP {
			now.ClusterIPs = was.ClusterIPs
		}
	}
	if now.ClusterIP == was.ClusterIP || !slices.Equal(now.ClusterIPs, was.ClusterIPs) {
		return
	}
	now.ClusterIPs = nil
	if now.ClusterIP != "" {
		now.ClusterIPs = []string{now.ClusterIP}
	}
}

// dropServiceFields clears what a change of the type leaves without meaning, as
// far as the client did not change it too: then validation is to complain.
// Source: k8s.io/kubernetes/pkg/registry/core/service/strategy.go.
func dropServiceFields(s, old *core.Service) {
	now, was := &s.Spec, &old.Spec
	if was.Type != core.ServiceTypeExternalName && now.Type == core.ServiceTypeExternalName {
		if now.ClusterIP == was.ClusterIP && slices.Equal(now.ClusterIPs, was.ClusterIPs) {
			now.ClusterIP, now.ClusterIPs = "", nil
		}
		if slices.Equal(now.IPFamilies, was.IPFamilies) {
			now.IPFamilies = nil
		}
		if same(now.IPFamilyPolicy, was.IPFamilyPolicy) {
			now.IPFamilyPolicy = nil
		}
	}
	if hasNodePorts(was) && !hasNodePorts(now) && !addsNodePort(now, was) {
		for i := range now.Ports {
			now.Ports[i].NodePort = 0
		}
	}
	if hasCheckPort(was) && !hasCheckPort(now) && now.HealthCheckNodePort == was.HealthCheckNodePort {
		now.HealthCheckNodePort = 0
	}
	if was.Type == core.ServiceTypeLoadBalancer && now.Type != core.ServiceTypeLoadBalancer {
		if same(now.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts) {
			now.AllocateLoadBalancerNodePorts = nil
		}
		if same(now.LoadBalancerClass, was.LoadBalancerClass) {
			now.LoadBalancerClass = nil
		}
	}
	if serviceapi.ExternallyAccessible(old) && !serviceapi.ExternallyAccessible(s) && now.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		now.ExternalTrafficPolicy = ""
	}
	if now.Type != core.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = core.LoadBalancerStatus{}
	}
}

func hasNodePorts(s *core.ServiceSpec) bool {
	return s.Type == core.ServiceTypeNodePort || s.Type == core.ServiceTypeLoadBalancer
}

func hasCheckPort(s *core.ServiceSpec) bool {
	return s.Type == core.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == core.ServiceExternalTrafficPolicyLocal
}

// addsNodePort tells whether s has a node port that was does not have.
func addsNodePort(s, was *core.ServiceSpec) bool {
	return slices.ContainsFunc(s.Ports, func(p core.ServicePort) bool {
		return p.NodePort != 0 && !slices.ContainsFunc(was.Ports, func(q core.ServicePort) bool { return q.NodePort == p.NodePort })
	})
}

func same[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}
