package kubelet

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/kubelet/volume"
)

// adopt takes up what the runtime has from an earlier kubelet: a worker for
// each pod, which waits until the API's list says whether the pod is still
// wanted. Once that list is there, a pod that nobody knows is an orphan.
func (k *Kubelet) adopt(ctx context.Context) error {
	boxes, err := k.Runtime.ListPodSandbox(ctx)
	if err != nil {
		return err
	}
	for _, box := range boxes {
		uid := types.UID(box.Labels[labelPodUID])
		if uid == "" {
			continue // not a kubelet's
		}
		k.mu.Lock()
		w, orphan := k.workers[uid], k.synced
		if w != nil {
			k.mu.Unlock()
			continue
		}
		w = k.startWorker(ctx, orphanPod(box.Labels, box.Annotations))
		w.adopted = true
		k.mu.Unlock()
		if orphan {
			w.gone(nil)
		}
	}
	return nil
}

// takeStock looks for what the runtime has of the pod and the worker does not
// know of: from an earlier kubelet, or from a verb that was interrupted.
func (w *podWorker) takeStock(ctx context.Context) error {
	rt := w.k.Runtime
	boxes, err := rt.ListPodSandbox(ctx)
	if err != nil {
		return err
	}
	mine := map[string]bool{}
	for _, box := range boxes {
		if box.Labels[labelPodUID] != string(w.uid) {
			continue
		}
		mine[box.Id] = true
		if status, err := rt.PodSandboxStatus(ctx, box.Id); err == nil && ctx.Err() == nil {
			w.state.putSandbox(status)
		}
	}
	containers, err := rt.ListContainers(ctx)
	if err != nil {
		return err
	}
	for _, c := range containers {
		if mine[c.PodSandboxId] && w.byID(c.Id) == nil {
			w.observe(ctx, c.Id, c.PodSandboxId)
		}
	}
	w.noteEnds(ctx)
	w.noteIDs()
	return nil
}

// orphanPod is what is known of a pod from the runtime alone.
func orphanPod(labels, annotations map[string]string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: labels[labelPodNamespace], Name: labels[labelPodName], UID: types.UID(labels[labelPodUID]),
	}}
	var grace int64
	if _, err := fmt.Sscan(annotations[annotationGrace], &grace); err == nil {
		pod.Spec.TerminationGracePeriodSeconds = &grace
	}
	return pod
}

// watchRuntime wakes the worker of each pod of which the runtime has news.
func (k *Kubelet) watchRuntime(ctx context.Context, events <-chan *cri.ContainerEventResponse) {
	for {
		e, ok := <-events
		if ok {
			k.runtimeEvent(e)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		// The runtime went away; whatever it did meanwhile is looked up.
		k.log.Warn("the runtime's events have ended, asking again")
		for again, err := k.Runtime.Events(ctx); ; again, err = k.Runtime.Events(ctx) {
			if err == nil {
				events = again
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond): //nolint:forbidigo // the runtime is no part of the lab
			}
		}
		k.refreshVolumes()
		k.wakeAll()
	}
}

// refreshVolumes lets the volumes that show objects of the API be brought up to
// date, in case that a change was missed while the runtime was away.
func (k *Kubelet) refreshVolumes() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		w.mu.Lock()
		w.stale = slices.ContainsFunc(w.pod.Spec.Volumes, func(v corev1.Volume) bool {
			return volume.FromAPI(&v)
		})
		w.mu.Unlock()
	}
}

func (k *Kubelet) runtimeEvent(e *cri.ContainerEventResponse) {
	uid := types.UID(e.GetPodSandboxStatus().GetMetadata().GetUid())
	k.mu.Lock()
	w := k.workers[uid]
	if w == nil {
		for _, other := range k.workers {
			if other.owns(e.ContainerId) {
				w = other
			}
		}
	}
	k.mu.Unlock()
	if w != nil && e.ContainerEventType != cri.ContainerEventType_CONTAINER_CREATED_EVENT {
		w.look()
	}
}

func (k *Kubelet) wakeAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		w.look()
	}
}

// relist lets every pod be looked at once a minute.
func (k *Kubelet) relist(ctx context.Context) {
	for k.sleep(ctx, relistEvery) {
		if err := k.adopt(ctx); err != nil {
			k.log.Warn("list what runs", "err", err)
		}
		k.wakeAll()
	}
}
