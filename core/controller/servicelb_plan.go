package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

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

// BalancedNode is an address of a node that may take those of its family.
type BalancedNode struct {
	Name string
	IP   netip.Addr
}

// balanced tells whether a Service is to have an address of the pool.
func balanced(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.DeletionTimestamp == nil &&
		(s.Spec.LoadBalancerClass == nil || *s.Spec.LoadBalancerClass == LoadBalancerClass)
}

// ingressOf is the address of a pool that a Service's status has.
func ingressOf(s *corev1.Service, pool netip.Prefix) (netip.Addr, bool) {
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil && pool.Contains(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// poolsOf are the pools of a Service's families of addresses, in their order.
func poolsOf(s *corev1.Service, pools []netip.Prefix) (list []netip.Prefix) {
	families := s.Spec.IPFamilies
	if len(families) == 0 {
		families = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	for _, f := range families {
		for _, p := range pools {
			if p.Addr().Is6() == (f == corev1.IPv6Protocol) {
				list = append(list, p)
			}
		}
	}
	return list
}

// planIngress are the addresses that a Service is to have, one of each of its
// families: its own if it has one, the one that it asks for, or the first that
// is free. The first and the last of a pool are nobody's.
func planIngress(s *corev1.Service, pools []netip.Prefix, taken map[netip.Addr]string) (list []netip.Addr, err error) {
	var asked netip.Addr
	if text := s.Spec.LoadBalancerIP; text != "" {
		asked, err = netip.ParseAddr(text)
		if err != nil || !slices.ContainsFunc(poolsOf(s, pools), func(p netip.Prefix) bool { return p.Contains(asked) }) {
			return nil, fmt.Errorf("the requested load balancer IP %s is not in %s", text, named(poolsOf(s, pools)))
		}
		if whose := taken[asked]; whose != "" && whose != keyOf(s) {
			return nil, fmt.Errorf("the requested load balancer IP %s is in use by the Service %s", text, whose)
		}
	}
	for _, pool := range poolsOf(s, pools) {
		a := asked
		if !pool.Contains(a) {
			if a, err = planAddress(s, pool, taken); err != nil {
				return nil, err
			}
		}
		list = append(list, a)
	}
	return list, nil
}

// named names pools in a sentence.
func named(pools []netip.Prefix) string {
	texts := make([]string, 0, len(pools))
	for _, p := range pools {
		texts = append(texts, "the pool "+p.String())
	}
	return strings.Join(texts, " or ")
}

// planned says of each address which pool it is of.
func planned(addrs []netip.Addr, pools []netip.Prefix) (lines []string) {
	for i, a := range addrs {
		lines = append(lines, fmt.Sprintf("give it %s of the pool %s", a, pools[i]))
	}
	return lines
}

// planAddress is the address of one pool.
func planAddress(s *corev1.Service, pool netip.Prefix, taken map[netip.Addr]string) (netip.Addr, error) {
	free := func(a netip.Addr) bool { return taken[a] == "" || taken[a] == keyOf(s) }
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
func planBalanced(services []*corev1.Service, pools []netip.Prefix, proxyHealth int) (list []Balanced) {
	for _, s := range services {
		port := proxyHealth
		if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && s.Spec.HealthCheckNodePort != 0 {
			port = int(s.Spec.HealthCheckNodePort)
		}
		for _, pool := range poolsOf(s, pools) {
			if a, ok := ingressOf(s, pool); ok && balanced(s) {
				list = append(list, Balanced{s.Namespace, s.Name, a, port})
			}
		}
	}
	slices.SortFunc(list, func(a, b Balanced) int { return a.Addr.Compare(b.Addr) })
	return list
}

// planNodes are the nodes that load balancers may send packets to, each with
// the first of its addresses of each family.
func planNodes(nodes []*corev1.Node) (list []BalancedNode) {
	for _, n := range nodes {
		if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded || n.DeletionTimestamp != nil {
			continue
		}
		seen := map[bool]bool{}
		for _, at := range n.Status.Addresses {
			a, err := netip.ParseAddr(at.Address)
			if err == nil && at.Type == corev1.NodeInternalIP && !seen[a.Is6()] {
				seen[a.Is6()] = true
				list = append(list, BalancedNode{n.Name, a})
			}
		}
	}
	slices.SortFunc(list, func(a, b BalancedNode) int { return a.IP.Compare(b.IP) })
	return list
}

// withIngress is the status of a Service that has these addresses. Packets to
// them arrive at nodes as they were sent: the mode VIP.
func withIngress(addrs ...netip.Addr) (s corev1.LoadBalancerStatus) {
	mode := corev1.LoadBalancerIPModeVIP
	for _, a := range addrs {
		s.Ingress = append(s.Ingress, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &mode})
	}
	return s
}

func hasFinalizer(o metav1.Object, name string) bool { return slices.Contains(o.GetFinalizers(), name) }
