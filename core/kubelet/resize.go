package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
)

// retryResizes is how often a resize that was deferred is tried again, besides
// whenever room was made.
const retryResizes = 3 * time.Minute

// resizeState are the two conditions that tell of a resize; nil: not so.
type resizeState struct{ pending, progress *corev1.PodCondition }

func (r *resizeState) conditions() []corev1.PodCondition {
	var list []corev1.PodCondition
	for _, c := range []*corev1.PodCondition{r.pending, r.progress} {
		if c != nil {
			list = append(list, *c)
		}
	}
	return list
}

// allocated is the pod as far as it was granted what its spec asks for.
func (w *podWorker) allocated() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.check.Allocated.on(w.pod)
}

// grant notes that the pod has what its spec asks for: when it is admitted, or
// when a resize fits.
func (w *podWorker) grant(pod *corev1.Pod) error {
	granted := allocationOf(pod)
	return w.remember(func(c *checkpoint) {
		c.Allocated = granted
		if c.Actuated == nil {
			c.Actuated = granted.clone()
		}
	})
}

// wantsResize tells whether the pod asks for something that it was not granted.
func (w *podWorker) wantsResize() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.phase == syncing && w.counts && w.check.Allocated != nil && w.check.Allocated.differs(w.pod) && !finished(w.pod.Status.Phase)
}

// resizeAll tries the resizes that are asked for, in upstream's order: first
// those that ask for less, then by priority, by QoS class, and by age.
func (k *Kubelet) resizeAll(ctx context.Context, self *podWorker) {
	k.resizing.Lock()
	defer k.resizing.Unlock()
	var list []*podWorker
	k.mu.Lock()
	for _, w := range k.workers {
		if w.wantsResize() {
			list = append(list, w)
		}
	}
	k.mu.Unlock()
	slices.SortStableFunc(list, beforeInLine)
	for _, w := range list {
		if k.resizeOne(ctx, w) && w != self {
			w.kick(0)
		}
	}
}

func beforeInLine(a, b *podWorker) int {
	rank := func(w *podWorker) []int64 {
		pod, had := w.current(), w.allocated()
		before, after := helper.PodRequests(had, helper.PodResourcesOptions{}), helper.PodRequests(pod, helper.PodResourcesOptions{})
		r := make([]int64, 4)
		if after.Cpu().Cmp(*before.Cpu()) > 0 || after.Memory().Cmp(*before.Memory()) > 0 {
			r[0] = 1
		}
		if p := pod.Spec.Priority; p != nil {
			r[1] = -int64(*p)
		}
		if qosClass(pod) != corev1.PodQOSGuaranteed {
			r[2] = 1
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.resize.pending != nil {
			r[3] = w.resize.pending.LastTransitionTime.Unix()
		} else {
			r[3] = 1 << 62
		}
		return r
	}
	return slices.Compare(rank(a), rank(b))
}

// resizeOne grants a resize that fits, or says why it must wait; changed means
// that there is something new to tell.
func (k *Kubelet) resizeOne(ctx context.Context, w *podWorker) (changed bool) {
	pod := w.current()
	if k.cpus != nil && qosClass(pod) == corev1.PodQOSGuaranteed && w.resizesCPU(pod) {
		return w.defers(ctx, pod, corev1.PodReasonInfeasible, `Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"`)
	}
	k.mu.Lock()
	reason, fits := k.fits(w, pod)
	k.mu.Unlock()
	if !fits {
		return w.defers(ctx, pod, corev1.PodReasonDeferred, reason.Message)
	}
	if err := w.grant(pod); err != nil {
		k.log.Warn("grant a resize", "pod", podText(pod), "err", err)
		return false
	}
	w.mu.Lock()
	w.resize.pending = nil
	w.resize.progress = resizeCondition(corev1.PodResizeInProgress, nil, "", "", pod.Generation, k.Clock.Now())
	w.mu.Unlock()
	k.events.pod(ctx, pod, corev1.EventTypeNormal, "ResizeStarted", "%s", resizeWords("Pod resize started", pod, pod.Generation, ""))
	return true
}

// resizesCPU tells whether the pod asks for other CPU than it was granted.
func (w *podWorker) resizesCPU(pod *corev1.Pod) bool {
	had := w.allocated()
	differs := func(now, before []corev1.Container) bool {
		for i := range now {
			if isSidecar(&now[i]) || now[i].RestartPolicy == nil {
				if a, b := now[i].Resources.Requests[corev1.ResourceCPU], before[i].Resources.Requests[corev1.ResourceCPU]; !a.Equal(b) {
					return true
				}
			}
		}
		return false
	}
	return differs(pod.Spec.Containers, had.Spec.Containers) || differs(pod.Spec.InitContainers, had.Spec.InitContainers)
}

// defers notes why a resize was not granted.
func (w *podWorker) defers(ctx context.Context, pod *corev1.Pod, reason, message string) (changed bool) {
	w.mu.Lock()
	old := w.resize.pending
	w.resize.pending = resizeCondition(corev1.PodResizePending, old, reason, message, pod.Generation, w.k.Clock.Now())
	w.mu.Unlock()
	if old != nil && old.Reason == reason && old.ObservedGeneration == pod.Generation {
		return old.Message != message
	}
	w.k.events.pod(ctx, pod, corev1.EventTypeWarning, "Resize"+reason, "%s", resizeWords("Pod resize "+reason, pod, pod.Generation, message))
	return true
}

func resizeCondition(kind corev1.PodConditionType, old *corev1.PodCondition, reason, message string, generation int64, now time.Time) *corev1.PodCondition {
	c := &corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: generation,
		LastProbeTime: stamp(now), LastTransitionTime: stamp(now)}
	if old != nil && old.Reason == reason {
		c.LastTransitionTime = old.LastTransitionTime
	}
	return c
}

