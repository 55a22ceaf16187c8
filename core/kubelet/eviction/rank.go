package eviction

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
	api "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Candidate is a pod that runs, and what it uses; nil if nobody knows.
type Candidate struct {
	Pod   *corev1.Pod
	Stats *api.PodStats
}

// Rank orders pods by who is to go first: who uses more than it asked for,
// then the lower priority, then who uses the most beyond what it asked for. Of
// process ids nobody asks for any. Who cannot be measured goes before others.
func Rank(s Signal, pods []Candidate) {
	name := s.Resource()
	slices.SortStableFunc(pods, func(a, b Candidate) int {
		priorities := cmp.Compare(priority(a.Pod), priority(b.Pod))
		if a.Stats == nil || b.Stats == nil {
			return cmp.Or(first(a.Stats == nil && name != PIDs, b.Stats == nil && name != PIDs), priorities)
		}
		overA, overB := a.over(name), b.over(name)
		if name == PIDs {
			return cmp.Or(priorities, cmp.Compare(overB, overA))
		}
		return cmp.Or(first(overA > 0, overB > 0), priorities, cmp.Compare(overB, overA))
	})
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority != nil {
		return *pod.Spec.Priority
	}
	return 0
}

// Critical tells whether a pod is never ended to make room. (Upstream's
// IsCriticalPod.)
func Critical(pod *corev1.Pod) bool {
	return priority(pod) >= 2_000_000_000 || pod.Annotations["kubernetes.io/config.source"] != "" && pod.Annotations["kubernetes.io/config.source"] != "api" ||
		pod.Annotations["kubernetes.io/config.mirror"] != ""
}

// over is how much more the pod uses than it asked for.
func (c *Candidate) over(name corev1.ResourceName) int64 {
	return Usage(c.Stats, name) - Requested(c.Pod, name)
}

// Requested is how much of a resource the pod asked for.
func Requested(pod *corev1.Pod, name corev1.ResourceName) int64 {
	list := helper.PodRequests(pod, helper.PodResourcesOptions{})
	q := list[name]
	return q.Value()
}

// Usage is how much of a resource the pod uses.
func Usage(s *api.PodStats, name corev1.ResourceName) int64 {
	switch {
	case s == nil:
	case name == corev1.ResourceMemory && s.Memory != nil:
		return value(s.Memory.WorkingSetBytes)
	case name == corev1.ResourceEphemeralStorage && s.EphemeralStorage != nil:
		return value(s.EphemeralStorage.UsedBytes)
	case name == Inodes && s.EphemeralStorage != nil:
		return value(s.EphemeralStorage.InodesUsed)
	case name == PIDs && s.ProcessStats != nil:
		return value(s.ProcessStats.ProcessCount)
	}
	return 0
}

func value(n *uint64) int64 {
	if n == nil {
		return 0
	}
	return int64(*n)
}
