package scheduler

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

// watch brings pods into the queue, and tells it what changes.
func (s *scheduler) watch(pods, nodes cache.SharedIndexInformer) ([]cache.DoneChecker, error) {
	var synced []cache.DoneChecker
	p, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.podChanged(nil, obj.(*corev1.Pod)) },
		UpdateFunc: func(old, cur any) { s.podChanged(old.(*corev1.Pod), cur.(*corev1.Pod)) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				s.podGone(pod)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	n, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.queue.Move(NodeAdded, revisionOf(obj.(*corev1.Node))) },
		UpdateFunc: func(old, cur any) { s.nodeChanged(old.(*corev1.Node), cur.(*corev1.Node)) },
	})
	if err != nil {
		return nil, err
	}
	return append(synced, p.HasSyncedChecker(), n.HasSyncedChecker()), nil
}

// isOurs tells whether the pod waits for this scheduler.
func (s *scheduler) isOurs(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil && !hasEnded(pod) && len(pod.Spec.SchedulingGates) == 0 &&
		pod.Spec.SchedulerName == corev1.DefaultSchedulerName && !s.isAssumed(pod.UID)
}

func (s *scheduler) podChanged(old, cur *corev1.Pod) {
	if old != nil && old.UID != cur.UID {
		s.podGone(old)
		old = nil
	}
	if cur.Spec.NodeName == "" {
		if s.isOurs(cur) {
			s.queue.Set(cur, old != nil && specChanged(old, cur))
		} else {
			s.queue.Remove(cur.UID)
		}
		return
	}
	s.forget(cur.UID)
	s.queue.Remove(cur.UID)
	if old != nil && hasEnded(cur) && !hasEnded(old) {
		s.queue.Move(PodGone, revisionOf(cur))
	}
}

func (s *scheduler) podGone(pod *corev1.Pod) {
	wasAssumed := s.isAssumed(pod.UID)
	s.forget(pod.UID)
	s.queue.Remove(pod.UID)
	if pod.Spec.NodeName != "" && !hasEnded(pod) || wasAssumed {
		s.queue.Move(PodGone, revisionOf(pod))
	}
}

// specChanged leaves out the status, which the scheduler writes itself.
func specChanged(old, cur *corev1.Pod) bool {
	return !equality.Semantic.DeepEqual(old.Spec, cur.Spec) || !equality.Semantic.DeepEqual(old.Labels, cur.Labels)
}

func (s *scheduler) nodeChanged(old, cur *corev1.Node) {
	var change Change
	if !equality.Semantic.DeepEqual(old.Status.Allocatable, cur.Status.Allocatable) {
		change |= NodeAllocatable
	}
	if !equality.Semantic.DeepEqual(old.Labels, cur.Labels) {
		change |= NodeLabels
	}
	if old.Spec.Unschedulable != cur.Spec.Unschedulable || !equality.Semantic.DeepEqual(old.Spec.Taints, cur.Spec.Taints) {
		change |= NodeTaints
	}
	if change != 0 {
		s.queue.Move(change, revisionOf(cur))
	}
}

func objectOf(pod *corev1.Pod) step.Object {
	return step.Object{Resource: "pods", Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)}
}

func timerOf(pod *corev1.Pod) step.Action {
	return step.Action{Actor: Name, Verb: step.Fire, Object: objectOf(pod)}
}

func revisionOf(obj metav1.Object) int64 {
	rv, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return rv
}

// trim keeps the cache small.
func trim(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}