// resizeWords is the message of an event about a resize.
func resizeWords(prefix string, pod *corev1.Pod, generation int64, problem string) string {
	type one struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources,omitempty"` //nolint:modernize // upstream's words
	}
	words := struct {
		InitContainers []one  `json:"initContainers,omitempty"`
		Containers     []one  `json:"containers,omitempty"`
		Generation     int64  `json:"generation"`
		Error          string `json:"error,omitempty"`
	}{Generation: generation, Error: problem}
	for _, c := range pod.Spec.InitContainers {
		words.InitContainers = append(words.InitContainers, one{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		words.Containers = append(words.Containers, one{c.Name, c.Resources})
	}
	text, err := json.Marshal(words)
	if err != nil {
		return prefix
	}
	return prefix + ": " + string(text)
}

// lookAtResize lets a resize that is asked for be tried, and follows one that
// is under way. It returns the pod with what it was granted.
func (w *podWorker) lookAtResize(ctx context.Context, pod *corev1.Pod) *corev1.Pod {
	if w.wantsResize() {
		w.k.resizeAll(ctx, w)
		if w.wantsResize() {
			w.wakeAt("resize", w.k.Clock.Since()+retryResizes, w.current())
		}
	} else {
		w.mu.Lock()
		w.resize.pending = nil
		w.mu.Unlock()
	}
	w.mu.Lock()
	pod = w.check.Allocated.on(pod)
	w.mu.Unlock()
	w.followResize(ctx, pod, nil)
	return pod
}

// firstGrant notes what the pod was admitted with, unless an earlier kubelet
// has done so.
func (w *podWorker) firstGrant(pod *corev1.Pod) error {
	w.takeUpResize(pod)
	w.mu.Lock()
	known := w.check.Allocated != nil
	w.mu.Unlock()
	if known {
		return nil
	}
	return w.grant(pod)
}

// resizeError is what went wrong with a resize; the turn is tried again.
type resizeError struct{ error }

func (e *resizeError) Unwrap() error { return e.error }

func resizeProblem(err error) error {
	if problem := (*resizeError)(nil); errors.As(err, &problem) {
		return problem.error
	}
	return nil
}

// followResize brings the condition PodResizeInProgress up to date.
func (w *podWorker) followResize(ctx context.Context, pod *corev1.Pod, problem error) {
	w.mu.Lock()
	w.state.actuated = w.check.Actuated
	old := w.resize.progress
	var now *corev1.PodCondition
	switch generation := pod.Generation; {
	case problem != nil:
		if old != nil {
			generation = old.ObservedGeneration
		}
		now = resizeCondition(corev1.PodResizeInProgress, old, corev1.PodReasonError, problem.Error(), generation, w.k.Clock.Now())
	case !resizing(pod, &w.state):
	case old != nil:
		now = old
	default:
		now = resizeCondition(corev1.PodResizeInProgress, nil, "", "", generation, w.k.Clock.Now())
	}
	w.resize.progress = now
	w.mu.Unlock()
	switch {
	case problem != nil && (old == nil || old.Reason != now.Reason || old.Message != now.Message):
		w.k.events.pod(ctx, pod, corev1.EventTypeWarning, "ResizeError", "%s", resizeWords("Pod resize error", pod, now.ObservedGeneration, problem.Error()))
	case old != nil && now == nil:
		w.k.events.pod(ctx, pod, corev1.EventTypeNormal, "ResizeCompleted", "%s", resizeWords("Pod resize completed", pod, old.ObservedGeneration, ""))
	}
}

// takeUpResize reads the conditions that an earlier kubelet has written.
func (w *podWorker) takeUpResize(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range pod.Status.Conditions {
		switch c := pod.Status.Conditions[i]; c.Type {
		case corev1.PodResizePending:
			w.resize.pending = &c
		case corev1.PodResizeInProgress:
			w.resize.progress = &c
		}
	}
}

var errBelowUsage = errors.New("cannot decrease memory limits")

// belowUsage refuses memory limits that are less than what is used now.
func (w *podWorker) belowUsage(ctx context.Context, plan *resizePlan) error {
	var problems []error
	for _, u := range plan.Memory {
		if u.To.memoryLimit == 0 || u.From.memoryLimit != 0 && u.To.memoryLimit >= u.From.memoryLimit {
			continue
		}
		stats, err := w.k.Runtime.ContainerStats(ctx, u.ID)
		if err != nil || stats.GetMemory().GetUsageBytes() == nil {
			problems = append(problems, fmt.Errorf("missing container %q memory usage", u.Name))
			continue
		}
		if used := stats.Memory.UsageBytes.Value; used >= uint64(u.To.memoryLimit) {
			problems = append(problems, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", u.Name, u.To.memoryLimit, used))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", errBelowUsage, aggregate(problems))
}

// aggregate joins errors as upstream words them.
func aggregate(list []error) error {
	if len(list) == 1 {
		return list[0]
	}
	text := ""
	for i, err := range list {
		if i > 0 {
			text += ", "
		}
		text += err.Error()
	}
	return fmt.Errorf("[%s]", text)
}
