package controller

import (
	"context"
	"errors"
	"fmt"
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
	Pool netip.Prefix
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

// ensure gives a Service its address.
func (c *loadBalancers) ensure(ctx context.Context, svc *corev1.Service) error {
	a, err := planIngress(svc, c.LoadBalancer.Pool, c.taken())
	if err != nil {
		return err
	}
	want := withIngress(a)
	if hasFinalizer(svc, loadBalancerCleanup) && equality.Semantic.DeepEqual(svc.Status.LoadBalancer, want) {
		c.given[a] = keyOf(svc)
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
	c.given[a] = keyOf(svc)
	svc.Status.LoadBalancer = want
	if svc, err = c.Client.CoreV1().Services(svc.Namespace).UpdateStatus(ctx, svc, metav1.UpdateOptions{}); err != nil {
		return err
	}
	c.written.wrote(svc)
	c.Events.Eventf(ctx, svc, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	step.Note(ctx, step.ReconcileDetail{Plan: []string{fmt.Sprintf("give it %s of %s", a, c.LoadBalancer.Pool)}})
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

// release lets those have a Service's address who wait for one.
func (c *loadBalancers) release(key string) {
	for a, whose := range c.given {
		if whose == key {
			delete(c.given, a)
		}
	}
	for _, s := range c.all() {
		if _, has := ingressOf(s, c.LoadBalancer.Pool); balanced(s) && !has && keyOf(s) != key {
			c.AddObject(s)
		}
	}
}

// taken are the addresses that Services have, or were given.
func (c *loadBalancers) taken() map[netip.Addr]string {
	taken := map[netip.Addr]string{}
	for _, s := range c.all() {
		if a, ok := ingressOf(s, c.LoadBalancer.Pool); ok && hasFinalizer(s, loadBalancerCleanup) {
			taken[a] = keyOf(s)
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
	c.LoadBalancer.Balance(planBalanced(c.all(), c.LoadBalancer.Pool, c.LoadBalancer.ProxyHealthPort), planNodes(nodes))
}
