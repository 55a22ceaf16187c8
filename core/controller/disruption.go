package controller

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listersappsv1 "k8s.io/client-go/listers/apps/v1"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	listerspolicyv1 "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

// disruptions counts how many pods of each budget may be evicted now.
// Behaviour: kubernetes.io/docs/tasks/run-application/configure-pdb.
type disruptions struct {
	*Loop
	budgets     listerspolicyv1.PodDisruptionBudgetLister
	pods        listerscorev1.PodLister
	sets        listersappsv1.ReplicaSetLister
	deployments listersappsv1.DeploymentLister
	controllers listerscorev1.ReplicationControllerLister
}

func newDisruptions(l *Loop) (Reconcile, error) {
	budgets, pods := l.Informers.Policy().V1().PodDisruptionBudgets(), l.Informers.Core().V1().Pods()
	sets, deployments, controllers := l.Informers.Apps().V1().ReplicaSets(), l.Informers.Apps().V1().Deployments(), l.Informers.Core().V1().ReplicationControllers()
	c := &disruptions{Loop: l, budgets: budgets.Lister(), pods: pods.Lister(), sets: sets.Lister(), deployments: deployments.Lister(), controllers: controllers.Lister()}
	for _, informer := range []cache.SharedIndexInformer{sets.Informer(), deployments.Informer(), controllers.Informer()} {
		if err := Watch(l, informer, func(_, _ metav1.Object) {}); err != nil { // only read when a budget's turn comes
			return nil, err
		}
	}
	return c.reconcile, errors.Join(
		Watch(l, budgets.Informer(), func(old, cur *policyv1.PodDisruptionBudget) { l.AddObject(newest(old, cur)) }),
		Watch(l, pods.Informer(), c.podChanged))
}

// podChanged queues the budgets that select the pod, or did.
func (c *disruptions) podChanged(old, cur *corev1.Pod) {
	all, _ := c.budgets.PodDisruptionBudgets(newest(old, cur).Namespace).List(labels.Everything())
	for _, b := range all {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			continue
		}
		if old != nil && selector.Matches(labels.Set(old.Labels)) || cur != nil && selector.Matches(labels.Set(cur.Labels)) {
			c.Add(keyOf(b), revisionOf(newest(old, cur)))
		}
	}
}

func (c *disruptions) reconcile(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	b, err := c.budgets.PodDisruptionBudgets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.NoDeadline(key)
		return nil
	}
	if err != nil {
		return err
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return nil //nolint:nilerr // validation does not let it in
	}
	pods, err := c.pods.Pods(namespace).List(selector)
	if err != nil {
		return err
	}
	status, again := budgetStatus(b, pods, c.scaleOf(pods), c.Clock.Now())
	if again > 0 {
		c.Deadline(key, again)
	}
	step.Note(ctx, step.ReconcileDetail{Want: number(status.DesiredHealthy), Have: number(status.CurrentHealthy)})
	if equality.Semantic.DeepEqual(b.Status, status) {
		return nil
	}
	b = b.DeepCopy()
	b.Status = status
	// The resourceVersion makes an eviction that came between win.
	_, err = c.Client.PolicyV1().PodDisruptionBudgets(namespace).UpdateStatus(ctx, b, metav1.UpdateOptions{})
	return err
}

// scaleOf is how many pods the controllers of these pods want together.
func (c *disruptions) scaleOf(pods []*corev1.Pod) int {
	wanted := map[types.UID]int32{}
	for _, p := range pods {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref == nil {
			continue
		}
		switch ref.Kind {
		case "ReplicationController":
			if rc, err := c.controllers.ReplicationControllers(p.Namespace).Get(ref.Name); err == nil && rc.UID == ref.UID {
				wanted[rc.UID] = *rc.Spec.Replicas
			}
		case replicaSetKind.Kind:
			rs, err := c.sets.ReplicaSets(p.Namespace).Get(ref.Name)
			if err != nil || rs.UID != ref.UID {
				continue
			}
			uid, replicas := rs.UID, *rs.Spec.Replicas
			if of := metav1.GetControllerOfNoCopy(rs); of != nil {
				if d, err := c.deployments.Deployments(p.Namespace).Get(of.Name); err == nil && d.UID == of.UID {
					uid, replicas = d.UID, *d.Spec.Replicas
				}
			}
			wanted[uid] = replicas
		}
	}
	total := 0
	for _, n := range wanted {
		total += int(n)
	}
	return total
}

// disruptionLasts is how long an eviction counts that was allowed but has not
// been seen in the pod.
const disruptionLasts = 2 * time.Minute
