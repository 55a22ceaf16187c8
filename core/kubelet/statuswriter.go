package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/klab-project/klab/core/step"
)

// statusWriter writes one pod's status: the latest wins, one PATCH at a time,
// and none if the API has it already. Nobody else in the kubelet writes it.
type statusWriter struct {
	k *Kubelet

	mu      sync.Mutex
	base    *corev1.Pod       // the newest version that the API has told of
	want    *corev1.PodStatus // what it is to become; nil: nothing yet
	ctx     context.Context   // of the turn that wanted it
	writing bool
	lost    bool          // the API has the pod no more
	more    chan struct{} // a token when want has changed
	idle    sync.Cond
}

func newStatusWriter(k *Kubelet) *statusWriter {
	s := &statusWriter{k: k, more: make(chan struct{}, 1)}
	s.idle.L = &s.mu
	return s
}

// seen tells what the API has.
func (s *statusWriter) seen(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.base != nil && s.base.UID != pod.UID: // another mirror of a static pod
		s.lost = false
	case s.base != nil && revision(pod) <= revision(s.base):
		return
	}
	s.base = pod
	if s.want != nil {
		s.start()
	}
}

// write lets the pod's status become want; it does not wait. ctx must outlive
// the caller's turn.
func (s *statusWriter) write(ctx context.Context, want *corev1.PodStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want, s.ctx = want, ctx
	select {
	case s.more <- struct{}{}:
	default:
	}
	s.start()
}

// start lets a goroutine write unless one does; s.mu is held.
func (s *statusWriter) start() {
	if s.base == nil || s.writing || s.lost || equal(merged(s.want, s.base), &s.base.Status) {
		return
	}
	s.writing = true
	go s.run()
}

// wait returns when nothing is being written.
func (s *statusWriter) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		s.idle.Wait()
	}
}

func (s *statusWriter) run() {
	s.giveWay()
	for {
		s.mu.Lock()
		base, ctx := s.base, s.ctx
		want := merged(s.want, base)
		if s.lost || ctx.Err() != nil || equal(want, &base.Status) {
			s.writing = false
			s.idle.Broadcast()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.patch(ctx, base, want)
	}
}

// giveWay waits while there is nothing to say but that work has begun. A pod
// whose image is there runs soon: that is one PATCH less, and nothing that
// competes with its start.
func (s *statusWriter) giveWay() {
	if s.k.GiveWay == 0 {
		return
	}
	wait := time.NewTimer(s.k.GiveWay) //nolint:forbidigo // real work, also in a held lab
	defer wait.Stop()
	for {
		s.mu.Lock()
		begun, ctx := onlyBegun(s.want), s.ctx
		s.mu.Unlock()
		if !begun {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
			return
		case <-s.more:
		}
	}
}

// onlyBegun tells whether no container has come further than to be created.
func onlyBegun(status *corev1.PodStatus) bool {
	if status.Phase != corev1.PodPending || status.Reason != "" {
		return false
	}
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, c := range list {
			if w := c.State.Waiting; w == nil || w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" || c.RestartCount > 0 {
				return false
			}
		}
	}
	return true
}

func (s *statusWriter) patch(ctx context.Context, base *corev1.Pod, want *corev1.PodStatus) {
	patch, err := statusPatch(base, want)
	var now *corev1.Pod
	if err == nil {
		now, err = s.k.Client.CoreV1().Pods(base.Namespace).Patch(ctx, base.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.base.UID != base.UID: // a mirror that is gone
	case err == nil:
		if revision(now) >= revision(s.base) {
			s.base = now
		}
		if got := merged(want, now); !equal(got, &now.Status) {
			// The API took it and says something else: not worth a quarrel.
			s.k.log.Debug("the API keeps another status", "pod", podText(base))
			adopted := now.DeepCopy()
			adopted.Status = *got
			s.base = adopted
		}
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		s.lost = true // the pod is gone, or another one has its name
	default:
		s.k.log.Warn("write status", "pod", podText(base), "err", err)
		s.mu.Unlock()
		_ = s.k.Clock.Sleep(ctx, time.Second, step.Action{})
		s.mu.Lock()
	}
}

// merged is want with the conditions that others have set. DisruptionTarget is
// shared: the kubelet's is the one that says so.
func merged(want *corev1.PodStatus, base *corev1.Pod) *corev1.PodStatus {
	out := *want
	out.Conditions = foreign(base.Status.Conditions)
	for _, c := range want.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Reason == corev1.PodReasonTerminationByKubelet {
			out.Conditions = setCondition(out.Conditions, c)
		} else if slices.Contains(ownedConditions, c.Type) {
			out.Conditions = append(out.Conditions, c)
		}
	}
	// The order of conditions says nothing: keep the API's.
	slices.SortStableFunc(out.Conditions, func(a, b corev1.PodCondition) int {
		return conditionIndex(base, a.Type) - conditionIndex(base, b.Type)
	})
	out.NominatedNodeName = base.Status.NominatedNodeName
	return &out
}

func conditionIndex(pod *corev1.Pod, t corev1.PodConditionType) int {
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == t })
	if i < 0 {
		return len(pod.Status.Conditions)
	}
	return i
}

// statusPatch is the strategic merge patch from what the API has to want; it
// holds only for the pod with that uid.
func statusPatch(base *corev1.Pod, want *corev1.PodStatus) ([]byte, error) {
	old, err := json.Marshal(corev1.Pod{Status: base.Status})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	new, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: base.UID}, Status: *want})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return strategicpatch.CreateTwoWayMergePatch(old, new, corev1.Pod{})
}
