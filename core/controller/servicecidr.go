package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listersv1 "k8s.io/client-go/listers/networking/v1"

	"github.com/klab-project/klab/core/step"
)

// cidrs says which ranges of Services' addresses are ready, and keeps one that
// is deleted for as long as addresses of it are in use.
// Behaviour: kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation,
// pkg/controller/servicecidrs.
type cidrs struct {
	*Loop
	ranges listersv1.ServiceCIDRLister
	ips    listersv1.IPAddressLister
}

// cidrFinalizer keeps a ServiceCIDR; cidrGrace is how long after its deletion it
// stays at least, for servers that have not heard of it and still give addresses.
const (
	cidrFinalizer = "networking.k8s.io/service-cidr-finalizer"
	cidrGrace     = 10 * time.Second
)

func newServiceCIDRs(l *Loop) (Reconcile, error) {
	n := l.Informers.Networking().V1()
	c := &cidrs{Loop: l, ranges: n.ServiceCIDRs().Lister(), ips: n.IPAddresses().Lister()}
	return c.reconcile, errors.Join(
		Watch(l, n.ServiceCIDRs().Informer(), func(old, cur *networkingv1.ServiceCIDR) {
			changed := newest(old, cur)
			for _, other := range c.all() { // what one no longer has may be another's
				if other.Name == changed.Name || other.DeletionTimestamp != nil {
					l.Add(other.Name, revisionOf(changed))
				}
			}
		}),
		Watch(l, n.IPAddresses().Informer(), func(old, cur *networkingv1.IPAddress) {
			ip := newest(old, cur)
			if addr, ours := managed(ip); ours && (old == nil || cur == nil) {
				for _, r := range c.all() {
					if r.DeletionTimestamp != nil && rangesHave(r, addr) {
						l.Add(r.Name, revisionOf(ip))
					}
				}
			}
		}))
}

func (c *cidrs) all() []*networkingv1.ServiceCIDR {
	list, _ := c.ranges.List(labels.Everything())
	return list
}

func (c *cidrs) reconcile(ctx context.Context, name string) error {
	r, err := c.ranges.Get(name)
	if apierrors.IsNotFound(err) {
		c.NoDeadline(name)
		return nil
	}
	if err != nil {
		return err
	}
	if r.DeletionTimestamp == nil {
		return c.keep(ctx, r.DeepCopy(), readiness(false))
	}
	ips, err := c.ips.List(labels.Everything())
	if err != nil {
		return err
	}
	if ip := stillNeeded(r, c.all(), ips); ip.IsValid() {
		step.Note(ctx, step.ReconcileDetail{Plan: []string{fmt.Sprintf("keep it: %s is in use, and in no other range", ip)}})
		return c.setCondition(ctx, r.DeepCopy(), readiness(true))
	}
	if wait := cidrGrace - c.Clock.Now().Sub(r.DeletionTimestamp.Time); wait > 0 {
		c.Deadline(name, wait)
		return nil
	}
	step.Note(ctx, step.ReconcileDetail{Plan: []string{"let it go: none of its addresses is in use"}})
	return c.finalizers(ctx, r.DeepCopy(), func(list []string) []string {
		return slices.DeleteFunc(list, func(f string) bool { return f == cidrFinalizer })
	})
}

// keep gives a ServiceCIDR its finalizer and its condition.
func (c *cidrs) keep(ctx context.Context, r *networkingv1.ServiceCIDR, want metav1.Condition) error {
	if !slices.Contains(r.Finalizers, cidrFinalizer) {
		return c.finalizers(ctx, r, func(list []string) []string { return append(list, cidrFinalizer) })
	}
	return c.setCondition(ctx, r, want)
}

func (c *cidrs) finalizers(ctx context.Context, r *networkingv1.ServiceCIDR, f func([]string) []string) error {
	was := len(r.Finalizers)
	if r.Finalizers = f(r.Finalizers); len(r.Finalizers) == was {
		return nil
	}
	_, err := c.Client.NetworkingV1().ServiceCIDRs().Update(ctx, r, metav1.UpdateOptions{})
	return ignoreGone(err)
}

func (c *cidrs) setCondition(ctx context.Context, r *networkingv1.ServiceCIDR, want metav1.Condition) error {
	if sameCondition(r, want) {
		return nil
	}
	want.LastTransitionTime = metav1.NewTime(c.Clock.Now())
	meta.SetStatusCondition(&r.Status.Conditions, want)
	_, err := c.Client.NetworkingV1().ServiceCIDRs().UpdateStatus(ctx, r, metav1.UpdateOptions{})
	return ignoreGone(err)
}

// ignoreGone is for changes of what may be gone or different by now: the next
// turn sees it.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
