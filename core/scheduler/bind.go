package scheduler

import (
	"context"
	"encoding/json"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
)

// bind writes the decision down, through pods/binding. It runs beside later
// cycles; if it fails, the pod is tried again.
func (s *scheduler) bind(ctx context.Context, p *Queued, node string) {
	pod := p.Pod
	a := step.Action{Actor: Name, Verb: step.Bind, Object: objectOf(pod), Detail: step.ScheduleDetail{Chosen: node}}
	err := step.Do(ctx, a, func(ctx context.Context) error {
		binding := &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		}
		return s.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
	})
	if err == nil {
		s.events.Eventf(ctx, pod, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, node)
		return
	}
	if ctx.Err() != nil || errors.Is(err, step.ErrCrashed) {
		return
	}
	s.forget(pod.UID)
	if apierrors.IsNotFound(err) {
		return // the pod is gone
	}
	s.Log.Info("binding failed", "pod", objectOf(pod), "node", node, "error", err)
	s.events.Eventf(ctx, pod, corev1.EventTypeWarning, "FailedScheduling", "binding rejected: %v", err)
	s.retry(p, 0)
	// What was taken on the node by this pod is free again.
	s.queue.Move(PodGone, 0)
}

// fail tells why the pod fits nowhere, and lets it wait.
func (s *scheduler) fail(ctx context.Context, p *Queued, d decision) {
	pod := p.Pod
	s.events.Eventf(ctx, pod, corev1.EventTypeWarning, "FailedScheduling", "%s", d.message)
	if err := s.noteUnschedulable(ctx, pod, d.message); err != nil && ctx.Err() == nil {
		s.Log.Info("cannot write why a pod is not scheduled", "pod", objectOf(pod), "error", err)
	}
	s.retry(p, d.wakes)
}

// retry puts the pod back into the queue, unless it is gone.
func (s *scheduler) retry(p *Queued, wakes Change) {
	if there, err := s.pods.Pods(p.Pod.Namespace).Get(p.Pod.Name); err == nil && there.UID == p.Pod.UID {
		s.queue.Failed(p, wakes)
	}
}

// noteUnschedulable sets the pod's condition PodScheduled, if it says
// something else.
func (s *scheduler) noteUnschedulable(ctx context.Context, pod *corev1.Pod, message string) error {
	next := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message, LastTransitionTime: metav1.NewTime(s.Clock.Now()),
	}
	for _, c := range pod.Status.Conditions {
		if c.Type != next.Type || c.Status != next.Status {
			continue
		}
		if c.Reason == next.Reason && c.Message == next.Message {
			return nil
		}
		next.LastTransitionTime = c.LastTransitionTime
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{next}},
	})
	if err != nil {
		return err
	}
	_, err = s.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
