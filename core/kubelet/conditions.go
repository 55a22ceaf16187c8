package kubelet

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ownedConditions are those that the kubelet writes; all others are kept.
var ownedConditions = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
	corev1.PodResizePending, corev1.PodResizeInProgress, corev1.AllContainersRestarting,
}

// conditions makes the pod's conditions, keeping the time at which each last
// changed and those that others have set. ("Pod Lifecycle", "Pod conditions".)
func (in *statusInput) conditions(s *corev1.PodStatus) []corev1.PodCondition {
	var list []corev1.PodCondition
	for _, c := range in.old.Conditions {
		if !slices.Contains(ownedConditions, c.Type) {
			list = append(list, c)
		}
	}
	all := slices.Concat(s.InitContainerStatuses, s.ContainerStatuses)
	containers := containersReady(in.pod, all, s.Phase)
	mine := []corev1.PodCondition{
		in.readyToStart(), initialized(in.pod, all, s.Phase), podReady(in.pod, containers, list), containers,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	if mayRestartAll(&in.pod.Spec) {
		mine = append(mine, in.restarting(s.Phase))
	}
	for _, c := range mine {
		c.ObservedGeneration = in.pod.Generation
		c.LastTransitionTime = stamp(in.now)
		for _, old := range in.old.Conditions {
			if old.Type == c.Type && old.Status == c.Status && !old.LastTransitionTime.IsZero() {
				c.LastTransitionTime = old.LastTransitionTime
			}
		}
		list = append(list, c)
	}
	return append(list, in.resize...)
}

func (in *statusInput) readyToStart() corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}
	if changed, _, _, why := sandboxChanged(in.pod, in.state); changed {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "PodSandboxNotReady", why
	}
	return c
}

// containersReady is True when all containers, sidecars included, are ready.
func containersReady(pod *corev1.Pod, all []corev1.ContainerStatus, phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	var unknown, unready []string
	look := func(name string) {
		switch s := findStatus(all, name); {
		case s == nil:
			unknown = append(unknown, name)
		case !s.Ready:
			unready = append(unready, name)
		}
	}
	for i := range pod.Spec.InitContainers {
		if isSidecar(&pod.Spec.InitContainers[i]) {
			look(pod.Spec.InitContainers[i].Name)
		}
	}
	for i := range pod.Spec.Containers {
		look(pod.Spec.Containers[i].Name)
	}
	switch {
	case phase == corev1.PodSucceeded && len(unknown) == 0:
		c.Reason = "PodCompleted"
	case phase == corev1.PodFailed:
		c.Reason = "PodFailed"
	case len(unknown)+len(unready) > 0:
		c.Reason, c.Message = "ContainersNotReady", complaint(unknown, "unready", unready)
	default:
		c.Status = corev1.ConditionTrue
	}
	return c
}

func complaint(unknown []string, word string, bad []string) string {
	var parts []string
	if len(unknown) > 0 {
		parts = append(parts, fmt.Sprintf("containers with unknown status: %s", unknown))
	}
	if len(bad) > 0 {
		parts = append(parts, fmt.Sprintf("containers with %s status: %s", word, bad))
	}
	return strings.Join(parts, ", ")
}

// podReady is ContainersReady and all readiness gates.
func podReady(pod *corev1.Pod, containers corev1.PodCondition, others []corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var missing []string
	for _, gate := range pod.Spec.ReadinessGates {
		i := slices.IndexFunc(others, func(o corev1.PodCondition) bool { return o.Type == gate.ConditionType })
		if i < 0 {
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		} else if others[i].Status != corev1.ConditionTrue {
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, others[i].Status))
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}

// initialized is True when all init containers have succeeded and all sidecars
// have started, and stays so once a regular container has started.
func initialized(pod *corev1.Pod, all []corev1.ContainerStatus, phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	var unknown, incomplete []string
	for i := range pod.Spec.InitContainers {
		spec := &pod.Spec.InitContainers[i]
		s := findStatus(all, spec.Name)
		switch {
		case s == nil:
			unknown = append(unknown, spec.Name)
		case isSidecar(spec) && (s.Started == nil || !*s.Started), !isSidecar(spec) && !s.Ready:
			incomplete = append(incomplete, spec.Name)
		}
	}
	if phase == corev1.PodSucceeded && len(unknown) == 0 {
		c.Reason = "PodCompleted"
		return c
	}
	for _, spec := range pod.Spec.Containers {
		s := findStatus(all, spec.Name)
		if s != nil && (s.State.Running != nil || endOf(s) != nil) {
			return c
		}
	}
	if len(unknown)+len(incomplete) > 0 {
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = complaint(unknown, "incomplete", incomplete)
	}
	return c
}
