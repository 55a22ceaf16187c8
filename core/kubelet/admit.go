package kubelet

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/klab-project/klab/core/kubelet/devices"
)

// admit decides whether the node takes a pod that was bound to it: what it
// asks for must be there besides what the others have, and the node must be
// one that it selects. The scheduler has decided the same from what it knew.
func (k *Kubelet) admit(ctx context.Context, w *podWorker, pod *corev1.Pod) (statusReason, bool) {
	if k.isLeaving() {
		return statusReason{"NodeShutdown", "Pod was rejected as the node is shutting down."}, false
	}
	reason, ok := k.admitOne(w, pod)
	if ok {
		reason, ok = k.takeDevices(ctx, w, pod)
	}
	return reason, ok
}

// admitOne decides what needs no answer of anybody else.
func (k *Kubelet) admitOne(w *podWorker, pod *corev1.Pod) (statusReason, bool) {
	k.mu.Lock()
	defer k.mu.Unlock() // to the end: of two pods that fit alone only one is taken
	if reason, ok := k.evictor.refuses(pod); !ok {
		return reason, false
	}
	if reason, ok := k.fits(w, pod); !ok {
		return reason, false
	}
	k.node.mu.Lock()
	node := k.node.object
	k.node.mu.Unlock()
	if node != nil {
		if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err == nil && !ok {
			return statusReason{"NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}, false
		}
	}
	if reason, ok := k.takeCPUs(pod); !ok {
		return reason, false
	}
	w.count(true)
	return statusReason{}, true
}

// fits tells whether what the pod asks for is there besides what the others
// were granted; k.mu is held.
func (k *Kubelet) fits(w *podWorker, pod *corev1.Pod) (statusReason, bool) {
	free := k.node.allocatable()
	maps.Copy(free, k.node.others())
	all := free.DeepCopy()
	count := int64(1)
	for _, other := range k.workers {
		p := other.allocated()
		if other == w || p.DeletionTimestamp != nil || finished(p.Status.Phase) || !other.wasAdmitted() {
			continue
		}
		count++
		subtract(free, helper.PodRequests(p, helper.PodResourcesOptions{}))
	}
	if capacity := free.Pods().Value(); capacity > 0 && count > capacity {
		return outOf("pods", 1, count-1, capacity), false
	}
	for name, want := range helper.PodRequests(pod, helper.PodResourcesOptions{}) {
		have, known := free[name]
		if want.IsZero() || known && have.Cmp(want) >= 0 {
			continue
		}
		if devices.Extended(string(name)) && (!known || k.devices != nil && k.devices.Has(name)) {
			continue // not this node's own, or a plugin is going to say
		}
		total := all[name]
		used := total.DeepCopy()
		used.Sub(have)
		if name == corev1.ResourceCPU {
			return outOf(string(name), want.MilliValue(), used.MilliValue(), total.MilliValue()), false
		}
		return outOf(string(name), want.Value(), used.Value(), total.Value()), false
	}
	return statusReason{}, true
}

func outOf(resource string, want, used, capacity int64) statusReason {
	return statusReason{"OutOf" + resource, fmt.Sprintf("Pod was rejected: Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
		resource, want, used, capacity)}
}

func subtract(from, list corev1.ResourceList) {
	for name, q := range list {
		if have, ok := from[name]; ok {
			have.Sub(q)
			from[name] = have
		}
	}
}

// count says whether what the pod asks for is taken.
func (w *podWorker) count(counts bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts = counts
}

func (w *podWorker) wasAdmitted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts
}
