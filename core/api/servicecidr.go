package api

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
)

// serviceCIDRs are the ranges of Services' addresses. What the range is used
// for is said by IPAddresses, and whether it may be by its status.
// Source: k8s.io/kubernetes/pkg/registry/networking/servicecidr.
func serviceCIDRs() *Resource {
	r := networkingResource("ServiceCIDR", "servicecidrs", "servicecidr")
	r.Namespaced = false
	r.Rules = rules[*networking.ServiceCIDR]{
		prepareForCreate: func(c *networking.ServiceCIDR) { c.Status = networking.ServiceCIDRStatus{} },
		prepareForUpdate: func(c, old *networking.ServiceCIDR) { c.Status = old.Status },
		validate:         networkingvalidation.ValidateServiceCIDR,
		validateUpdate:   networkingvalidation.ValidateServiceCIDRUpdate,
		reset:            [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{status(r, rules[*networking.ServiceCIDR]{
		prepareForUpdate: func(c, old *networking.ServiceCIDR) { c.Spec = old.Spec },
		validateUpdate:   networkingvalidation.ValidateServiceCIDRStatusUpdate,
		reset:            [][]string{{"spec"}},
	}.untyped())}
	return r
}

// ipAddresses are named by the address that is in use, and say by what.
// Source: k8s.io/kubernetes/pkg/registry/networking/ipaddress.
func ipAddresses() *Resource {
	r := networkingResource("IPAddress", "ipaddresses", "ipaddress", "ip")
	r.ListKind, r.Namespaced = "IPAddressList", false
	r.Rules = rules[*networking.IPAddress]{
		validate: networkingvalidation.ValidateIPAddress,
		validateUpdate: func(ip, old *networking.IPAddress) field.ErrorList {
			return append(networkingvalidation.ValidateIPAddress(ip), networkingvalidation.ValidateIPAddressUpdate(ip, old)...)
		},
	}.untyped()
	return r
}
