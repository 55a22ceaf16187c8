package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
)

const mirrorManager = "endpointslicemirroring-controller.k8s.io"

// maxMirrored is how many addresses of a subset are mirrored: more than a
// controller of upstream takes, nobody gets.
const maxMirrored = 1000

// newMirrors keeps slices that say what Endpoints say that somebody wrote by
// hand, for a Service that selects no pods.
// Behaviour: k8s.io/kubernetes/pkg/controller/endpointslicemirroring.
func newMirrors(l *Loop) (Reconcile, error) {
	services, endpoints := l.Informers.Core().V1().Services(), l.Informers.Core().V1().Endpoints()
	c := &selecting{Loop: l, services: services.Lister()}
	return func(ctx context.Context, key string) error {
			namespace, name, _ := cache.SplitMetaNamespaceKey(key)
			svc, err := c.services.Services(namespace).Get(name)
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
			ends, err := endpoints.Lister().Endpoints(namespace).Get(name)
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
			if err != nil {
				ends = nil
			}
			var want []*discoveryv1.EndpointSlice
			if mirrored(svc, ends) {
				want = planMirror(ends)
			}
			selector := labels.Set{discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: mirrorManager}.String()
			have, err := l.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
			if err != nil {
				return fmt.Errorf("list endpoint slices: %w", err)
			}
			if len(have.Items) == 0 && len(want) == 0 {
				return nil
			}
			return c.writePlanned(ctx, namespace, have.Items, want)
		}, errors.Join(
			Watch(l, services.Informer(), func(old, cur *corev1.Service) { l.AddObject(newest(old, cur)) }),
			Watch(l, endpoints.Informer(), func(old, cur *corev1.Endpoints) { l.AddObject(newest(old, cur)) })) //nolint:staticcheck // deprecated, but served
}

// mirrored tells whether slices are to say what ends say.
func mirrored(svc *corev1.Service, ends *corev1.Endpoints) bool { //nolint:staticcheck // deprecated, but served
	if svc == nil || ends == nil || len(svc.Spec.Selector) > 0 || svc.DeletionTimestamp != nil || ends.DeletionTimestamp != nil {
		return false
	}
	_, elects := ends.Annotations["control-plane.alpha.kubernetes.io/leader"]
	return !elects && ends.Labels[discoveryv1.LabelSkipMirror] != "true"
}

// planMirror are the slices, without names, that say what ends say: for each
// subset one of each family of addresses.
func planMirror(ends *corev1.Endpoints) (list []*discoveryv1.EndpointSlice) { //nolint:staticcheck // deprecated, but served
	for _, subset := range ends.Subsets {
		of := map[discoveryv1.AddressType][]discoveryv1.Endpoint{}
		for i, a := range slices.Concat(subset.Addresses, subset.NotReadyAddresses) {
			ip, err := netip.ParseAddr(a.IP)
			if err != nil || i >= maxMirrored {
				continue
			}
			family := discoveryv1.AddressTypeIPv4
			if ip.Is6() {
				family = discoveryv1.AddressTypeIPv6
			}
			of[family] = append(of[family], mirrorOf(a, i < len(subset.Addresses)))
		}
		var ports []discoveryv1.EndpointPort
		for _, p := range subset.Ports {
			ports = append(ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(p.Port), Protocol: new(p.Protocol), AppProtocol: p.AppProtocol})
		}
		for _, family := range slices.Sorted(maps.Keys(of)) {
			for some := range slices.Chunk(of[family], maxEndpoints) {
				list = append(list, labelMirror(&discoveryv1.EndpointSlice{AddressType: family, Ports: ports, Endpoints: some}, ends))
			}
		}
	}
	return list
}

func mirrorOf(a corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, NodeName: a.NodeName, TargetRef: a.TargetRef}
	if a.Hostname != "" {
		e.Hostname = new(a.Hostname)
	}
	return e
}

func labelMirror(s *discoveryv1.EndpointSlice, ends *corev1.Endpoints) *discoveryv1.EndpointSlice { //nolint:staticcheck // deprecated, but served
	s.Namespace, s.GenerateName = ends.Namespace, ends.Name+"-"
	s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(ends, corev1.SchemeGroupVersion.WithKind("Endpoints"))}
	s.Labels = maps.Clone(ends.Labels)
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = ends.Name, mirrorManager
	s.Annotations = maps.Clone(ends.Annotations)
	maps.DeleteFunc(s.Annotations, func(key, _ string) bool {
		return key == corev1.LastAppliedConfigAnnotation || strings.HasPrefix(key, "endpoints.kubernetes.io/")
	})
	return s
}
