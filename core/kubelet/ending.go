package kubelet

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ending is why the kubelet itself ends a pod, as for an eviction or before
// the node is turned off.
type ending struct {
	statusReason               // of the pod's status; its phase becomes Failed
	Grace        time.Duration // at most; the pod's own may be shorter
	// Disruption is the message of condition DisruptionTarget, whose reason is
	// TerminationByKubelet; empty: none.
	Disruption string
}

// end ends a pod. The channel closes when all its containers have stopped, and
// at once if the kubelet has no such pod. The first ending of a pod counts.
func (k *Kubelet) end(uid types.UID, e ending) <-chan struct{} {
	k.mu.Lock()
	w := k.workers[uid]
	k.mu.Unlock()
	if w == nil {
		nothing := make(chan struct{})
		close(nothing)
		return nothing
	}
	w.mu.Lock()
	if w.ending == nil && w.phase == syncing {
		w.ending = &e
		w.stopTurn()
	}
	w.mu.Unlock()
	w.kick(0)
	return w.stopped
}

// endsBy is the ending that the kubelet has decided on, or nil.
func (w *podWorker) endsBy() *ending {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ending
}

// setCondition returns the list with c, which keeps the time at which its type
// last changed.
func setCondition(list []corev1.PodCondition, c corev1.PodCondition) []corev1.PodCondition {
	i := slices.IndexFunc(list, func(o corev1.PodCondition) bool { return o.Type == c.Type })
	if i < 0 {
		return append(list, c)
	}
	if list[i].Status == c.Status {
		c.LastTransitionTime = list[i].LastTransitionTime
	}
	list = slices.Clone(list)
	list[i] = c
	return list
}

// disrupted is the condition of a pod that its kubelet ends.
func (e *ending) disrupted(pod *corev1.Pod, now time.Time) corev1.PodCondition {
	return corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
		Reason: corev1.PodReasonTerminationByKubelet, Message: e.Disruption, LastTransitionTime: stamp(now),
	}
}
