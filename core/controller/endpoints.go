package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

const sliceManager = "endpointslice-controller.k8s.io"

// selecting is what both controllers of endpoints have in common: services,
// and the pods that they select.
type selecting struct {
	*Loop
	services listerscorev1.ServiceLister
	pods     listerscorev1.PodLister
	written  written // slices
}

func newSelecting(l *Loop) (*selecting, error) {
	services, pods := l.Informers.Core().V1().Services(), l.Informers.Core().V1().Pods()
	c := &selecting{Loop: l, services: services.Lister(), pods: pods.Lister()}
	return c, errors.Join(
		Watch(l, services.Informer(), func(old, cur *corev1.Service) { l.AddObject(newest(old, cur)) }),
		Watch(l, pods.Informer(), c.podChanged))
}

// podChanged queues the services that select the pod, or did.
func (c *selecting) podChanged(old, cur *corev1.Pod) {
	all, _ := c.services.Services(newest(old, cur).Namespace).List(labels.Everything())
	for _, svc := range all {
		if len(svc.Spec.Selector) == 0 {
			continue
		}
		selector := labels.SelectorFromSet(svc.Spec.Selector)
		if old != nil && selector.Matches(labels.Set(old.Labels)) || cur != nil && selector.Matches(labels.Set(cur.Labels)) {
			c.Add(keyOf(svc), revisionOf(newest(old, cur)))
		}
	}
}

// backends are a service and what is behind it; nil if nothing is to be done
// for it: it is gone, or somebody else looks after its endpoints.
func (c *selecting) backends(key string) (*corev1.Service, []group, error) {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	svc, err := c.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil || svc.DeletionTimestamp != nil || len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, nil, err
	}
	pods, err := c.pods.Pods(namespace).List(labels.SelectorFromSet(svc.Spec.Selector))
	return svc, backendsOf(svc, pods), err
}

// newEndpointSlices keeps the slices of each service that selects pods.
// Behaviour: kubernetes.io/docs/concepts/services-networking/endpoint-slices.
func newEndpointSlices(l *Loop) (Reconcile, error) {
	c, err := newSelecting(l)
	nodes := l.Informers.Core().V1().Nodes()
	zone := func(name string) string {
		if n, err := nodes.Lister().Get(name); err == nil {
			return n.Labels[corev1.LabelTopologyZone]
		}
		return ""
	}
	moved := func(old, cur *corev1.Node) {
		if old != nil && cur != nil && old.Labels[corev1.LabelTopologyZone] == cur.Labels[corev1.LabelTopologyZone] ||
			newest(old, cur).Labels[corev1.LabelTopologyZone] == "" && (old == nil || old.Labels[corev1.LabelTopologyZone] == "") {
			return
		}
		all, _ := c.services.List(labels.Everything())
		for _, svc := range all {
			l.Add(keyOf(svc), revisionOf(newest(old, cur)))
		}
	}
	err = errors.Join(err, Watch(l, nodes.Informer(), moved), Watch(l, l.Informers.Discovery().V1().EndpointSlices().Informer(), c.sliceChanged))
	return func(ctx context.Context, key string) error {
		svc, groups, err := c.backends(key)
		if svc == nil || err != nil {
			return err
		}
		// Read from the server: from an old cache there would be two of a slice.
		selector := labels.Set{discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: sliceManager}.String()
		have, err := l.Client.DiscoveryV1().EndpointSlices(svc.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return fmt.Errorf("list endpoint slices: %w", err)
		}
		want := planSlices(svc, groups)
		place(svc, want, zone)
		for _, w := range want {
			labelSlice(w, svc)
		}
		return c.writePlanned(ctx, svc.Namespace, have.Items, want)
	}, err
}

// sliceChanged queues the service whose slice somebody else changed or deleted.
func (c *selecting) sliceChanged(old, cur *discoveryv1.EndpointSlice) {
	if old == nil || old.Labels[discoveryv1.LabelManagedBy] != sliceManager || cur != nil && c.written.mine(cur) {
		return
	}
	if cur == nil {
		c.written.forget(old.UID)
	}
	c.Add(old.Namespace+"/"+old.Labels[discoveryv1.LabelServiceName], revisionOf(newest(old, cur)))
}

