package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"

	"github.com/klab-project/klab/core/step"
)

// namespaces empties a namespace that is being deleted and then takes its
// finalizer away. Pods go first, everything else after the last of them
// (kubernetes.io/docs/concepts/overview/working-with-objects/namespaces).
type namespaces struct {
	*Loop
	lister   listerscorev1.NamespaceLister
	metadata metadata.Interface
}

func newNamespaces(l *Loop) (Reconcile, error) {
	client, err := metadata.NewForConfig(l.Config(l.Name))
	if err != nil {
		return nil, fmt.Errorf("metadata client: %w", err)
	}
	informer := l.Informers.Core().V1().Namespaces()
	c := &namespaces{Loop: l, lister: informer.Lister(), metadata: client}
	return c.reconcile, Watch(l, informer.Informer(), func(_, cur *corev1.Namespace) {
		if cur != nil && cur.DeletionTimestamp != nil {
			l.AddObject(cur)
		}
	})
}

func (c *namespaces) reconcile(ctx context.Context, name string) error {
	ns, err := c.lister.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return nil
	}
	left, err := c.empty(ctx, name)
	ns = ns.DeepCopy()
	changed := left.conditions(ns, metav1.NewTime(c.Clock.Now()))
	if ns.Status.Phase != corev1.NamespaceTerminating {
		ns.Status.Phase, changed = corev1.NamespaceTerminating, true
	}
	if changed {
		updated, statusErr := c.Client.CoreV1().Namespaces().UpdateStatus(ctx, ns, metav1.UpdateOptions{})
		if statusErr != nil {
			return errors.Join(err, fmt.Errorf("update status: %w", statusErr))
		}
		ns = updated
	}
	if err != nil {
		return err
	}
	if left.total() > 0 {
		step.Note(ctx, step.ReconcileDetail{Want: number(0), Have: number(left.total()), Plan: []string{"wait until the content is gone"}})
		// Half of what it takes at least, as upstream: it is likely to be less.
		c.Deadline(name, left.grace/2+time.Second)
		return nil
	}
	step.Note(ctx, step.ReconcileDetail{Want: number(0), Have: number(0), Plan: []string{"remove finalizer kubernetes"}})
	ns.Spec.Finalizers = slices.DeleteFunc(slices.Clone(ns.Spec.Finalizers), func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err = c.Client.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("finalize: %w", err)
	}
	return nil
}

// empty deletes what is in the namespace and returns what is left.
func (c *namespaces) empty(ctx context.Context, name string) (*contents, error) {
	left := newContents()
	resources, err := deletable(ctx, c.Client.Discovery(), true)
	if err != nil {
		left.discovery = err
	}
	errs := []error{err}
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	if i := slices.Index(resources, pods); i > 0 {
		resources[0], resources[i] = resources[i], resources[0]
	}
	for _, r := range resources {
		if err := c.emptyOf(ctx, r, name, left); err != nil {
			left.failed = append(left.failed, err)
			errs = append(errs, err)
		}
		if r == pods && left.total() > 0 {
			break
		}
	}
	return left, errors.Join(errs...)
}

// emptyOf deletes the objects of one resource and counts those that stay.
func (c *namespaces) emptyOf(ctx context.Context, r schema.GroupVersionResource, name string, left *contents) error {
	client := c.metadata.Resource(r).Namespace(name)
	items, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list %s: %w", r.GroupResource(), err)
	}
	background := metav1.DeletePropagationBackground
	var errs []error
	for _, item := range items.Items {
		if item.DeletionTimestamp != nil {
			continue
		}
		err := client.Delete(ctx, item.Name, metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete %s %s: %w", r.GroupResource(), item.Name, err))
		}
	}
	if len(items.Items) > 0 {
		if items, err = client.List(ctx, metav1.ListOptions{}); err != nil {
			return fmt.Errorf("list %s: %w", r.GroupResource(), err)
		}
		left.add(r.GroupResource(), items.Items)
	}
	return errors.Join(errs...)
}

// deletable are the preferred versions of all resources that can be listed,
// watched and deleted. It may return some of them together with an error.
func deletable(ctx context.Context, d discovery.DiscoveryInterface, namespaced bool) ([]schema.GroupVersionResource, error) {
	lists, err := discovery.ToDiscoveryInterfaceWithContext(d).ServerPreferredResourcesWithContext(ctx)
	lists = discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "watch", "delete"}}, lists)
	var all []schema.GroupVersionResource
	for _, list := range lists {
		gv, parseErr := schema.ParseGroupVersion(list.GroupVersion)
		if parseErr != nil {
			err = errors.Join(err, parseErr)
			continue
		}
		for _, r := range list.APIResources {
			if r.Namespaced || !namespaced {
				all = append(all, gv.WithResource(r.Name))
			}
		}
	}
	slices.SortFunc(all, func(a, b schema.GroupVersionResource) int {
		return slices.Compare([]string{a.Group, a.Resource}, []string{b.Group, b.Resource})
	})
	return all, err
}
