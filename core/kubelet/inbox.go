package kubelet

import (
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
)

// update gives the worker a newer version of its pod. What only brings back
// the kubelet's own words about the pod asks for no turn.
func (w *podWorker) update(pod *corev1.Pod) {
	w.mu.Lock()
	if w.known && revision(pod) != 0 && revision(pod) <= revision(w.pod) {
		w.mu.Unlock()
		return
	}
	news := !w.known || differs(w.pod, pod)
	w.pod, w.known = pod, true
	if news {
		w.revs = append(w.revs, revision(pod))
		w.merged++
	}
	if news && pod.DeletionTimestamp != nil {
		w.stopTurn()
	}
	w.mu.Unlock()
	if !isStatic(pod) {
		w.writer.seen(pod)
	}
	if news {
		w.kick(0)
	}
}

// differs tells whether there is something in the new version that a kubelet
// acts on.
func differs(old, new *corev1.Pod) bool {
	return !equal(old.Spec, new.Spec) || !equal(old.Labels, new.Labels) || !equal(old.Annotations, new.Annotations) ||
		!equal(old.DeletionTimestamp, new.DeletionTimestamp) || !equal(old.DeletionGracePeriodSeconds, new.DeletionGracePeriodSeconds) ||
		!equal(foreign(old.Status.Conditions), foreign(new.Status.Conditions)) || finished(old.Status.Phase) != finished(new.Status.Phase)
}

// foreign are the conditions that others write.
func foreign(list []corev1.PodCondition) []corev1.PodCondition {
	var others []corev1.PodCondition
	for _, c := range list {
		if !slices.Contains(ownedConditions, c.Type) {
			others = append(others, c)
		}
	}
	return others
}

func equal(a, b any) bool { return apiequality.Semantic.DeepEqual(a, b) }

// gone tells the worker that the API no longer has its pod.
func (w *podWorker) gone(last *corev1.Pod) {
	w.mu.Lock()
	w.removed = true
	if last != nil {
		w.pod, w.known = last, true
		w.revs = append(w.revs, revision(last))
	}
	w.stopTurn()
	w.mu.Unlock()
	w.kick(0)
}

// stopTurn interrupts what is done for a pod that is to end, and lets a
// termination look again at its grace period.
func (w *podWorker) stopTurn() {
	if w.phase == syncing && w.cancel != nil {
		w.cancel(errPodEnds)
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

var errPodEnds = errors.New("the pod is being deleted")

// kick asks for a turn; cause is the step that led to it, or 0.
func (w *podWorker) kick(cause uint64) {
	w.mu.Lock()
	w.must = true
	if cause != 0 {
		w.causes = append(w.causes, cause)
	}
	w.mu.Unlock()
	w.look()
}

// look asks for a turn if the runtime has something that the worker does not
// know yet.
func (w *podWorker) look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *podWorker) owns(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.ids, id)
}
