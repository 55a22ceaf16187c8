package cluster

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/klab-project/klab/netlab/policy"
)

// policed is a NetworkPolicy as netlab/policy has it.
func policed(p *networkingv1.NetworkPolicy) policy.Policy {
	out := policy.Policy{Namespace: p.Namespace, Name: p.Name, Pods: selectorOf(&p.Spec.PodSelector)}
	types := p.Spec.PolicyTypes
	if len(types) == 0 { // what the API server fills in
		types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			types = append(types, networkingv1.PolicyTypeEgress)
		}
	}
	out.Isolates = policy.Directions{
		Ingress: slices.Contains(types, networkingv1.PolicyTypeIngress), Egress: slices.Contains(types, networkingv1.PolicyTypeEgress),
	}
	for _, r := range p.Spec.Ingress {
		out.Ingress = append(out.Ingress, policedRule(r.From, r.Ports))
	}
	for _, r := range p.Spec.Egress {
		out.Egress = append(out.Egress, policedRule(r.To, r.Ports))
	}
	return out
}

func policedRule(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) (r policy.Rule) {
	for _, p := range peers {
		r.Peers = append(r.Peers, policedPeer(p))
	}
	for _, p := range ports {
		port := policy.Port{Protocol: string(corev1.ProtocolTCP)}
		if p.Protocol != nil {
			port.Protocol = string(*p.Protocol)
		}
		switch {
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			port.Name = p.Port.StrVal
		default:
			port.Number = p.Port.IntValue()
		}
		if p.EndPort != nil {
			port.End = int(*p.EndPort)
		}
		r.Ports = append(r.Ports, port)
	}
	return r
}

func policedPeer(p networkingv1.NetworkPolicyPeer) (out policy.Peer) {
	if b := p.IPBlock; b != nil {
		// What the API server lets through is a network, or else matches nobody.
		cidr, _ := netip.ParsePrefix(b.CIDR)
		out.Block = &policy.Block{CIDR: cidr.Masked()}
		for _, text := range b.Except {
			if e, err := netip.ParsePrefix(text); err == nil {
				out.Block.Except = append(out.Block.Except, e.Masked())
			}
		}
		return out
	}
	if p.PodSelector != nil {
		s := selectorOf(p.PodSelector)
		out.Pods = &s
	}
	if p.NamespaceSelector != nil {
		s := selectorOf(p.NamespaceSelector)
		out.Namespaces = &s
	}
	return out
}

func selectorOf(s *metav1.LabelSelector) policy.Selector {
	out := policy.Selector{Labels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		out.Expressions = append(out.Expressions, policy.Expression{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	return out
}

// policedPod is a pod as netlab/policy has it.
func policedPod(pod *corev1.Pod) policy.Pod {
	p := policy.Pod{
		Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName, Labels: pod.Labels, HostNetwork: pod.Spec.HostNetwork,
	}
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && !finished(pod) {
			p.IPs = append(p.IPs, addr)
		}
	}
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c) // a sidecar serves as long as the pod does
		}
	}
	for _, c := range containers {
		for _, port := range c.Ports {
			if port.Name != "" {
				p.Ports = append(p.Ports, policy.NamedPort{Name: port.Name, Protocol: string(port.Protocol), Number: int(port.ContainerPort)})
			}
		}
	}
	return p
}

// finished tells whether a pod's addresses may be another's already.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
