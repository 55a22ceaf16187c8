package kubelet

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// containerUpdate is a container that runs and whose cgroup is to be changed.
type containerUpdate struct {
	ID, Name  string
	Container *corev1.Container
	From, To  amounts
}

// resizePlan is what is to be done about cgroups so that a pod has what it was
// granted. Of each resource decreases come before increases.
type resizePlan struct {
	Memory, CPU []containerUpdate
	Pod         bool // the pod's own cgroup is to be looked at
}

func (p *resizePlan) empty() bool { return len(p.Memory)+len(p.CPU) == 0 && !p.Pod }

// container plans for one container that runs; restart means that its
// resizePolicy asks for a new life.
func (p *resizePlan) container(pod *corev1.Pod, c *corev1.Container, now *containerState, actuated *allocation) (restart bool) {
	if actuated == nil {
		return false // from before anybody noted what it had
	}
	from, to := actuated.actual(c.Name), desired(pod, c)
	if from == to {
		return false
	}
	cpu := from.cpuLimit != to.cpuLimit || from.cpuRequest != to.cpuRequest
	memory := from.memoryLimit != to.memoryLimit || from.memoryRequest != to.memoryRequest
	p.Pod = true
	if cpu && restartsOn(c, corev1.ResourceCPU) || memory && restartsOn(c, corev1.ResourceMemory) {
		return true
	}
	u := containerUpdate{ID: now.Id, Name: c.Name, Container: c, From: from, To: to}
	if memory {
		p.Memory = u.into(p.Memory, pick2(from.memoryLimit != to.memoryLimit, from.memoryLimit-to.memoryLimit, from.memoryRequest-to.memoryRequest) > 0)
	}
	if cpu {
		p.CPU = u.into(p.CPU, pick2(from.cpuLimit != to.cpuLimit, from.cpuLimit-to.cpuLimit, from.cpuRequest-to.cpuRequest) > 0)
	}
	return false
}

func pick2(first bool, a, b int64) int64 {
	if first {
		return a
	}
	return b
}

func (u containerUpdate) into(list []containerUpdate, decrease bool) []containerUpdate {
	if decrease {
		return append([]containerUpdate{u}, list...)
	}
	return append(list, u)
}

func restartsOn(c *corev1.Container, name corev1.ResourceName) bool {
	for _, p := range c.ResizePolicy {
		if p.ResourceName == name {
			return p.RestartPolicy == corev1.RestartContainer
		}
	}
	return false
}

// starting notes containers that are about to start with other resources than
// they had: the pod's cgroup must have room for them.
func (p *resizePlan) starting(pod *corev1.Pod, start []int, actuated *allocation) {
	if actuated == nil {
		return
	}
	p.Pod = p.Pod || podLevel(pod.Spec.Resources) != podLevel(actuated.Pod)
	for _, i := range start {
		c := &pod.Spec.Containers[i]
		p.Pod = p.Pod || desired(pod, c) != actuated.actual(c.Name)
	}
}

// resizing tells whether something that runs has not yet what it was granted.
func resizing(pod *corev1.Pod, state *podState) bool {
	if state.actuated == nil {
		return false
	}
	if podLevel(pod.Spec.Resources) != podLevel(state.actuated.Pod) {
		return true
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; isSidecar(c) && state.resizes(pod, c) {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if state.resizes(pod, &pod.Spec.Containers[i]) {
			return true
		}
	}
	return false
}

func (s *podState) resizes(pod *corev1.Pod, c *corev1.Container) bool {
	now := s.latest(c.Name)
	return now != nil && now.running() && desired(pod, c) != s.actuated.actual(c.Name)
}

func (p *resizePlan) lines() []string {
	var lines []string
	for _, u := range p.Memory {
		lines = append(lines, fmt.Sprintf("resize memory of container %s: limit %d to %d", u.Name, u.From.memoryLimit, u.To.memoryLimit))
	}
	for _, u := range p.CPU {
		lines = append(lines, fmt.Sprintf("resize cpu of container %s: request %dm to %dm, limit %dm to %dm",
			u.Name, u.From.cpuRequest, u.To.cpuRequest, u.From.cpuLimit, u.To.cpuLimit))
	}
	if p.Pod {
		lines = append(lines, "adjust the pod's cgroup")
	}
	return lines
}
