package cm

import (
	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
)

// The kernel's limits of the cpu controller (kernel/sched/sched.h), and its
// units: a whole CPU is 1024 shares; a quota is CPU time per period.
const (
	MinShares = 2
	maxShares = 262144
	minQuota  = 1_000 // µs

	Period = 100_000 // µs; a quota's period
)

// Unlimited is a limit that is none.
const Unlimited = -1

// Settings are the numbers of one control group. A limit that is 0 stays as it
// is; [Unlimited] takes it away.
type Settings struct {
	Shares uint64 // of CPU time, when there is not enough
	Quota  int64  // µs of CPU time per Period
	Memory int64  // bytes
	Pids   int64
}

// Shares turns milli-CPUs into shares.
func Shares(milli int64) uint64 {
	return uint64(min(max(milli*1024/1000, MinShares), maxShares))
}

// Quota turns milli-CPUs into µs per Period; 0 milli-CPUs are no limit.
func Quota(milli int64) int64 {
	if milli <= 0 {
		return Unlimited
	}
	return max(milli*Period/1000, minQuota)
}

// PodSettings are those of the group around a pod's containers, as upstream's
// ResourceConfigForPod has them: a limit holds for the pod if it is the pod's
// own or every container has one. Pod overhead is part of both requests and
// limits. pids is how many processes the pod may have; 0 means as many as the
// node lets it.
func PodSettings(pod *corev1.Pod, pids int64) Settings {
	s := Settings{Shares: MinShares, Quota: Unlimited, Memory: Unlimited, Pids: Unlimited}
	if pids > 0 {
		s.Pids = pids
	}
	class := QOS(pod)
	if class == corev1.PodQOSBestEffort {
		return s
	}
	requests := helper.PodRequests(pod, helper.PodResourcesOptions{})
	limits := helper.PodLimits(pod, helper.PodResourcesOptions{})
	s.Shares = Shares(requests.Cpu().MilliValue())
	if class == corev1.PodQOSGuaranteed || declared(pod, corev1.ResourceCPU) {
		s.Quota = Quota(limits.Cpu().MilliValue())
	}
	if bytes := limits.Memory().Value(); bytes > 0 && (class == corev1.PodQOSGuaranteed || declared(pod, corev1.ResourceMemory)) {
		s.Memory = bytes
	}
	return s
}

// declared tells whether a pod as a whole has a limit of the resource.
func declared(pod *corev1.Pod, name corev1.ResourceName) bool {
	if r := pod.Spec.Resources; r != nil {
		if q := r.Limits[name]; !q.IsZero() {
			return true
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if q := list[i].Resources.Limits[name]; q.IsZero() {
				return false
			}
		}
	}
	return true
}

// NodeSettings are those of the group around all pods: what the node has for
// them, with what is kept free for evictions, so that there is something left
// to decide them in.
func NodeSettings(allocatable corev1.ResourceList, pids int64) Settings {
	s := Settings{Shares: Shares(allocatable.Cpu().MilliValue()), Memory: Unlimited, Pids: Unlimited}
	if bytes := allocatable.Memory().Value(); bytes > 0 {
		s.Memory = bytes
	}
	if pids > 0 {
		s.Pids = pids
	}
	return s
}
