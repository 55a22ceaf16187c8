package controller

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LoadBalancerClass is the class that Services may name to mean klab's own load
// balancer. Those that name none mean it too; others are somebody else's.
const LoadBalancerClass = "klab.local/gateway"

// loadBalancerCleanup holds a Service until its load balancer has gone.
const loadBalancerCleanup = "service.kubernetes.io/load-balancer-cleanup"

// Balanced is an address that is spread over nodes. HealthPort is where a node
// says whether it can take packets.
type Balanced struct {
	Namespace, Name string
	Addr            netip.Addr
	HealthPort      int
}

// BalancedNode is a node that may take them.
type BalancedNode struct {
	Name string
	IP   netip.Addr
}

// balanced tells whether a Service is to have an address of the pool.
func balanced(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.DeletionTimestamp == nil &&
		(s.Spec.LoadBalancerClass == nil || *s.Spec.LoadBalancerClass == LoadBalancerClass)
}

// ingressOf is the address of the pool that a Service's status has.
func ingressOf(s *corev1.Service, pool netip.Prefix) (netip.Addr, bool) {
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil && pool.Contains(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// planIngress is the address that a Service is to have: its own if it has one,
// the one that it asks for, or the first that is free. The first and the last
// of the pool are nobody's.
func planIngress(s *corev1.Service, pool netip.Prefix, taken map[netip.Addr]string) (netip.Addr, error) {
	free := func(a netip.Addr) bool { return taken[a] == "" || taken[a] == keyOf(s) }
	if text := s.Spec.LoadBalancerIP; text != "" {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil || !pool.Contains(a):
			return a, fmt.Errorf("the requested load balancer IP %s is not in the pool %s", text, pool)
		case !free(a):
			return a, fmt.Errorf("the requested load balancer IP %s is in use by the Service %s", text, taken[a])
		}
		return a, nil
	}
	if a, ok := ingressOf(s, pool); ok && free(a) {
		return a, nil
	}
	for a := pool.Masked().Addr().Next(); pool.Contains(a) && pool.Contains(a.Next()); a = a.Next() {
		if free(a) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address is free in the pool %s: delete a Service of type LoadBalancer", pool)
}

// planBalanced is what the load balancer is to spread. A Service whose external
// traffic policy is Local has its own check; of the others kube-proxy's tells
// whether a node leads packets at all.
func planBalanced(services []*corev1.Service, pool netip.Prefix, proxyHealth int) (list []Balanced) {
	for _, s := range services {
		a, ok := ingressOf(s, pool)
		if !ok || !balanced(s) {
			continue
		}
		port := proxyHealth
		if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && s.Spec.HealthCheckNodePort != 0 {
			port = int(s.Spec.HealthCheckNodePort)
		}
		list = append(list, Balanced{s.Namespace, s.Name, a, port})
	}
	slices.SortFunc(list, func(a, b Balanced) int { return a.Addr.Compare(b.Addr) })
	return list
}

// planNodes are the nodes that load balancers may send packets to.
func planNodes(nodes []*corev1.Node) (list []BalancedNode) {
	for _, n := range nodes {
		if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded || n.DeletionTimestamp != nil {
			continue
		}
		for _, at := range n.Status.Addresses {
			if a, err := netip.ParseAddr(at.Address); err == nil && at.Type == corev1.NodeInternalIP && a.Is4() {
				list = append(list, BalancedNode{n.Name, a})
				break
			}
		}
	}
	slices.SortFunc(list, func(a, b BalancedNode) int { return a.IP.Compare(b.IP) })
	return list
}

// withIngress is the status of a Service that has address a. Packets to it
// arrive at nodes as they were sent: the mode VIP.
func withIngress(a netip.Addr) corev1.LoadBalancerStatus {
	mode := corev1.LoadBalancerIPModeVIP
	return corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: a.String(), IPMode: &mode}}}
}

func hasFinalizer(o metav1.Object, name string) bool { return slices.Contains(o.GetFinalizers(), name) }
