package api

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
)

func networkingResource(kind, name, singular string, short ...string) *Resource {
	r := coreResource(kind, name, singular, short...)
	r.Group, r.Storage = "networking.k8s.io", networkingv1.SchemeGroupVersion
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/networking/networkpolicy.
func networkPolicies() *Resource {
	r := networkingResource("NetworkPolicy", "networkpolicies", "networkpolicy", "netpol")
	r.Rules = rules[*networking.NetworkPolicy]{
		prepareForCreate: func(p *networking.NetworkPolicy) { p.Generation = 1 },
		prepareForUpdate: func(p, old *networking.NetworkPolicy) {
			if !equality.Semantic.DeepEqual(p.Spec, old.Spec) {
				p.Generation = old.Generation + 1
			}
		},
		validate: func(p *networking.NetworkPolicy) field.ErrorList {
			return networkingvalidation.ValidateNetworkPolicy(p, networkingvalidation.ValidationOptionsForNetworking(p, nil))
		},
		validateUpdate: func(p, old *networking.NetworkPolicy) field.ErrorList {
			return networkingvalidation.ValidateNetworkPolicyUpdate(p, old, networkingvalidation.ValidationOptionsForNetworking(p, old))
		},
		warningsOnCreate: func(_ context.Context, p *networking.NetworkPolicy) []string { return policyWarnings(p) },
		warningsOnUpdate: func(_ context.Context, p, _ *networking.NetworkPolicy) []string { return policyWarnings(p) },
	}.untyped()
	return r
}

// policyWarnings warns of blocks of addresses that are valid, but written
// unusually.
func policyWarnings(p *networking.NetworkPolicy) (warnings []string) {
	look := func(path *field.Path, peers []networking.NetworkPolicyPeer) {
		for i, peer := range peers {
			if peer.IPBlock == nil {
				continue
			}
			at := path.Index(i).Child("ipBlock")
			warnings = append(warnings, utilvalidation.GetWarningsForCIDR(at.Child("cidr"), peer.IPBlock.CIDR)...)
			for j, except := range peer.IPBlock.Except {
				warnings = append(warnings, utilvalidation.GetWarningsForCIDR(at.Child("except").Index(j), except)...)
			}
		}
	}
	spec := field.NewPath("spec")
	for i, rule := range p.Spec.Ingress {
		look(spec.Child("ingress").Index(i).Child("from"), rule.From)
	}
	for i, rule := range p.Spec.Egress {
		look(spec.Child("egress").Index(i).Child("to"), rule.To)
	}
	return warnings
}

// Source: k8s.io/kubernetes/pkg/registry/networking/ingress.
func ingresses() *Resource {
	const deprecated = "kubernetes.io/ingress.class"
	r := networkingResource("Ingress", "ingresses", "ingress", "ing")
	r.Prefix = "/registry/ingress/"
	r.Rules = rules[*networking.Ingress]{
		prepareForCreate: func(i *networking.Ingress) {
			i.Status, i.Generation = networking.IngressStatus{}, 1
		},
		prepareForUpdate: func(i, old *networking.Ingress) {
			i.Status = old.Status
			if !equality.Semantic.DeepEqual(i.Spec, old.Spec) {
				i.Generation = old.Generation + 1
			}
		},
		validate:       networkingvalidation.ValidateIngressCreate,
		validateUpdate: networkingvalidation.ValidateIngressUpdate,
		warningsOnCreate: func(_ context.Context, i *networking.Ingress) (warnings []string) {
			if _, ok := i.Annotations[deprecated]; ok && i.Spec.IngressClassName == nil {
				warnings = append(warnings, fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", deprecated))
			}
			return warnings
		},
		reset: [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{status(r, rules[*networking.Ingress]{
		prepareForUpdate: func(i, old *networking.Ingress) { i.Spec = old.Spec },
		validateUpdate:   networkingvalidation.ValidateIngressStatusUpdate,
		warningsOnUpdate: func(_ context.Context, i, _ *networking.Ingress) (warnings []string) {
			for n, at := range i.Status.LoadBalancer.Ingress {
				if at.IP != "" {
					warnings = append(warnings, ipWarnings(field.NewPath("status", "loadBalancer", "ingress").Index(n), at.IP)...)
				}
			}
			return warnings
		},
		reset: [][]string{{"spec"}},
	}.untyped())}
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/networking/ingressclass.
func ingressClasses() *Resource {
	r := networkingResource("IngressClass", "ingressclasses", "ingressclass")
	r.Namespaced = false
	r.Rules = rules[*networking.IngressClass]{
		prepareForCreate: func(c *networking.IngressClass) { c.Generation = 1 },
		prepareForUpdate: func(c, old *networking.IngressClass) {
			if !equality.Semantic.DeepEqual(c.Spec, old.Spec) {
				c.Generation = old.Generation + 1
			}
		},
		validate:       networkingvalidation.ValidateIngressClass,
		validateUpdate: networkingvalidation.ValidateIngressClassUpdate,
	}.untyped()
	return r
}
