package controller

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func (c *replicaSets) carryOut(ctx context.Context, key string, rs *appsv1.ReplicaSet, plan replicaPlan) error {
	switch {
	case plan.Create > 0:
		c.expected.expect(key, plan.Create)
		done, err := slowStart(plan.Create, func() error { return c.createPod(ctx, rs) })
		for range plan.Create - done {
			c.expected.created(key) // what was not created will not be seen
		}
		return err
	case len(plan.Delete) > 0:
		uids := make([]types.UID, len(plan.Delete))
		for i, p := range plan.Delete {
			uids[i] = p.UID
		}
		c.expected.expect(key, 0, uids...)
		_, err := atOnce(len(plan.Delete), func(i int) error { return c.deletePod(ctx, key, rs, plan.Delete[i]) })
		return err
	}
	return nil
}

func (c *replicaSets) createPod(ctx context.Context, rs *appsv1.ReplicaSet) error {
	pod, err := c.Client.CoreV1().Pods(rs.Namespace).Create(ctx, podFor(rs, c.kind.GroupVersionKind), metav1.CreateOptions{})
	switch {
	case err == nil:
		c.Events.Eventf(ctx, rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", pod.Name)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errNamespaceEnds
	default:
		c.Events.Eventf(ctx, rs, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
	}
	return err
}

// errNamespaceEnds stops a batch without making the turn fail.
var errNamespaceEnds = errors.New("the namespace is being deleted")

// podFor is the pod that a set's template describes.
func podFor(rs *appsv1.ReplicaSet, kind schema.GroupVersionKind) *corev1.Pod {
	t := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: rs.Name + "-", Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, kind)},
		},
		Spec: t.Spec,
	}
}

func (c *replicaSets) deletePod(ctx context.Context, key string, rs *appsv1.ReplicaSet, pod *corev1.Pod) error {
	uid := pod.UID
	err := c.Client.CoreV1().Pods(rs.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err == nil {
		c.Events.Eventf(ctx, rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
		return nil
	}
	c.expected.deleted(key, pod.UID)
	if apierrors.IsNotFound(err) {
		return nil
	}
	c.Events.Eventf(ctx, rs, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
	return fmt.Errorf("delete pod %s: %w", pod.Name, err)
}
