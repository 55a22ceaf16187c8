package kubelet

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/kubelet/cm"
)

// actuate brings the cgroups of a pod to what the pod was granted: memory
// before CPU; what grows, the pod's cgroup before its containers', and what
// shrinks, the containers' before the pod's. What was done is remembered after
// each write, so that a next turn goes on where this one failed.
func (w *podWorker) actuate(ctx context.Context, pod *corev1.Pod, plan *resizePlan, sandboxID string) error {
	if err := w.belowUsage(ctx, plan); err != nil {
		return err
	}
	g := podCgroup{w: w, pod: pod, sandbox: sandboxID, now: limitsOf(w.k.podResources(w.actual(pod)))}
	before, after := g.now, limitsOf(w.k.podResources(pod))
	steps := []struct {
		when bool
		do   func() error
	}{
		{bound(after.memory) > bound(before.memory), func() error { return g.set(ctx, after.memory, g.now.quota, g.now.shares) }},
		{true, func() error { return w.resizeContainers(ctx, pod, plan.Memory, corev1.ResourceMemory) }},
		{true, func() error { return g.set(ctx, after.memory, g.now.quota, g.now.shares) }},
		{bound(after.quota) > bound(before.quota), func() error { return g.set(ctx, after.memory, after.quota, g.now.shares) }},
		{after.shares > before.shares, func() error { return g.set(ctx, after.memory, g.now.quota, after.shares) }},
		{true, func() error { return w.resizeContainers(ctx, pod, plan.CPU, corev1.ResourceCPU) }},
		{true, func() error { return g.set(ctx, after.memory, after.quota, after.shares) }},
	}
	for _, s := range steps {
		if !s.when {
			continue
		}
		if err := s.do(); err != nil {
			return err
		}
	}
	return w.noteActuated(func(a *allocation) { a.Pod = pod.Spec.Resources.DeepCopy() })
}

// podLimits are the settings of a pod's cgroup that a resize changes.
type podLimits struct{ memory, quota, shares int64 }

func limitsOf(r *cri.LinuxContainerResources) podLimits {
	return podLimits{memory: r.MemoryLimitInBytes, quota: r.CpuQuota, shares: r.CpuShares}
}

// podCgroup is the cgroup around a pod's containers.
type podCgroup struct {
	w       *podWorker
	pod     *corev1.Pod
	sandbox string
	now     podLimits
}

// set writes what differs from what the cgroup has.
func (g *podCgroup) set(ctx context.Context, memory, quota, shares int64) error {
	next := podLimits{memory, quota, shares}
	if next == g.now {
		return nil
	}
	r := &cri.LinuxContainerResources{MemoryLimitInBytes: memory, CpuShares: shares, CpuQuota: quota, CpuPeriod: cm.Period}
	if err := g.w.k.resizePodCgroup(ctx, g.pod, g.sandbox, r); err != nil {
		return fmt.Errorf("resize the pod's cgroup: %w", err)
	}
	g.now = next
	return nil
}

// bound orders limits: none is more than any.
func bound(limit int64) int64 {
	if limit <= 0 {
		return 1 << 62
	}
	return limit
}

// actual is the pod with what its cgroups were given.
func (w *podWorker) actual(pod *corev1.Pod) *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.check.Actuated.on(pod)
}

// resizeContainers gives containers that run their new amounts of one
// resource; of the other they keep what they have.
func (w *podWorker) resizeContainers(ctx context.Context, pod *corev1.Pod, list []containerUpdate, name corev1.ResourceName) error {
	for _, u := range list {
		mixed := w.actual(pod)
		c := findContainer(mixed, u.Name).DeepCopy()
		c.Resources.Requests = with(c.Resources.Requests, u.Container.Resources.Requests, name)
		c.Resources.Limits = with(c.Resources.Limits, u.Container.Resources.Limits, name)
		r := containerResources(pod, c, w.k.node.memory())
		w.k.setCPUs(pod, u.Name, r)
		r.OomScoreAdj = 0 // stays as it was at the start
		if r.MemoryLimitInBytes == 0 {
			r.MemoryLimitInBytes = -1
		}
		if r.CpuQuota == 0 {
			r.CpuQuota, r.CpuPeriod = -1, cm.Period
		}
		if err := w.k.Runtime.UpdateContainerResources(ctx, u.ID, r); err != nil {
			return fmt.Errorf("resize container %s: %w", u.Name, err)
		}
		if err := w.noteActuated(func(a *allocation) { a.Containers[u.Name] = c.Resources }); err != nil {
			return err
		}
		w.observe(ctx, u.ID, w.byID(u.ID).sandboxID)
	}
	return nil
}

// with is list with the amount of one resource from another one.
func with(list, from corev1.ResourceList, name corev1.ResourceName) corev1.ResourceList {
	out := list.DeepCopy()
	amount, ok := from[name]
	if !ok {
		delete(out, name)
		return out
	}
	if out == nil {
		out = corev1.ResourceList{}
	}
	out[name] = amount
	return out
}

// noteActuated remembers what was written to a cgroup.
func (w *podWorker) noteActuated(change func(*allocation)) error {
	err := w.remember(func(c *checkpoint) {
		next := c.Actuated.clone()
		change(next)
		c.Actuated = next
		w.state.actuated = next
	})
	if err != nil {
		return fmt.Errorf("remember what was resized: %w", err)
	}
	return nil
}

// startedWith remembers what a container that has started was given.
func (w *podWorker) startedWith(c *corev1.Container) error {
	w.mu.Lock()
	known := w.check.Actuated == nil || equal(w.check.Actuated.Containers[c.Name], c.Resources)
	w.mu.Unlock()
	if known {
		return nil
	}
	return w.noteActuated(func(a *allocation) { a.Containers[c.Name] = *c.Resources.DeepCopy() })
}

// resizePodCgroup changes the cgroup that holds a pod's containers and tells
// the runtime.
func (k *Kubelet) resizePodCgroup(ctx context.Context, pod *corev1.Pod, sandboxID string, r *cri.LinuxContainerResources) error {
	s := cm.Settings{Shares: uint64(r.CpuShares), Quota: orNone(r.CpuQuota), Memory: orNone(r.MemoryLimitInBytes)}
	if err := k.resizeGroup(ctx, pod, s); err != nil {
		return err
	}
	return k.Runtime.UpdatePodSandboxResources(ctx, sandboxID, cgroupResources(pod.Spec.Overhead, pod.Spec.Overhead), r)
}

// orNone is a limit in the words of a control group: 0 stands for none.
func orNone(limit int64) int64 {
	if limit == 0 {
		return cm.Unlimited
	}
	return limit
}
