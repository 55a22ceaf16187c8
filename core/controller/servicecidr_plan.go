package controller

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ipAllocator is who manages the IPAddresses of Services.
const ipAllocator = "ipallocator.k8s.io"

// managed tells whether an IPAddress is that of a Service, and which address.
func managed(ip *networkingv1.IPAddress) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(ip.Name)
	return addr, err == nil && ip.Labels[networkingv1.LabelManagedBy] == ipAllocator
}

// rangesOf are the ranges of a ServiceCIDR.
func rangesOf(c *networkingv1.ServiceCIDR) (list []netip.Prefix) {
	for _, cidr := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			list = append(list, p.Masked())
		}
	}
	return list
}

func rangesHave(c *networkingv1.ServiceCIDR, ip netip.Addr) bool {
	return slices.ContainsFunc(rangesOf(c), func(p netip.Prefix) bool { return p.Contains(ip) })
}

// stillNeeded is an address in use for which there is no other ServiceCIDR than
// c; invalid if there is none, and c may go.
func stillNeeded(c *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR, ips []*networkingv1.IPAddress) netip.Addr {
	others := slices.DeleteFunc(slices.Clone(all), func(o *networkingv1.ServiceCIDR) bool {
		return o.Name == c.Name || o.DeletionTimestamp != nil
	})
	for _, ip := range ips {
		addr, ours := managed(ip)
		if !ours || !rangesHave(c, addr) {
			continue
		}
		if !slices.ContainsFunc(others, func(o *networkingv1.ServiceCIDR) bool { return rangesHave(o, addr) }) {
			return addr
		}
	}
	return netip.Addr{}
}

// readiness is the condition that a ServiceCIDR is to have.
func readiness(needed bool) metav1.Condition {
	if needed {
		return metav1.Condition{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		}
	}
	return metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready",
	}
}

// sameCondition tells whether a ServiceCIDR has that condition.
func sameCondition(c *networkingv1.ServiceCIDR, want metav1.Condition) bool {
	return slices.ContainsFunc(c.Status.Conditions, func(have metav1.Condition) bool {
		return have.Type == want.Type && have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message
	})
}
