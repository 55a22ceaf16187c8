package kubelet

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/kubelet/cm"
	"github.com/klab-project/klab/core/step"
)

// openGroups makes the control groups that all pods share.
func (k *Kubelet) openGroups() error {
	root := k.Resources.CgroupRoot
	if root == "" {
		return nil
	}
	groups, err := cm.Open(cm.Config{Root: root, Allocatable: k.node.unreserved(), PodPids: k.PodPids})
	k.groups = groups
	return err
}

// putGroup makes the pod's control group, if it is missing.
func (k *Kubelet) putGroup(ctx context.Context, pod *corev1.Pod) error {
	if k.groups == nil {
		return nil
	}
	s, changed, err := k.groups.Put(pod, k.hasAlone(pod))
	if err != nil {
		k.events.pod(ctx, pod, corev1.EventTypeWarning, "FailedCreatePodContainer", "unable to ensure pod container exists: %s", err)
		return fmt.Errorf("unable to ensure pod container exists: %w", err)
	}
	if changed {
		k.tellGroup(ctx, pod, s)
	}
	return nil
}

// resizeGroup gives the pod's control group other numbers, as a part of a
// resize in place.
func (k *Kubelet) resizeGroup(ctx context.Context, pod *corev1.Pod, s cm.Settings) error {
	if k.groups == nil {
		return nil
	}
	if err := k.groups.Update(pod, s); err != nil {
		return err
	}
	now, _ := k.groups.Settings(pod.UID)
	k.tellGroup(ctx, pod, now)
	return nil
}

// tellGroup records the numbers of the pod's group.
func (k *Kubelet) tellGroup(ctx context.Context, pod *corev1.Pod, s cm.Settings) {
	a := k.action(step.Cgroup, pod)
	a.Detail = step.CgroupDetail{Path: k.groups.Path(pod), QOS: string(qosClass(pod)),
		Shares: s.Shares, Quota: s.Quota, Period: cm.Period, Memory: s.Memory, Pids: s.Pids}
	step.Fact(ctx, a)
}

// removeGroup removes the pod's control group.
func (k *Kubelet) removeGroup(uid types.UID) error {
	if k.groups == nil {
		return nil
	}
	return k.groups.Remove(uid)
}

// sweepGroups removes the groups of pods that nobody knows; k.mu is held.
func (k *Kubelet) sweepGroups(known map[types.UID]bool) {
	if k.groups == nil {
		return
	}
	for _, uid := range k.groups.Pods() {
		if known[uid] || k.workers[uid] != nil {
			continue
		}
		k.log.Info("a control group is left of a pod that is gone", "uid", uid)
		if err := k.groups.Remove(uid); err != nil {
			k.log.Warn("remove the control group of a pod that is gone", "uid", uid, "err", err)
		}
	}
}

// groupPath is what the runtime is told as the parent of a pod's containers.
func (k *Kubelet) groupPath(pod *corev1.Pod) string {
	if k.groups == nil {
		return ""
	}
	return k.groups.Path(pod)
}
