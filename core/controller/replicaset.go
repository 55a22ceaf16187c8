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
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

// replicaSets keeps the number of pods of each ReplicaSet at spec.replicas; its
// kind may also be the ReplicationController.
// Behaviour: kubernetes.io/docs/concepts/workloads/controllers/replicaset.
type replicaSets struct {
	*Loop
	kind     replicaKind
	pods     listerscorev1.PodLister
	expected *expectations
	written  written
}

func newReplicaSets(l *Loop) (Reconcile, error) {
	c := newReplicas(l, replicaSetsOf(l))
	return c.reconcile, errors.Join(Watch(l, l.Informers.Apps().V1().ReplicaSets().Informer(), c.setChanged), c.watchPods())
}

func newReplicas(l *Loop, kind replicaKind) *replicaSets {
	return &replicaSets{Loop: l, kind: kind, pods: l.Informers.Core().V1().Pods().Lister(), expected: newExpectations(l.Clock)}
}

func (c *replicaSets) watchPods() error {
	return Watch(c.Loop, c.Informers.Core().V1().Pods().Informer(), c.podChanged)
}

func (c *replicaSets) setChanged(old, cur *appsv1.ReplicaSet) {
	if old != nil && (cur == nil || old.UID != cur.UID) {
		c.expected.forget(keyOf(old))
		c.written.forget(old.UID)
	}
	c.AddObject(newest(old, cur))
}

// podChanged meets expectations and queues the sets that the pod concerns: the
// one that controls it, the one that did, or those that could adopt it.
func (c *replicaSets) podChanged(old, cur *corev1.Pod) {
	pod := newest(old, cur)
	owner := c.ownerOf(pod)
	if old == nil && pod.DeletionTimestamp == nil && owner != "" {
		c.expected.created(owner)
	}
	if (cur == nil || pod.DeletionTimestamp != nil) && owner != "" {
		c.expected.deleted(owner, pod.UID)
	}
	if owner != "" {
		c.Add(owner, revisionOf(pod))
	}
	if old != nil && cur != nil {
		if was := c.ownerOf(old); was != "" && was != owner {
			c.Add(was, revisionOf(pod))
		}
	}
	if metav1.GetControllerOfNoCopy(pod) == nil && cur != nil && pod.DeletionTimestamp == nil {
		for _, rs := range c.matching(pod) {
			c.Add(keyOf(rs), revisionOf(pod))
		}
	}
}

// ownerOf is the key of the set that controls pod, or "".
func (c *replicaSets) ownerOf(pod *corev1.Pod) string {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != c.kind.Kind {
		return ""
	}
	rs, err := c.kind.get(pod.Namespace, ref.Name)
	if err != nil || rs.UID != ref.UID {
		return ""
	}
	return keyOf(rs)
}

func (c *replicaSets) matching(pod *corev1.Pod) []*appsv1.ReplicaSet {
	var matching []*appsv1.ReplicaSet
	for _, rs := range c.kind.list(pod.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			matching = append(matching, rs)
		}
	}
	return matching
}

func (c *replicaSets) reconcile(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	rs, err := c.kind.get(namespace, name)
	if apierrors.IsNotFound(err) {
		c.expected.forget(key)
		c.NoDeadline(key)
		return nil
	}
	if err != nil {
		return err
	}
	if !c.written.shown(rs) {
		step.Note(ctx, step.ReconcileDetail{Plan: []string{stale}})
		return nil
	}
	caughtUp := c.expected.met(key)
	active, terminating, err := c.podsOf(ctx, rs)
	if err != nil {
		return err
	}
	plan := planReplicas(int(*rs.Spec.Replicas), active, c.related(rs), c.Clock.Now())
	note := step.ReconcileDetail{Want: number(*rs.Spec.Replicas), Have: number(len(active)), Plan: plan.words()}
	var failure error
	switch {
	case rs.DeletionTimestamp != nil:
		note.Plan = nil
	case !caughtUp:
		note.Plan = []string{stale}
	default:
		failure = c.carryOut(ctx, key, rs, plan)
	}
	step.Note(ctx, note)
	return errors.Join(failure, c.updateStatus(ctx, key, rs, active, terminating, failure))
}

// stale is the plan of a turn that would act on an old state.
const stale = "wait until the cache shows what was done before"

func number[N int | int32](n N) *int64 {
	v := int64(n)
	return &v
}

// podsOf are the set's pods, after adoptions and releases.
func (c *replicaSets) podsOf(ctx context.Context, rs *appsv1.ReplicaSet) (active, terminating []*corev1.Pod, err error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil, nil, nil // validation does not let it in
	}
	all, err := c.pods.Pods(rs.Namespace).List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	sortByAge(all)
	for _, p := range all {
		if isActive(p) {
			active = append(active, p)
		} else if isTerminating(p) && metav1.IsControlledBy(p, rs) && selector.Matches(labels.Set(p.Labels)) {
			terminating = append(terminating, p)
		}
	}
	active, err = claims[*corev1.Pod]{
		owner: rs, kind: c.kind.GroupVersionKind, selector: selector,
		fresh: func(ctx context.Context) (metav1.Object, error) { return c.kind.fresh(ctx, rs.Namespace, rs.Name) },
		patch: func(ctx context.Context, name string, patch []byte) error {
			_, err := c.Client.CoreV1().Pods(rs.Namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	}.of(ctx, active)
	return active, terminating, err
}

// related are the pods of all sets that have the same controller as rs.
func (c *replicaSets) related(rs *appsv1.ReplicaSet) []*corev1.Pod {
	owners := map[types.UID]bool{rs.UID: true}
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		for _, other := range c.kind.list(rs.Namespace) {
			if o := metav1.GetControllerOfNoCopy(other); o != nil && o.UID == ref.UID {
				owners[other.UID] = true
			}
		}
	}
	var related []*corev1.Pod
	pods, _ := c.pods.Pods(rs.Namespace).List(labels.Everything())
	for _, p := range pods {
		if ref := metav1.GetControllerOfNoCopy(p); ref != nil && owners[ref.UID] {
			related = append(related, p)
		}
	}
	return related
}

// updateStatus writes the set's status if it changed, and comes back when the
// next pod becomes available.
func (c *replicaSets) updateStatus(ctx context.Context, key string, rs *appsv1.ReplicaSet, active, terminating []*corev1.Pod, failure error) error {
	now := c.Clock.Now()
	status := replicaSetStatus(rs, active, terminating, failure, now)
	if !c.kind.terminating {
		status.TerminatingReplicas = nil
	}
	if !equality.Semantic.DeepEqual(rs.Status, status) {
		rs = rs.DeepCopy()
		rs.Status = status
		updated, err := c.kind.writeStatus(ctx, rs)
		if err != nil {
			return fmt.Errorf("update status: %w", err)
		}
		c.written.wrote(updated)
	}
	if next := nextAvailability(active, minReady(rs), now); next > 0 {
		c.Deadline(key, next)
	} else {
		c.NoDeadline(key)
	}
	return nil
}
