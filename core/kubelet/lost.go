package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"

	"github.com/klab-project/klab/core/kubelet/cm"
)

// lost completes the status of a pod of which nothing runs or will run again,
// as upstream's TerminatePod does: a container without an end has failed, for
// nobody knows what became of it, and so has the pod. Containers whose turn
// had not come yet wait for ever.
func lost(pod *corev1.Pod, s *corev1.PodStatus) {
	fail := func(list []corev1.ContainerStatus) {
		for i := range list {
			if list[i].State.Terminated == nil {
				list[i].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
					Reason: statusUnknown, Message: "The container could not be located when the pod was terminated", ExitCode: 137}}
			}
		}
	}
	if wasInitialized(pod, s) {
		fail(s.ContainerStatuses)
	}
	fail(tried(s.InitContainerStatuses))
	if !finished(s.Phase) && pod.Annotations[corev1.MirrorPodAnnotationKey] == "" && !isStatic(pod) {
		s.Phase = corev1.PodFailed
	}
}

// wasInitialized tells whether there is any sign that the turn of the regular
// containers had come.
func wasInitialized(pod *corev1.Pod, s *corev1.PodStatus) bool {
	n := len(s.InitContainerStatuses)
	if n == 0 {
		return true
	}
	for _, c := range s.ContainerStatuses {
		if c.LastTerminationState.Terminated != nil || c.State.Waiting == nil {
			return true
		}
	}
	last := s.InitContainerStatuses[n-1]
	if spec := findContainer(pod, last.Name); spec != nil && isSidecar(spec) {
		return last.State.Running != nil && last.Started != nil && *last.Started
	}
	for _, end := range []*corev1.ContainerStateTerminated{last.State.Terminated, last.LastTerminationState.Terminated} {
		if end != nil && end.ExitCode == 0 {
			return true
		}
	}
	return false
}

// tried are the init containers up to the last one that was ever begun; the
// first one always is.
func tried(list []corev1.ContainerStatus) []corev1.ContainerStatus {
	for i := len(list) - 1; i > 0; i-- {
		if list[i].State.Waiting == nil || list[i].LastTerminationState.Terminated != nil {
			return list[:i+1]
		}
	}
	return list[:min(1, len(list))]
}

// maxPodMessages is how much the termination messages of a pod's containers may
// be together; each gets the same part of it.
const maxPodMessages = 12 << 10

func shorten(pod *corev1.Pod, s *corev1.PodStatus) {
	limit := maxPodMessages / max(1, len(pod.Spec.Containers)+len(pod.Spec.InitContainers)+len(pod.Spec.EphemeralContainers))
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for _, end := range []**corev1.ContainerStateTerminated{&list[i].State.Terminated, &list[i].LastTerminationState.Terminated} {
				if *end != nil && len((*end).Message) > limit {
					*end = (*end).DeepCopy()
					(*end).Message = (*end).Message[:limit]
				}
			}
		}
	}
}

// podLevel are the resources of the pod as a whole: what it was granted, and
// what its cgroup has. A limit is one only if it holds for the whole pod.
func (in *statusInput) podLevel(s *corev1.PodStatus) {
	s.AllocatedResources = helper.PodRequests(in.pod, helper.PodResourcesOptions{})
	has := in.pod
	if in.state.actuated != nil && s.Phase == corev1.PodRunning {
		has = in.state.actuated.on(in.pod)
	}
	r := &corev1.ResourceRequirements{Requests: helper.PodRequests(has, helper.PodResourcesOptions{}), Limits: helper.PodLimits(has, helper.PodResourcesOptions{})}
	settings := cm.PodSettings(has, 0)
	if settings.Quota == cm.Unlimited {
		delete(r.Limits, corev1.ResourceCPU)
	}
	if settings.Memory == cm.Unlimited {
		delete(r.Limits, corev1.ResourceMemory)
	}
	if len(r.Requests)+len(r.Limits) > 0 {
		s.Resources = r
	}
}
