package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/kubelet/cm"
)

// qosClass is the pod's quality of service class. (Kubernetes documentation,
// "Pod Quality of Service Classes".)
func qosClass(pod *corev1.Pod) corev1.PodQOSClass { return cm.QOS(pod) }

// cgroupResources turns requests and limits into cgroup settings.
func cgroupResources(requests, limits corev1.ResourceList) *cri.LinuxContainerResources {
	r := &cri.LinuxContainerResources{
		CpuShares:          int64(cm.Shares(requests.Cpu().MilliValue())),
		MemoryLimitInBytes: limits.Memory().Value(),
	}
	if _, asked := requests[corev1.ResourceCPU]; !asked {
		if limit := limits.Cpu().MilliValue(); limit > 0 {
			r.CpuShares = int64(cm.Shares(limit))
		}
	}
	if quota := cm.Quota(limits.Cpu().MilliValue()); quota > 0 {
		r.CpuPeriod, r.CpuQuota = cm.Period, quota
	}
	return r
}

// containerResources are one container's cgroup settings.
func containerResources(pod *corev1.Pod, c *corev1.Container, nodeMemory int64) *cri.LinuxContainerResources {
	r := cgroupResources(c.Resources.Requests, c.Resources.Limits)
	r.OomScoreAdj = oomScoreAdj(pod, c, nodeMemory)
	return r
}

// podResources are the settings of the cgroup around a pod's containers: a
// limit holds for the pod if every container has one.
func podResources(pod *corev1.Pod) *cri.LinuxContainerResources {
	limits := helper.PodLimits(pod, helper.PodResourcesOptions{})
	for _, c := range pod.Spec.Containers {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if limit := c.Resources.Limits[name]; limit.IsZero() {
				delete(limits, name)
			}
		}
	}
	return cgroupResources(helper.PodRequests(pod, helper.PodResourcesOptions{}), limits)
}
