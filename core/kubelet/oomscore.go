package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
)

// Scores of processes that the kernel is to kill last and first.
const (
	guaranteedOOM = -997
	bestEffortOOM = 1000
)

// oomScoreAdj makes the kernel kill best-effort pods first, and burstable ones
// the earlier the less memory they asked for; a sidecar no earlier than the
// containers that need it. ("Node out of memory behavior".)
func oomScoreAdj(pod *corev1.Pod, c *corev1.Container, nodeMemory int64) int64 {
	switch qos := qosClass(pod); {
	case pod.Spec.PriorityClassName == "system-node-critical" || qos == corev1.PodQOSGuaranteed:
		return guaranteedOOM
	case qos == corev1.PodQOSBestEffort:
		return bestEffortOOM
	case nodeMemory <= 0:
		return bestEffortOOM - 1
	}
	share := unaskedMemory(pod)
	adj := 1000 - 1000*(c.Resources.Requests.Memory().Value()+share)/nodeMemory
	if isSidecar(c) {
		adj = min(adj, 1000-1000*(leastMemory(pod)+share)/nodeMemory)
	}
	return min(max(adj, 1000+guaranteedOOM), bestEffortOOM-1)
}

// unaskedMemory is each container's part of what the pod as a whole has asked
// for and no container has.
func unaskedMemory(pod *corev1.Pod) int64 {
	if !helper.IsPodLevelRequestsSet(pod) {
		return 0
	}
	of := func(o helper.PodResourcesOptions) int64 {
		list := helper.PodRequests(pod, o)
		return list.Memory().Value()
	}
	left := of(helper.PodResourcesOptions{ExcludeOverhead: true}) - of(helper.PodResourcesOptions{ExcludeOverhead: true, SkipPodLevelResources: true})
	n := int64(len(pod.Spec.Containers))
	for i := range pod.Spec.InitContainers {
		if isSidecar(&pod.Spec.InitContainers[i]) {
			n++
		}
	}
	if left <= 0 || n == 0 {
		return 0
	}
	return left / n
}

// leastMemory is the least that a regular container asks for.
func leastMemory(pod *corev1.Pod) int64 {
	least := int64(-1)
	for i := range pod.Spec.Containers {
		if bytes := pod.Spec.Containers[i].Resources.Requests.Memory().Value(); least < 0 || bytes < least {
			least = bytes
		}
	}
	return max(least, 0)
}
