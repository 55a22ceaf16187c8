package kubelet

import (
	corev1 "k8s.io/api/core/v1"
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

// podResources are the settings of the cgroup around a pod's containers on this
// node: one that has CPUs alone has no quota.
func (k *Kubelet) podResources(pod *corev1.Pod) *cri.LinuxContainerResources {
	r := podResources(pod)
	if k.hasAlone(pod) {
		r.CpuQuota, r.CpuPeriod = cm.Unlimited, cm.Period
	}
	return r
}

// podResources are the settings of the cgroup around a pod's containers.
func podResources(pod *corev1.Pod) *cri.LinuxContainerResources {
	s := cm.PodSettings(pod, 0)
	r := &cri.LinuxContainerResources{CpuShares: int64(s.Shares), MemoryLimitInBytes: max(s.Memory, 0)}
	if s.Quota > 0 {
		r.CpuQuota, r.CpuPeriod = s.Quota, cm.Period
	}
	return r
}
