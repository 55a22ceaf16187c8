package api

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	serviceapi "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/coordination"
	coordinationvalidation "k8s.io/kubernetes/pkg/apis/coordination/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryvalidation "k8s.io/kubernetes/pkg/apis/discovery/validation"
	"k8s.io/kubernetes/pkg/features"
)

// services get their addresses and node ports from the API server, before they
// are validated.
// Source: k8s.io/kubernetes/pkg/registry/core/service.
func services() *Resource {
	r := coreResource("Service", "services", "service", "svc")
	r.Categories = []string{"all"}
	r.Prefix = "/registry/services/specs/"
	r.AllowCreateOnUpdate = true
	r.Rules = rules[*core.Service]{
		prepareForCreate: func(s *core.Service) {
			s.Status = core.ServiceStatus{}
			pairClusterIPs(s, nil)
		},
		prepareForUpdate: func(s, old *core.Service) {
			s.Status = old.Status
			pairClusterIPs(s, old)
			dropServiceFields(s, old)
		},
		validate:         corevalidation.ValidateServiceCreate,
		validateUpdate:   corevalidation.ValidateServiceUpdate,
		warningsOnCreate: func(_ context.Context, s *core.Service) []string { return serviceapi.GetWarningsForService(s, nil) },
		warningsOnUpdate: func(_ context.Context, s, old *core.Service) []string {
			return serviceapi.GetWarningsForService(s, old)
		},
		reset: [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{proxy("ServiceProxyOptions"), status(r, rules[*core.Service]{
		prepareForUpdate: func(s, old *core.Service) { s.Spec = old.Spec },
		validateUpdate:   corevalidation.ValidateServiceStatusUpdate,
		reset:            [][]string{{"spec"}},
	}.untyped())}
	r.fields = func(obj runtime.Object) fields.Set {
		s := obj.(*core.Service)
		return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
	}
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/core/endpoint.
func endpoints() *Resource {
	r := coreResource("Endpoints", "endpoints", "endpoints", "ep")
	r.ListKind = "EndpointsList"
	r.Prefix = "/registry/services/endpoints/"
	r.AllowCreateOnUpdate = true
	r.Rules = rules[*core.Endpoints]{
		validate:         corevalidation.ValidateEndpointsCreate,
		validateUpdate:   corevalidation.ValidateEndpointsUpdate,
		warningsOnCreate: func(_ context.Context, e *core.Endpoints) []string { return endpointsWarnings(e) },
		warningsOnUpdate: func(_ context.Context, e, _ *core.Endpoints) []string { return endpointsWarnings(e) },
	}.untyped()
	return r
}

func endpointsWarnings(e *core.Endpoints) []string {
	var warnings []string
	for i, subset := range e.Subsets {
		path := field.NewPath("subsets").Index(i)
		for j, a := range subset.Addresses {
			warnings = append(warnings, ipWarnings(path.Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range subset.NotReadyAddresses {
			warnings = append(warnings, ipWarnings(path.Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return warnings
}

// Source: k8s.io/kubernetes/pkg/registry/discovery/endpointslice.
func endpointSlices() *Resource {
	r := coreResource("EndpointSlice", "endpointslices", "endpointslice")
	r.Group, r.Storage = "discovery.k8s.io", discoveryv1.SchemeGroupVersion
	drop := func(s *discovery.EndpointSlice) {
		for i := range s.Endpoints {
			// The v1 API has no topology, but nodeName and zone.
			s.Endpoints[i].DeprecatedTopology = nil
		}
	}
	r.Rules = rules[*discovery.EndpointSlice]{
		prepareForCreate: func(s *discovery.EndpointSlice) {
			s.Generation = 1
			drop(s)
		},
		prepareForUpdate: func(s, old *discovery.EndpointSlice) {
			a, b := *s, *old
			a.ObjectMeta, b.ObjectMeta = metav1.ObjectMeta{}, metav1.ObjectMeta{}
			if !equality.Semantic.DeepEqual(a, b) || !equality.Semantic.DeepEqual(s.Labels, old.Labels) {
				s.Generation = old.Generation + 1
			}
			drop(s)
		},
		validate:         discoveryvalidation.ValidateEndpointSliceCreate,
		validateUpdate:   discoveryvalidation.ValidateEndpointSliceUpdate,
		warningsOnCreate: func(_ context.Context, s *discovery.EndpointSlice) []string { return sliceWarnings(s, true) },
		warningsOnUpdate: func(_ context.Context, s, _ *discovery.EndpointSlice) []string { return sliceWarnings(s, false) },
	}.untyped()
	return r
}

func sliceWarnings(s *discovery.EndpointSlice, create bool) []string {
	var warnings []string
	if create && s.AddressType == discovery.AddressTypeFQDN {
		warnings = append(warnings, "spec.addressType: FQDN endpoints are deprecated")
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			warnings = append(warnings, ipWarnings(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return warnings
}

// Source: k8s.io/kubernetes/pkg/registry/coordination/lease.
func leases() *Resource {
	r := coreResource("Lease", "leases", "lease")
	r.Group, r.Storage = "coordination.k8s.io", coordinationv1.SchemeGroupVersion
	r.AllowCreateOnUpdate, r.AllowUnconditionalUpdate = true, false
	drop := func(l, old *coordination.Lease) {
		if utilfeature.DefaultFeatureGate.Enabled(features.CoordinatedLeaderElection) {
			return
		}
		if old.Spec.Strategy == nil {
			l.Spec.Strategy = nil
		}
		if old.Spec.PreferredHolder == nil {
			l.Spec.PreferredHolder = nil
		}
	}
	r.Rules = rules[*coordination.Lease]{
		prepareForCreate: func(l *coordination.Lease) { drop(l, &coordination.Lease{}) },
		prepareForUpdate: drop,
		validate:         coordinationvalidation.ValidateLease,
		validateUpdate:   coordinationvalidation.ValidateLeaseUpdate,
	}.untyped()
	return r
}
