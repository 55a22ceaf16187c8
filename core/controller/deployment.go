package controller

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listersappsv1 "k8s.io/client-go/listers/apps/v1"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

var deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// deployments keeps one ReplicaSet per version of a Deployment's pod template,
// and moves replicas from the old ones to the new one.
// Behaviour: kubernetes.io/docs/concepts/workloads/controllers/deployment.
type deployments struct {
	*Loop
	deployments listersappsv1.DeploymentLister
	sets        listersappsv1.ReplicaSetLister
	pods        listerscorev1.PodLister
	written     written
}

func newDeployments(l *Loop) (Reconcile, error) {
	apps := l.Informers.Apps().V1()
	pods := l.Informers.Core().V1().Pods()
	c := &deployments{Loop: l, deployments: apps.Deployments().Lister(), sets: apps.ReplicaSets().Lister(), pods: pods.Lister()}
	return c.reconcile, errors.Join(
		Watch(l, apps.Deployments().Informer(), c.deploymentChanged),
		Watch(l, apps.ReplicaSets().Informer(), c.setChanged),
		Watch(l, pods.Informer(), c.podChanged))
}

func (c *deployments) deploymentChanged(old, cur *appsv1.Deployment) {
	if old != nil && (cur == nil || old.UID != cur.UID) {
		c.written.forget(old.UID)
	}
	c.AddObject(newest(old, cur))
}

// setChanged queues the Deployment that controls the set, the one that did,
// and for a set without a controller those that could adopt it.
func (c *deployments) setChanged(old, cur *appsv1.ReplicaSet) {
	set := newest(old, cur)
	if old != nil && (cur == nil || old.UID != cur.UID) {
		c.written.forget(old.UID)
	}
	owner := c.ownerOf(set)
	if owner != nil {
		c.Add(keyOf(owner), revisionOf(set))
	}
	if old != nil && cur != nil {
		if was := c.ownerOf(old); was != nil && was != owner {
			c.Add(keyOf(was), revisionOf(set))
		}
	}
	if metav1.GetControllerOfNoCopy(set) != nil || cur == nil || set.DeletionTimestamp != nil {
		return
	}
	all, _ := c.deployments.Deployments(set.Namespace).List(labels.Everything())
	for _, d := range all {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(set.Labels)) {
			c.Add(keyOf(d), revisionOf(set))
		}
	}
}

func (c *deployments) ownerOf(set *appsv1.ReplicaSet) *appsv1.Deployment {
	ref := metav1.GetControllerOfNoCopy(set)
	if ref == nil || ref.Kind != deploymentKind.Kind {
		return nil
	}
	d, err := c.deployments.Deployments(set.Namespace).Get(ref.Name)
	if err != nil || d.UID != ref.UID {
		return nil
	}
	return d
}

// podChanged matters to Recreate alone, which waits for the last old pod.
func (c *deployments) podChanged(old, cur *corev1.Pod) {
	if cur != nil {
		return
	}
	ref := metav1.GetControllerOfNoCopy(old)
	if ref == nil || ref.Kind != replicaSetKind.Kind {
		return
	}
	set, err := c.sets.ReplicaSets(old.Namespace).Get(ref.Name)
	if err != nil || set.UID != ref.UID {
		return
	}
	d := c.ownerOf(set)
	if d == nil || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return
	}
	c.Add(keyOf(d), revisionOf(old))
}

func (c *deployments) reconcile(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	cached, err := c.deployments.Deployments(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.NoDeadline(key)
		return nil
	}
	if err != nil {
		return err
	}
	d := cached.DeepCopy()
	if equality.Semantic.DeepEqual(d.Spec.Selector, &metav1.LabelSelector{}) {
		c.Events.Eventf(ctx, d, corev1.EventTypeWarning, "SelectingAll",
			"This deployment is selecting all pods. A non-empty selector is required.")
		d.Status.ObservedGeneration = d.Generation
		return c.writeStatus(ctx, cached, d)
	}
	sets, err := c.setsOf(ctx, d)
	if err != nil {
		return err
	}
	if !c.upToDate(d, sets) {
		step.Note(ctx, step.ReconcileDetail{Plan: []string{stale}})
		return nil
	}
	r := newRollout(d, sets, c.Clock.Now())
	r.deadlineProgress = true
	if d.DeletionTimestamp == nil {
		r.notePause()
		if err := c.roll(ctx, r); err != nil {
			return err
		}
	} else {
		r.deadlineProgress = false
	}
	r.note(ctx)
	r.finish()
	if err := c.writeStatus(ctx, cached, d); err != nil {
		return err
	}
	if wait, ok := r.untilDeadline(); ok {
		c.Deadline(key, wait)
	} else {
		c.NoDeadline(key)
	}
	return nil
}

// setsOf are the Deployment's ReplicaSets, after adoptions and releases.
func (c *deployments) setsOf(ctx context.Context, d *appsv1.Deployment) ([]*appsv1.ReplicaSet, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, nil // validation does not let it in
	}
	all, err := c.sets.ReplicaSets(d.Namespace).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	sortByAge(all)
	return claims[*appsv1.ReplicaSet]{
		owner: d, kind: deploymentKind, selector: selector,
		fresh: func(ctx context.Context) (metav1.Object, error) {
			return c.Client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		},
		patch: func(ctx context.Context, name string, patch []byte) error {
			_, err := c.Client.AppsV1().ReplicaSets(d.Namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	}.of(ctx, all)
}

// roll decides what kind of turn it is and carries out its plan.
func (c *deployments) roll(ctx context.Context, r *rollout) error {
	d := r.d
	if r.current != nil {
		if err := c.syncCurrent(ctx, r); err != nil {
			return err
		}
	}
	switch {
	case d.Spec.Paused:
		r.deadlineProgress = false
		if err := c.scaleAll(ctx, r, planProportional(r)); err != nil {
			return err
		}
		return c.cleanUp(ctx, r)
	case r.isScaling():
		r.deadlineProgress = false
		return c.scaleAll(ctx, r, planProportional(r))
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		plan := planRecreateDown(r)
		if len(plan) > 0 || r.oldPodsRun(c.podsOf(r.old)) {
			return c.scaleAll(ctx, r, plan)
		}
	}
	if r.current == nil {
		if err := c.createCurrent(ctx, r); err != nil {
			return err
		}
	}
	plan := planRolling(r)
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		plan = r.to(r.current, *d.Spec.Replicas)
	}
	if err := c.scaleAll(ctx, r, plan); err != nil {
		return err
	}
	if len(plan) == 0 && isComplete(d, &d.Status) {
		return c.cleanUp(ctx, r)
	}
	return nil
}

func (c *deployments) podsOf(sets []*appsv1.ReplicaSet) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, set := range sets {
		all, _ := c.pods.Pods(set.Namespace).List(labels.Everything())
		for _, p := range all {
			if metav1.IsControlledBy(p, set) {
				pods = append(pods, p)
			}
		}
	}
	return pods
}

// writeStatus writes what changed of a Deployment's status and annotations.
func (c *deployments) writeStatus(ctx context.Context, was, d *appsv1.Deployment) error {
	if equality.Semantic.DeepEqual(was.Status, d.Status) && equality.Semantic.DeepEqual(was.Annotations, d.Annotations) {
		return nil
	}
	updated, err := c.Client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("update status: %w", err)
	}
	c.written.wrote(updated)
	return nil
}

// upToDate tells whether the cache shows what was written before.
func (c *deployments) upToDate(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) bool {
	ok := c.written.shown(d)
	for _, set := range sets {
		ok = c.written.shown(set) && ok
	}
	return ok
}
