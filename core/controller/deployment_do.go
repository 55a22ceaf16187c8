package controller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// This file carries out what deployment_plan.go decides.

// syncCurrent brings the current set's annotations up to date and takes its
// revision over to the Deployment.
func (c *deployments) syncCurrent(ctx context.Context, r *rollout) error {
	set := r.current.DeepCopy()
	changed := annotate(r.d, set, maxRevision(r.old)+1)
	if set.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
		set.Spec.MinReadySeconds, changed = r.d.Spec.MinReadySeconds, true
	}
	if changed {
		updated, err := c.Client.AppsV1().ReplicaSets(set.Namespace).Update(ctx, set, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("update annotations of %s: %w", set.Name, err)
		}
		c.written.wrote(updated)
		r.replace(updated)
		r.did("update annotations of %s", set.Name)
	}
	metav1.SetMetaDataAnnotation(&r.d.ObjectMeta, revisionAnnotation, r.current.Annotations[revisionAnnotation])
	if hasDeadline(r.d) && condition(&r.d.Status, appsv1.DeploymentProgressing) == nil {
		r.progressing(corev1.ConditionTrue, foundNewSet, fmt.Sprintf("Found new replica set %q", r.current.Name))
	}
	return nil
}

// createCurrent creates the set for the Deployment's present template. A set
// of the same name with another template is a hash collision: the collision
// count in the status makes the next name differ.
func (c *deployments) createCurrent(ctx context.Context, r *rollout) error {
	d, set := r.d, r.newSet()
	created, err := c.Client.AppsV1().ReplicaSets(d.Namespace).Create(ctx, set, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		return c.resolveCollision(ctx, r, set.Name, err)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return err
	case err != nil:
		msg := fmt.Sprintf("Failed to create new replica set %q: %v", set.Name, err)
		c.Events.Eventf(ctx, d, corev1.EventTypeWarning, setCreateError, "%s", msg)
		if hasDeadline(d) {
			r.progressing(corev1.ConditionFalse, setCreateError, msg)
			_, _ = c.Client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
		}
		return fmt.Errorf("create replica set: %w", err)
	}
	r.did("create replica set %s with %d", created.Name, *created.Spec.Replicas)
	if n := *created.Spec.Replicas; n > 0 {
		c.Events.Eventf(ctx, d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", created.Name, n)
	}
	r.current = created
	metav1.SetMetaDataAnnotation(&d.ObjectMeta, revisionAnnotation, created.Annotations[revisionAnnotation])
	if hasDeadline(d) {
		r.progressing(corev1.ConditionTrue, newSetCreated, fmt.Sprintf("Created new replica set %q", created.Name))
	}
	return nil
}

func (c *deployments) resolveCollision(ctx context.Context, r *rollout, name string, exists error) error {
	d := r.d
	there, err := c.Client.AppsV1().ReplicaSets(d.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read replica set %s: %w", name, err)
	}
	if metav1.IsControlledBy(there, d) && sameTemplate(&d.Spec.Template, &there.Spec.Template) {
		r.current = there // the cache does not show it yet
		return nil
	}
	count := int32(1)
	if d.Status.CollisionCount != nil {
		count = *d.Status.CollisionCount + 1
	}
	d.Status.CollisionCount = &count
	if _, err := c.Client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("count hash collision: %w", err)
	}
	return fmt.Errorf("hash collision, the next name will differ: %w", exists)
}

// scaleAll changes the sizes of sets, one after the other.
func (c *deployments) scaleAll(ctx context.Context, r *rollout, plan []scaling) error {
	for _, s := range plan {
		if err := c.scale(ctx, r, s); err != nil {
			return err
		}
	}
	return nil
}

func (c *deployments) scale(ctx context.Context, r *rollout, s scaling) error {
	was := *s.set.Spec.Replicas
	set := s.set.DeepCopy()
	set.Spec.Replicas = &s.replicas
	annotated := annotateSizes(r.d, set)
	if was == s.replicas && !annotated {
		return nil
	}
	updated, err := c.Client.AppsV1().ReplicaSets(set.Namespace).Update(ctx, set, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("scale replica set %s: %w", set.Name, err)
	}
	c.written.wrote(updated)
	r.replace(updated)
	if was == s.replicas {
		return nil
	}
	direction := "up"
	if was > s.replicas {
		direction = "down"
	}
	r.did("scale %s %s from %d to %d", direction, set.Name, was, s.replicas)
	c.Events.Eventf(ctx, r.d, corev1.EventTypeNormal, "ScalingReplicaSet",
		"Scaled %s replica set %s from %d to %d", direction, set.Name, was, s.replicas)
	return nil
}

// cleanUp deletes old sets beyond spec.revisionHistoryLimit.
func (c *deployments) cleanUp(ctx context.Context, r *rollout) error {
	for _, set := range planCleanUp(r) {
		err := c.Client.AppsV1().ReplicaSets(set.Namespace).Delete(ctx, set.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete old replica set %s: %w", set.Name, err)
		}
		r.did("delete old replica set %s", set.Name)
	}
	return nil
}
