package cm

import (
	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
)

// QOS is the pod's quality of service class: what its status says, or what
// follows from its spec. (Kubernetes documentation, "Pod Quality of Service
// Classes".)
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	return ComputeQOS(pod)
}

// ComputeQOS is the class that follows from the pod's spec alone. Resources of
// the pod as a whole come before those of its containers.
func ComputeQOS(pod *corev1.Pod) corev1.PodQOSClass {
	if helper.IsPodLevelResourcesSet(pod) {
		return class(pod.Spec.Resources)
	}
	var all corev1.PodQOSClass
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := class(&list[i].Resources)
			if all != "" && c != all {
				return corev1.PodQOSBurstable
			}
			all = c
		}
	}
	if all == "" {
		return corev1.PodQOSBestEffort
	}
	return all
}

// class is what one set of requirements comes to.
func class(r *corev1.ResourceRequirements) corev1.PodQOSClass {
	none, equal := 0, 0
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := r.Requests[name], r.Limits[name]
		switch {
		case !request.Equal(limit):
			return corev1.PodQOSBurstable
		case request.IsZero():
			none++
		default:
			equal++
		}
	}
	switch {
	case equal == 0:
		return corev1.PodQOSBestEffort
	case none == 0:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
