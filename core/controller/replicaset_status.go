package controller

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// replicaSetStatus is what a ReplicaSet's status says about its pods. Failure
// is the error of creating or deleting pods in this turn, if any.
func replicaSetStatus(rs *appsv1.ReplicaSet, active, terminating []*corev1.Pod, failure error, now time.Time) appsv1.ReplicaSetStatus {
	status := *rs.Status.DeepCopy()
	status.ObservedGeneration = rs.Generation
	status.Replicas = int32(len(active))
	status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0
	gone := int32(len(terminating))
	status.TerminatingReplicas = &gone
	template := labels.Set(rs.Spec.Template.Labels).AsSelectorPreValidated()
	for _, p := range active {
		if template.Matches(labels.Set(p.Labels)) {
			status.FullyLabeledReplicas++
		}
		if wait, ready := untilAvailable(p, minReady(rs), now); ready {
			status.ReadyReplicas++
			if wait == 0 {
				status.AvailableReplicas++
			}
		}
	}
	status.Conditions = replicaFailure(status.Conditions, len(active)-int(*rs.Spec.Replicas), failure, now)
	return status
}

// replicaFailure adds or removes the condition ReplicaFailure; one that is
// there already stays as it is.
func replicaFailure(conditions []appsv1.ReplicaSetCondition, diff int, failure error, now time.Time) []appsv1.ReplicaSetCondition {
	isFailure := func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }
	if failure == nil {
		return slices.DeleteFunc(conditions, isFailure)
	}
	if slices.ContainsFunc(conditions, isFailure) {
		return conditions
	}
	reason := "FailedCreate"
	if diff > 0 {
		reason = "FailedDelete"
	}
	return append(conditions, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
		Reason: reason, Message: failure.Error(),
	})
}

func minReady(rs *appsv1.ReplicaSet) time.Duration {
	return time.Duration(rs.Spec.MinReadySeconds) * time.Second
}

// nextAvailability is how long it takes until the next ready pod becomes
// available; zero if none is on its way.
func nextAvailability(active []*corev1.Pod, minReady time.Duration, now time.Time) time.Duration {
	next := time.Duration(0)
	for _, p := range active {
		if wait, ready := untilAvailable(p, minReady, now); ready && wait > 0 && (next == 0 || wait < next) {
			next = wait
		}
	}
	return next
}
