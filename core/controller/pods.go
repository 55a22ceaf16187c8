package controller

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// isActive tells whether a pod counts as a replica: it has not ended and is
// not on its way out.
func isActive(p *corev1.Pod) bool { return !isTerminal(p) && p.DeletionTimestamp == nil }

func isTerminal(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func isTerminating(p *corev1.Pod) bool { return !isTerminal(p) && p.DeletionTimestamp != nil }

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func isReady(p *corev1.Pod) bool {
	c := podCondition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// readySince is when the pod became ready; zero if it is not.
func readySince(p *corev1.Pod) time.Time {
	if c := podCondition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// untilAvailable is how long the pod has still to stay ready until it counts
// as available; ok is false if it is not ready.
func untilAvailable(p *corev1.Pod, minReady time.Duration, now time.Time) (wait time.Duration, ok bool) {
	if !isReady(p) {
		return 0, false
	}
	if minReady == 0 {
		return 0, true
	}
	return max(0, readySince(p).Add(minReady).Sub(now)), true
}

// restartsOf is the highest restart count of the pod's containers, and of its
// restartable init containers.
func restartsOf(p *corev1.Pod) (regular, sidecar int32) {
	for _, c := range p.Status.ContainerStatuses {
		regular = max(regular, c.RestartCount)
	}
	always := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		always[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	for _, c := range p.Status.InitContainerStatuses {
		if always[c.Name] {
			sidecar = max(sidecar, c.RestartCount)
		}
	}
	return regular, sidecar
}
