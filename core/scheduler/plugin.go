package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// Plugin has an opinion on pods and nodes. A nil function is no opinion.
type Plugin struct {
	Name string
	// Filter returns why the pod cannot run on the node, nothing if it can.
	Filter func(*corev1.Pod, *NodeInfo) (reasons []string)
	// Score says how good each of the nodes is, 0–100, in their order.
	Score  func(*corev1.Pod, Snapshot) []int64
	Weight int64 // of the score
	// Wakes are the changes after which a pod that Filter turned down may fit.
	Wakes Change
}

// Change is a set of kinds of changes in the cluster.
type Change uint

const (
	NodeAdded Change = 1 << iota
	NodeAllocatable
	NodeLabels
	NodeTaints // also spec.unschedulable
	PodGone    // a pod that was on a node is gone, has ended, or asks for less
	PodChanged // the waiting pod itself
)

// Plugins are all plugins, in the order in which they filter: the first one
// that turns a node down ends that node's filtering. Names, weights and
// reasons are upstream's.
func Plugins() []Plugin {
	return []Plugin{
		{Name: "NodeUnschedulable", Filter: filterUnschedulable, Wakes: NodeAdded | NodeTaints | PodChanged},
		{Name: "NodeName", Filter: filterNodeName, Wakes: NodeAdded},
		{Name: "TaintToleration", Filter: filterTaints, Score: scoreTaints, Weight: 3, Wakes: NodeAdded | NodeTaints | PodChanged},
		{Name: "NodeAffinity", Filter: filterAffinity, Score: scoreAffinity, Weight: 2, Wakes: NodeAdded | NodeLabels | PodChanged},
		{Name: "NodePorts", Filter: filterPorts, Wakes: NodeAdded | PodGone},
		{Name: "NodeResourcesFit", Filter: filterResources, Score: scoreLeastAllocated, Weight: 1, Wakes: NodeAdded | NodeAllocatable | PodGone | PodChanged},
		{Name: "PodTopologySpread", Score: scoreSpread, Weight: 2},
		{Name: "NodeResourcesBalancedAllocation", Score: scoreBalanced, Weight: 1},
		{Name: "ImageLocality", Score: scoreImages, Weight: 1},
	}
}

const maxScore = 100

// normalize scales scores so that the highest is 100; reverse turns them round.
func normalize(scores []int64, reverse bool) []int64 {
	highest := int64(0)
	for _, s := range scores {
		highest = max(highest, s)
	}
	for i, s := range scores {
		if highest > 0 {
			s = s * maxScore / highest
		}
		if reverse {
			s = maxScore - s
		}
		scores[i] = s
	}
	return scores
}

// each scores the nodes one by one.
func each(s Snapshot, score func(*NodeInfo) int64) []int64 {
	scores := make([]int64, len(s))
	for i, n := range s {
		scores[i] = score(n)
	}
	return scores
}
