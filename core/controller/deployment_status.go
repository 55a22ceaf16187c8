package controller

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Reasons of the conditions Progressing and Available, as upstream.
const (
	setUpdated         = "ReplicaSetUpdated"
	setCreateError     = "ReplicaSetCreateError"
	newSetCreated      = "NewReplicaSetCreated"
	foundNewSet        = "FoundNewReplicaSet"
	newSetAvailable    = "NewReplicaSetAvailable"
	timedOut           = "ProgressDeadlineExceeded"
	paused             = "DeploymentPaused"
	resumed            = "DeploymentResumed"
	minimumAvailable   = "MinimumReplicasAvailable"
	minimumUnavailable = "MinimumReplicasUnavailable"
)

// notePause keeps a pause out of the progress deadline.
func (r *rollout) notePause() {
	c := condition(&r.d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(r.d) || c != nil && c.Reason == timedOut {
		return
	}
	noted := c != nil && c.Reason == paused
	if r.d.Spec.Paused && !noted {
		r.progressing(corev1.ConditionUnknown, paused, "Deployment is paused")
	} else if !r.d.Spec.Paused && noted {
		r.progressing(corev1.ConditionUnknown, resumed, "Deployment is resumed")
	}
}

func (r *rollout) progressing(status corev1.ConditionStatus, reason, message string) {
	r.set(appsv1.DeploymentProgressing, status, reason, message)
}

// set sets a condition. One with the same status and reason stays as it is.
func (r *rollout) set(t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	c := condition(&r.d.Status, t)
	if c != nil && c.Status == status && c.Reason == reason {
		return
	}
	next := appsv1.DeploymentCondition{Type: t, Status: status, Reason: reason, Message: message,
		LastUpdateTime: r.now, LastTransitionTime: r.now}
	if c != nil && c.Status == status {
		next.LastTransitionTime = c.LastTransitionTime
	}
	r.unset(t)
	r.d.Status.Conditions = append(r.d.Status.Conditions, next)
}

func (r *rollout) unset(t appsv1.DeploymentConditionType) {
	r.d.Status.Conditions = slices.DeleteFunc(slices.Clone(r.d.Status.Conditions),
		func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

func condition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

// finish works out the status from the sets.
func (r *rollout) finish() {
	r.count()
	_, unavailable := limits(r.d)
	if r.d.Status.AvailableReplicas >= *r.d.Spec.Replicas-unavailable {
		r.set(appsv1.DeploymentAvailable, corev1.ConditionTrue, minimumAvailable, "Deployment has minimum availability.")
	} else {
		r.set(appsv1.DeploymentAvailable, corev1.ConditionFalse, minimumUnavailable, "Deployment does not have minimum availability.")
	}
	if r.deadlineProgress {
		r.judgeProgress()
		r.takeFailure()
	}
}

func (r *rollout) count() {
	s, all := &r.d.Status, r.sets()
	s.ObservedGeneration = r.d.Generation
	s.Replicas, s.ReadyReplicas, s.UpdatedReplicas = 0, 0, 0
	gone, known := int32(0), true
	for _, set := range all {
		s.Replicas += set.Status.Replicas
		s.ReadyReplicas += set.Status.ReadyReplicas
		if t := set.Status.TerminatingReplicas; t != nil {
			gone += *t
		} else if set.Status.ObservedGeneration != 0 {
			known = false
		}
	}
	if s.TerminatingReplicas = nil; known {
		s.TerminatingReplicas = &gone
	}
	if r.current != nil {
		s.UpdatedReplicas = r.current.Status.Replicas
	}
	s.AvailableReplicas = availableReplicas(all)
	s.UnavailableReplicas = max(0, specReplicas(all)-s.AvailableReplicas)
}

// judgeProgress sets the condition Progressing: complete, moving, or stuck
// for longer than spec.progressDeadlineSeconds.
func (r *rollout) judgeProgress() {
	d := r.d
	if !hasDeadline(d) {
		r.unset(appsv1.DeploymentProgressing)
		return
	}
	c := condition(&d.Status, appsv1.DeploymentProgressing)
	if d.Status.Replicas == d.Status.UpdatedReplicas && c != nil && c.Reason == newSetAvailable {
		return // no rollout is under way
	}
	name := fmt.Sprintf("Deployment %q", d.Name)
	if r.current != nil {
		name = fmt.Sprintf("ReplicaSet %q", r.current.Name)
	}
	switch {
	case isComplete(d, &d.Status):
		r.progressing(corev1.ConditionTrue, newSetAvailable, name+" has successfully progressed.")
	case hasProgressed(&r.was, &d.Status):
		// Also with the same reason: lastUpdateTime is what the deadline counts from.
		transition := r.now
		if c != nil && c.Status == corev1.ConditionTrue {
			transition = c.LastTransitionTime
		}
		r.unset(appsv1.DeploymentProgressing)
		r.progressing(corev1.ConditionTrue, setUpdated, name+" is progressing.")
		condition(&d.Status, appsv1.DeploymentProgressing).LastTransitionTime = transition
	case r.isLate(c):
		r.progressing(corev1.ConditionFalse, timedOut, name+" has timed out progressing.")
	}
}

// isComplete tells whether all pods are of the current set and available.
func isComplete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	want := *d.Spec.Replicas
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

func hasProgressed(was, is *appsv1.DeploymentStatus) bool {
	return is.UpdatedReplicas > was.UpdatedReplicas || is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		is.ReadyReplicas > was.ReadyReplicas || is.AvailableReplicas > was.AvailableReplicas
}

func (r *rollout) isLate(c *appsv1.DeploymentCondition) bool {
	switch {
	case c == nil, c.Reason == newSetAvailable:
		return false
	case c.Reason == timedOut:
		return true
	}
	return c.LastUpdateTime.Add(deadline(r.d)).Before(r.now.Time)
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

// untilDeadline is when the rollout has to be judged again, if it has to be.
func (r *rollout) untilDeadline() (time.Duration, bool) {
	c := condition(&r.d.Status, appsv1.DeploymentProgressing)
	if !r.deadlineProgress || !hasDeadline(r.d) || c == nil || isComplete(r.d, &r.d.Status) {
		return 0, false
	}
	if c.Reason == timedOut || c.Reason == newSetAvailable {
		return 0, false // judged already, or no rollout is under way
	}
	// Timestamps have whole seconds: one more makes sure that it is late then.
	return max(0, c.LastUpdateTime.Add(deadline(r.d)).Sub(r.now.Time)) + time.Second, true
}

// takeFailure copies ReplicaFailure of the sets, the current one's first.
func (r *rollout) takeFailure() {
	for _, set := range slices.Backward(r.sets()) {
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				r.set(appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message)
				return
			}
		}
	}
	r.unset(appsv1.DeploymentReplicaFailure)
}
