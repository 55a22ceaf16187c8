package controller

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// place says of endpoints in which zone they are, and, if the Service prefers
// those that are near, for whom they are meant. zone is that of a node.
// Source: k8s.io/endpointslice/trafficdist.
func place(svc *corev1.Service, list []*discoveryv1.EndpointSlice, zone func(node string) string) {
	for _, s := range list {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.NodeName == nil {
				continue
			}
			if z := zone(*e.NodeName); z != "" {
				e.Zone = &z
			}
			e.Hints = hints(svc, e)
		}
	}
}

// hints are those of an endpoint that is ready; nil if it is for everybody.
func hints(svc *corev1.Service, e *discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	if svc.Spec.TrafficDistribution == nil || e.Conditions.Ready == nil || !*e.Conditions.Ready {
		return nil
	}
	var h discoveryv1.EndpointHints
	switch *svc.Spec.TrafficDistribution {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		h.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
		if e.Zone == nil {
			return nil
		}
	default:
		return nil
	}
	if e.Zone != nil {
		h.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
	}
	return &h
}
