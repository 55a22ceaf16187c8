package kubelet

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/cpuset"

	"github.com/klab-project/klab/core/kubelet/cm"
	"github.com/klab-project/klab/core/step"
)

// openCPUs prepares the static policy, if the node is to have it.
func (k *Kubelet) openCPUs() error {
	switch k.Resources.CPUPolicy {
	case "", "none":
		return nil
	case "static":
	default:
		return fmt.Errorf("unknown policy: %q; CPU manager policies are none and static", k.Resources.CPUPolicy)
	}
	all, err := ownCPUs()
	if err != nil {
		return fmt.Errorf("the node's CPUs: %w", err)
	}
	reserved, err := cpuset.Parse(k.Resources.ReservedCPUs)
	if err != nil {
		return fmt.Errorf("reserved CPUs: %w", err)
	}
	if reserved.IsEmpty() {
		milli := int64(0)
		for _, list := range []corev1.ResourceList{k.Reserved, k.Resources.KubeReserved, k.Resources.SystemReserved} {
			milli += list.Cpu().MilliValue()
		}
		n := min(int((milli+999)/1000), all.Size())
		reserved = cpuset.New(all.List()[:n]...)
	}
	k.cpus, err = cm.OpenCPUs(k.Root+"/cpu_manager_state", all, reserved)
	return err
}

// ownCPUs are those that this process may use.
func ownCPUs() (cpuset.CPUSet, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return cpuset.New(), err
	}
	var list []int
	for i := 0; len(list) < set.Count(); i++ {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return cpuset.New(list...), nil
}

// takeCPUs gives an admitted pod its CPUs.
func (k *Kubelet) takeCPUs(pod *corev1.Pod) (reason statusReason, ok bool) {
	if k.cpus == nil {
		return reason, true
	}
	if _, err := k.cpus.Take(pod); err != nil {
		return statusReason{"UnexpectedAdmissionError", fmt.Sprintf("Pod was rejected: Allocate failed due to %v, which is unexpected", err)}, false
	}
	return reason, true
}

// freeCPUs takes back what the pod had.
func (k *Kubelet) freeCPUs(ctx context.Context, uid types.UID) error {
	if k.cpus == nil {
		return nil
	}
	changed, err := k.cpus.Free(uid)
	if changed {
		k.shareCPUs(ctx)
	}
	return err
}

// setCPUs says in a container's configuration which CPUs it may use.
func (k *Kubelet) setCPUs(pod *corev1.Pod, container string, r *cri.LinuxContainerResources) {
	if k.cpus == nil {
		return
	}
	var alone bool
	if r.CpusetCpus, alone = k.cpus.Of(pod.UID, container); alone {
		r.CpuQuota = -1 // nobody else has those CPUs: there is nothing to share out
	}
}

// hasAlone tells whether a container of the pod has CPUs alone: its group has
// no quota then.
func (k *Kubelet) hasAlone(pod *corev1.Pod) bool {
	return k.cpus != nil && slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		_, alone := k.cpus.Of(pod.UID, c.Name)
		return alone
	})
}

// shareCPUs lets all containers that have none alone use those that are shared now.
func (k *Kubelet) shareCPUs(ctx context.Context) {
	containers, err := k.Runtime.ListContainers(ctx)
	if err != nil {
		k.log.Warn("share CPUs", "err", err)
		return
	}
	for _, c := range containers {
		cpus, alone := k.cpus.Of(types.UID(c.Labels[labelPodUID]), c.Labels[labelContainerName])
		if alone || c.State != cri.ContainerState_CONTAINER_RUNNING && c.State != cri.ContainerState_CONTAINER_CREATED {
			continue
		}
		if err := k.Runtime.UpdateContainerResources(ctx, c.Id, &cri.LinuxContainerResources{CpusetCpus: cpus}); err != nil {
			k.log.Warn("share CPUs", "container", c.Id, "err", err)
		}
	}
}

// sweepCPUs takes back what pods had that nobody knows; k.mu is held.
func (k *Kubelet) sweepCPUs(known map[types.UID]bool) {
	if k.cpus == nil {
		return
	}
	for _, uid := range k.cpus.Pods() {
		if !known[uid] && k.workers[uid] == nil {
			if _, err := k.cpus.Free(uid); err != nil {
				k.log.Warn("take back CPUs", "uid", uid, "err", err)
			}
		}
	}
}

// tellCPUs records which CPUs a pod's containers have alone, and lets the
// others use the rest.
func (k *Kubelet) tellCPUs(ctx context.Context, pod *corev1.Pod) {
	if k.cpus == nil {
		return
	}
	alone := map[string]string{}
	for i := range pod.Spec.Containers {
		if cpus, own := k.cpus.Of(pod.UID, pod.Spec.Containers[i].Name); own {
			alone[pod.Spec.Containers[i].Name] = cpus
		}
	}
	if len(alone) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(alone)) {
		a := k.action(step.Cgroup, pod)
		a.Detail = step.CgroupDetail{Path: k.groupPath(pod), Container: name, QOS: string(qosClass(pod)), Cpus: alone[name]}
		step.Fact(ctx, a)
	}
	k.shareCPUs(ctx)
}