// pairSlices gives each wanted slice one that is there, of the same family,
// which cannot change; nil where there is none. The rest is too much.
func pairSlices(have []discoveryv1.EndpointSlice, want []*discoveryv1.EndpointSlice) (pairs []*discoveryv1.EndpointSlice, rest []discoveryv1.EndpointSlice) {
	rest = slices.SortedFunc(slices.Values(have), func(a, b discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	for _, w := range want {
		i := slices.IndexFunc(rest, func(s discoveryv1.EndpointSlice) bool { return s.AddressType == w.AddressType })
		if i < 0 {
			pairs = append(pairs, nil)
			continue
		}
		pair := rest[i]
		pairs = append(pairs, &pair)
		rest = slices.Delete(rest, i, i+1)
	}
	return pairs, rest
}

// writePlanned makes the slices that there are into those that are wanted.
func (c *selecting) writePlanned(ctx context.Context, namespace string, have []discoveryv1.EndpointSlice, want []*discoveryv1.EndpointSlice) error {
	client := c.Client.DiscoveryV1().EndpointSlices(namespace)
	var plan []string
	var errs []error
	pairs, rest := pairSlices(have, want)
	for i, w := range want {
		var err error
		switch is := pairs[i]; {
		case is == nil:
			plan = append(plan, "create a slice")
			var now *discoveryv1.EndpointSlice
			if now, err = client.Create(ctx, w, metav1.CreateOptions{}); err == nil {
				c.written.wrote(now)
			} else if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				err = nil
			}
		case equality.Semantic.DeepEqual(is.Endpoints, w.Endpoints) && equality.Semantic.DeepEqual(is.Ports, w.Ports) &&
			maps.Equal(is.Labels, w.Labels) && maps.Equal(is.Annotations, w.Annotations):
		default:
			plan = append(plan, "update slice "+is.Name)
			changed := is.DeepCopy()
			changed.Endpoints, changed.Ports, changed.Labels = w.Endpoints, w.Ports, w.Labels
			changed.Annotations = w.Annotations
			if changed, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err == nil {
				c.written.wrote(changed)
			}
		}
		errs = append(errs, err)
	}
	for _, s := range rest {
		plan = append(plan, "delete slice "+s.Name)
		if err := client.Delete(ctx, s.Name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	step.Note(ctx, step.ReconcileDetail{Want: number(len(want)), Have: number(len(have)), Plan: plan})
	return errors.Join(errs...)
}

func labelSlice(s *discoveryv1.EndpointSlice, svc *corev1.Service) {
	s.GenerateName, s.Namespace = svc.Name+"-", svc.Namespace
	s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind("Service"))}
	s.Labels = maps.Clone(svc.Labels)
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = svc.Name, sliceManager
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		s.Labels[corev1.IsHeadlessService] = ""
	}
}

// newEndpoints keeps the object of the older kind, which has a service's name.
func newEndpoints(l *Loop) (Reconcile, error) {
	c, err := newSelecting(l)
	return func(ctx context.Context, key string) error {
		svc, groups, err := c.backends(key)
		if err != nil {
			return err
		}
		if svc == nil {
			return c.removeEndpoints(ctx, key)
		}
		client := l.Client.CoreV1().Endpoints(svc.Namespace)
		want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: svc.Name, Namespace: svc.Namespace, Labels: maps.Clone(svc.Labels)}, Subsets: planSubsets(svc, groups)} //nolint:staticcheck // deprecated, but served
		if want.Labels == nil {
			want.Labels = map[string]string{}
		}
		want.Labels["endpoints.kubernetes.io/managed-by"] = "endpoint-controller"
		if svc.Spec.ClusterIP == corev1.ClusterIPNone {
			want.Labels[corev1.IsHeadlessService] = ""
		}
		have, err := client.Get(ctx, svc.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, err = client.Create(ctx, want, metav1.CreateOptions{})
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				return nil
			}
			return err
		case err != nil || equality.Semantic.DeepEqual(have.Subsets, want.Subsets) && maps.Equal(have.Labels, want.Labels):
			return err
		}
		have.Subsets, have.Labels = want.Subsets, want.Labels
		_, err = client.Update(ctx, have, metav1.UpdateOptions{})
		return err
	}, err
}

// removeEndpoints removes the object of a service that is gone.
func (c *selecting) removeEndpoints(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	if _, err := c.services.Services(namespace).Get(name); !apierrors.IsNotFound(err) {
		return err
	}
	err := c.Client.CoreV1().Endpoints(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
