package eviction

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
	api "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Reason is that of pods that were evicted.
const Reason = "Evicted"

// Message says why a pod went, in upstream's words.
func Message(o *Outcome, c Candidate, seen Observations) string {
	name := o.Due[0].Signal.Resource()
	text := fmt.Sprintf("The node was low on resource: %v. ", name)
	for _, t := range o.Due {
		if seen, ok := seen[t.Signal]; ok && t.Signal.Resource() == name {
			below := t.Below.Of(seen.Capacity)
			text += fmt.Sprintf("Threshold quantity: %v, available: %v. ", &below, &seen.Available)
			break
		}
	}
	if c.Stats == nil {
		return text
	}
	if name == corev1.ResourceMemory && helper.IsPodLevelResourcesSet(c.Pod) {
		if asked, ok := c.Pod.Spec.Resources.Requests[name]; ok {
			used := resource.NewQuantity(Usage(c.Stats, name), resource.BinarySI)
			text += fmt.Sprintf("Pod %s was using %s, request is %s, has larger consumption of %v. ", c.Pod.Name, used, &asked, name)
		}
	}
	containers := slices.Concat(c.Pod.Spec.Containers, c.Pod.Spec.InitContainers)
	for _, s := range c.Stats.Containers {
		i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == s.Name })
		used := containerUsage(&s, name)
		if i < 0 || used == nil {
			continue
		}
		if asked := containers[i].Resources.Requests[name]; used.Cmp(asked) > 0 {
			text += fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %v. ", s.Name, used, &asked, name)
		}
	}
	return text
}

func containerUsage(s *api.ContainerStats, name corev1.ResourceName) *resource.Quantity {
	switch {
	case name == corev1.ResourceMemory && s.Memory != nil && s.Memory.WorkingSetBytes != nil:
		return resource.NewQuantity(value(s.Memory.WorkingSetBytes), resource.BinarySI)
	case name == corev1.ResourceEphemeralStorage && s.Rootfs != nil && s.Logs != nil:
		return resource.NewQuantity(value(s.Rootfs.UsedBytes)+value(s.Logs.UsedBytes), resource.BinarySI)
	}
	return nil
}

// LimitsStorage tells whether there is a limit on what the pod may write, so
// that it has to be measured.
func LimitsStorage(pod *corev1.Pod) bool {
	limits := helper.PodLimits(pod, helper.PodResourcesOptions{})
	if _, ok := limits[corev1.ResourceEphemeralStorage]; ok {
		return true
	}
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumMemory && v.EmptyDir.SizeLimit != nil && v.EmptyDir.SizeLimit.Sign() > 0
	})
}

// OverLimit says which limit of its own the pod has written beyond; empty if
// none. What is in memory is limited by the kernel.
func OverLimit(c Candidate) string {
	if c.Stats == nil {
		return ""
	}
	for _, v := range c.Pod.Spec.Volumes {
		if v.EmptyDir == nil || v.EmptyDir.Medium == corev1.StorageMediumMemory || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
			continue
		}
		for _, s := range c.Stats.VolumeStats {
			if s.Name == v.Name && value(s.UsedBytes) > v.EmptyDir.SizeLimit.Value() {
				return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
			}
		}
	}
	limits := helper.PodLimits(c.Pod, helper.PodResourcesOptions{})
	if limit, ok := limits[corev1.ResourceEphemeralStorage]; ok && Usage(c.Stats, corev1.ResourceEphemeralStorage) > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
	}
	for _, s := range c.Stats.Containers {
		for _, list := range [][]corev1.Container{c.Pod.Spec.Containers, c.Pod.Spec.InitContainers} {
			for i := range list {
				limit := list[i].Resources.Limits[corev1.ResourceEphemeralStorage]
				used := containerUsage(&s, corev1.ResourceEphemeralStorage)
				if list[i].Name == s.Name && !limit.IsZero() && used != nil && used.Cmp(limit) > 0 {
					return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", s.Name, limit.String())
				}
			}
		}
	}
	return ""
}
