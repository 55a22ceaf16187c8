package scheduler

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// Snapshot is the cluster as one cycle sees it: nodes by name.
type Snapshot []*NodeInfo

// NodeInfo is a node and what is on it.
type NodeInfo struct {
	Node      *corev1.Node
	Pods      []*corev1.Pod
	Requested Resources // what the pods ask for
	NonZero   Resources // the same, with a default for pods that ask for nothing
}

// Resources are amounts: CPU in thousandths of a core, everything else in its
// own unit.
type Resources map[corev1.ResourceName]int64

// What a container that asks for nothing counts for when scores are worked
// out, as upstream, so that such pods spread as well.
const (
	defaultCPU    = 100
	defaultMemory = 200 << 20
)

// NewSnapshot puts pods onto their nodes. Pods that have ended take nothing.
func NewSnapshot(nodes []*corev1.Node, pods []*corev1.Pod) Snapshot {
	byName := map[string]*NodeInfo{}
	snapshot := make(Snapshot, 0, len(nodes))
	for _, n := range nodes {
		info := &NodeInfo{Node: n, Requested: Resources{}, NonZero: Resources{}}
		byName[n.Name] = info
		snapshot = append(snapshot, info)
	}
	slices.SortFunc(snapshot, func(a, b *NodeInfo) int { return cmp.Compare(a.Node.Name, b.Node.Name) })
	for _, p := range pods {
		info := byName[p.Spec.NodeName]
		if info == nil || hasEnded(p) {
			continue
		}
		info.Pods = append(info.Pods, p)
		info.Requested.add(requests(p, false))
		info.NonZero.add(requests(p, true))
	}
	return snapshot
}

func hasEnded(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func (r Resources) add(more Resources) {
	for name, n := range more {
		r[name] += n
	}
}

// requests is what a pod asks for. With defaults, a container without a
// request for CPU or memory counts for a small one.
func requests(p *corev1.Pod, defaults bool) Resources {
	var o resource.PodResourcesOptions
	if defaults {
		o.NonMissingContainerRequests = corev1.ResourceList{
			corev1.ResourceCPU: milli(defaultCPU), corev1.ResourceMemory: bytes(defaultMemory)}
	}
	return amounts(resource.PodRequests(p, o))
}

// amounts turns quantities into numbers.
func amounts(list corev1.ResourceList) Resources {
	r := Resources{}
	for name, q := range list {
		if name == corev1.ResourceCPU {
			r[name] = q.MilliValue()
		} else {
			r[name] = q.Value()
		}
	}
	return r
}
