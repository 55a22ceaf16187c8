package controller

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

// serviceLB gives Services of type LoadBalancer their addresses, as a cloud's
// controller manager does.
const serviceLB = "service-lb-controller"

// LoadBalancer is what the controller gives addresses of.
type LoadBalancer struct {
	Pools []netip.Prefix // one of each family of addresses that there is
	// ProxyHealthPort is where kube-proxies say that they live.
	ProxyHealthPort int
	// Balance is told each time what there is, all of it.
	Balance func(list []Balanced, nodes []BalancedNode)
}

type loadBalancers struct {
	*Loop
	services listerscorev1.ServiceLister
	nodes    listerscorev1.NodeLister
	given    map[netip.Addr]string // addresses that a cache may not show yet, and whose they are
	written  written
}

// newLoadBalancers keeps the status of Services of type LoadBalancer.
// Behaviour: k8s.io/cloud-provider/controllers/service.
func newLoadBalancers(l *Loop) (Reconcile, error) {
	services, nodes := l.Informers.Core().V1().Services(), l.Informers.Core().V1().Nodes()
	c := &loadBalancers{Loop: l, services: services.Lister(), nodes: nodes.Lister(), given: map[netip.Addr]string{}}
	l.NameKeys(func(key string) step.Object {
		namespace, name, _ := cache.SplitMetaNamespaceKey(key)
		return step.Object{Resource: "services", Namespace: namespace, Name: name}
	})
	return c.reconcile, errors.Join(
		Watch(l, services.Informer(), func(old, cur *corev1.Service) {
			if cur == nil {
				c.written.forget(old.UID)
			}
			if s := newest(old, cur); balanced(s) || hasFinalizer(s, loadBalancerCleanup) || old != nil && balanced(old) {
				l.AddObject(s)
			}
		}),
		Watch(l, nodes.Informer(), func(old, cur *corev1.Node) {
			if old == nil || cur == nil || !slices.Equal(planNodes([]*corev1.Node{old}), planNodes([]*corev1.Node{cur})) {
				l.Add(allServices, revisionOf(newest(old, cur)))
			}
		}))
}

// allServices is the key of the load balancer itself.
const allServices = "all"

func (c *loadBalancers) reconcile(ctx context.Context, key string) error {
	defer c.balance()
	if key == allServices {
		return nil
	}
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	svc, err := c.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.release(key)
		return nil
	}
	if err != nil || !c.written.shown(svc) {
		return err
	}
	if !balanced(svc) {
		err = c.remove(ctx, svc)
	} else {
		err = c.ensure(ctx, svc)
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil // somebody has changed it: its delivery queues it again
	case err != nil && balanced(svc):
		c.Events.Eventf(ctx, svc, corev1.EventTypeWarning, "SyncLoadBalancerFailed", "Error syncing load balancer: failed to ensure load balancer: %v", err)
	}
	return err
}

// give notes that a Service has these addresses, and none that it had before.
func (c *loadBalancers) give(svc *corev1.Service, list []netip.Addr) {
	maps.DeleteFunc(c.given, func(_ netip.Addr, whose string) bool { return whose == keyOf(svc) })
	for _, a := range list {
		c.given[a] = keyOf(svc)
	}
}

// ensure gives a Service its addresses.
func (c *loadBalancers) ensure(ctx context.Context, svc *corev1.Service) error {
	list, err := planIngress(svc, c.LoadBalancer.Pools, c.taken())
	if err != nil {
		return err
	}
	want := withIngress(list...)
	if hasFinalizer(svc, loadBalancerCleanup) && equality.Semantic.DeepEqual(svc.Status.LoadBalancer, want) {
		c.give(svc, list)
		return nil
	}
	c.Events.Eventf(ctx, svc, corev1.EventTypeNormal, "EnsuringLoadBalancer", "Ensuring load balancer")
	svc = svc.DeepCopy()
	if !hasFinalizer(svc, loadBalancerCleanup) {
		svc.Finalizers = append(svc.Finalizers, loadBalancerCleanup)
		if svc, err = c.Client.CoreV1().Services(svc.Namespace).Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
			return err
		}
		c.written.wrote(svc)
	}
	c.give(svc, list)
	svc.Status.LoadBalancer = want
	if svc, err = c.Client.CoreV1().Services(svc.Namespace).UpdateStatus(ctx, svc, metav1.UpdateOptions{}); err != nil {
		return err
	}
	c.written.wrote(svc)
	c.Events.Eventf(ctx, svc, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	step.Note(ctx, step.ReconcileDetail{Plan: planned(list, poolsOf(svc, c.LoadBalancer.Pools))})
	return nil
}

// remove takes back what a Service has that is not to have it any more.
func (c *loadBalancers) remove(ctx context.Context, svc *corev1.Service) error {
	if !hasFinalizer(svc, loadBalancerCleanup) {
		return nil
	}
	c.Events.Eventf(ctx, svc, corev1.EventTypeNormal, "DeletingLoadBalancer", "Deleting load balancer")
	c.balance() // it is not among them any more
	svc = svc.DeepCopy()
	var err error
	if svc.DeletionTimestamp == nil && len(svc.Status.LoadBalancer.Ingress) > 0 {
		svc.Status.LoadBalancer = corev1.LoadBalancerStatus{}
		if svc, err = c.Client.CoreV1().Services(svc.Namespace).UpdateStatus(ctx, svc, metav1.UpdateOptions{}); err != nil {
			return err
		}
		c.written.wrote(svc)
	}
	svc.Finalizers = slices.DeleteFunc(svc.Finalizers, func(f string) bool { return f == loadBalancerCleanup })
	if _, err = c.Client.CoreV1().Services(svc.Namespace).Update(ctx, svc, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	c.Events.Eventf(ctx, svc, corev1.EventTypeNormal, "DeletedLoadBalancer", "Deleted load balancer")
	c.release(keyOf(svc))
	return nil
}

// release lets those have a Service's addresses who wait for some.
func (c *loadBalancers) release(key string) {
	maps.DeleteFunc(c.given, func(_ netip.Addr, whose string) bool { return whose == key })
	for _, s := range c.all() {
		if balanced(s) && len(s.Status.LoadBalancer.Ingress) < len(poolsOf(s, c.LoadBalancer.Pools)) && keyOf(s) != key {
			c.AddObject(s)
		}
	}
}

// taken are the addresses that Services have, or were given.
func (c *loadBalancers) taken() map[netip.Addr]string {
	taken := map[netip.Addr]string{}
	for _, s := range c.all() {
		for _, pool := range c.LoadBalancer.Pools {
			if a, ok := ingressOf(s, pool); ok && hasFinalizer(s, loadBalancerCleanup) {
				taken[a] = keyOf(s)
			}
		}
	}
	for a, key := range c.given {
		taken[a] = key
	}
	return taken
}

func (c *loadBalancers) all() []*corev1.Service {
	list, _ := c.services.List(labels.Everything()) // a cache does not fail
	slices.SortFunc(list, func(a, b *corev1.Service) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return list
}

// balance says what there is now.
func (c *loadBalancers) balance() {
	nodes, _ := c.nodes.List(labels.Everything())
	c.LoadBalancer.Balance(planBalanced(c.all(), c.LoadBalancer.Pools, c.LoadBalancer.ProxyHealthPort), planNodes(nodes))
}
