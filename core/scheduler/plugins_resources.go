package scheduler

import (
	"fmt"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
)

func milli(n int64) apiresource.Quantity {
	return *apiresource.NewMilliQuantity(n, apiresource.DecimalSI)
}
func bytes(n int64) apiresource.Quantity { return *apiresource.NewQuantity(n, apiresource.BinarySI) }

// filterResources wants room for everything that the pod asks for.
func filterResources(p *corev1.Pod, n *NodeInfo) []string {
	allocatable := amounts(n.Node.Status.Allocatable)
	var reasons []string
	if int64(len(n.Pods)+1) > allocatable[corev1.ResourcePods] {
		reasons = append(reasons, "Too many pods")
	}
	want := requests(p, false)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if want[name] > 0 && want[name] > allocatable[name]-n.Requested[name] {
			reasons = append(reasons, fmt.Sprintf("Insufficient %s", name))
		}
	}
	return reasons
}

// scored are the resources that scores look at, with equal weight.
var scored = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// scoreLeastAllocated prefers nodes that have much left.
func scoreLeastAllocated(p *corev1.Pod, s Snapshot) []int64 {
	want := requests(p, true)
	return each(s, func(n *NodeInfo) int64 {
		allocatable, sum, count := amounts(n.Node.Status.Allocatable), int64(0), int64(0)
		for _, name := range scored {
			if capacity := allocatable[name]; capacity > 0 {
				sum += max(0, capacity-n.NonZero[name]-want[name]) * maxScore / capacity
				count++
			}
		}
		return sum / max(1, count)
	})
}

// scoreBalanced prefers nodes whose CPU and memory would be used to the same
// degree: with both as fractions, 100 less half of their difference. A pod
// that asks for nothing does not change the balance.
func scoreBalanced(p *corev1.Pod, s Snapshot) []int64 {
	want := requests(p, false)
	if want[corev1.ResourceCPU] == 0 && want[corev1.ResourceMemory] == 0 {
		return make([]int64, len(s))
	}
	return each(s, func(n *NodeInfo) int64 {
		allocatable := amounts(n.Node.Status.Allocatable)
		var used []float64
		for _, name := range scored {
			if capacity := allocatable[name]; capacity > 0 {
				used = append(used, min(1, float64(n.Requested[name]+want[name])/float64(capacity)))
			}
		}
		if len(used) < 2 {
			return maxScore
		}
		return int64((1 - math.Abs(used[0]-used[1])/2) * maxScore)
	})
}
