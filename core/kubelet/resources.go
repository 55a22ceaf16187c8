package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// qosClass is the pod's quality of service class. (Kubernetes documentation,
// "Pod Quality of Service Classes".)
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	any, guaranteed := false, true
	each := append(append([]corev1.Container(nil), pod.Spec.Containers...), pod.Spec.InitContainers...)
	for i := range each {
		r := &each[i].Resources
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := r.Requests[name], r.Limits[name]
			if !request.IsZero() || !limit.IsZero() {
				any = true
			}
			if limit.IsZero() || (!request.IsZero() && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// Cgroup arithmetic as in the documentation of cgroup v1's cpu controller: a
// whole CPU is 1024 shares; a quota is CPU time per period of 100 ms.
const (
	sharesPerCPU = 1024
	minShares    = 2
	cpuPeriod    = 100_000 // µs
	minQuota     = 1_000   // µs
)

func cpuShares(milli int64) int64 { return max(minShares, milli*sharesPerCPU/1000) }

func cpuQuota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(minQuota, milli*cpuPeriod/1000)
}

// cgroupResources turns requests and limits into cgroup settings.
func cgroupResources(requests, limits corev1.ResourceList) *cri.LinuxContainerResources {
	r := &cri.LinuxContainerResources{
		CpuShares:          cpuShares(requests.Cpu().MilliValue()),
		MemoryLimitInBytes: limits.Memory().Value(),
	}
	if _, asked := requests[corev1.ResourceCPU]; !asked {
		if limit := limits.Cpu().MilliValue(); limit > 0 {
			r.CpuShares = cpuShares(limit)
		}
	}
	if quota := cpuQuota(limits.Cpu().MilliValue()); quota > 0 {
		r.CpuPeriod, r.CpuQuota = cpuPeriod, quota
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

// oomScoreAdj makes the kernel kill best-effort pods first, and burstable ones
// the earlier the less memory they asked for. ("Node out of memory behavior".)
func oomScoreAdj(pod *corev1.Pod, c *corev1.Container, nodeMemory int64) int64 {
	switch qosClass(pod) {
	case corev1.PodQOSGuaranteed:
		return -997
	case corev1.PodQOSBestEffort:
		return 1000
	}
	if nodeMemory <= 0 {
		return 999
	}
	return min(max(1000-1000*c.Resources.Requests.Memory().Value()/nodeMemory, 3), 999)
}
