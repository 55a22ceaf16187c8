package kubelet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podState is what the runtime has of one pod, the newest first. A container
// that has ended never changes again.
type podState struct {
	sandboxes  []*cri.PodSandboxStatus
	containers []*containerState
	actuated   *allocation // what the cgroups of its containers were last given
}

// containerState is one container as the runtime has it.
type containerState struct {
	*cri.ContainerStatus
	sandboxID string
}

func (c *containerState) name() string      { return c.GetMetadata().GetName() }
func (c *containerState) restarts() int     { return int(c.GetMetadata().GetAttempt()) }
func (c *containerState) running() bool     { return c.State == cri.ContainerState_CONTAINER_RUNNING }
func (c *containerState) exited() bool      { return c.State == cri.ContainerState_CONTAINER_EXITED }
func (c *containerState) reference() string { return containerScheme + c.Id }

// containerScheme stands before a container's id in the API.
const containerScheme = "klab-rt://"

// sort puts the newest first: by attempt, and by creation where attempts are equal.
func (s *podState) sort() {
	slices.SortStableFunc(s.sandboxes, func(a, b *cri.PodSandboxStatus) int {
		return cmp.Or(cmp.Compare(b.GetMetadata().GetAttempt(), a.GetMetadata().GetAttempt()), cmp.Compare(b.CreatedAt, a.CreatedAt))
	})
	slices.SortStableFunc(s.containers, func(a, b *containerState) int {
		return cmp.Or(cmp.Compare(b.restarts(), a.restarts()), cmp.Compare(b.CreatedAt, a.CreatedAt))
	})
}

// latest is the newest container with that name, or nil.
func (s *podState) latest(name string) *containerState {
	for _, c := range s.containers {
		if c.name() == name {
			return c
		}
	}
	return nil
}

// active is the newest container with that name in the newest sandbox, or nil.
func (s *podState) active(name string) *containerState {
	if len(s.sandboxes) == 0 {
		return nil
	}
	for _, c := range s.containers {
		if c.name() == name && c.sandboxID == s.sandboxes[0].Id {
			return c
		}
	}
	return nil
}

// previous is the newest container with that name that is not the latest one.
func (s *podState) previous(name string) *containerState {
	latest := s.latest(name)
	for _, c := range s.containers {
		if c.name() == name && c != latest {
			return c
		}
	}
	return nil
}

// ready is the sandbox that containers can be started in, or nil.
func (s *podState) ready() *cri.PodSandboxStatus {
	if len(s.sandboxes) == 0 || s.sandboxes[0].State != cri.PodSandboxState_SANDBOX_READY {
		return nil
	}
	return s.sandboxes[0]
}

// addresses are the newest sandbox's.
func (s *podState) addresses() []string {
	if s.ready() == nil {
		return nil
	}
	network := s.sandboxes[0].GetNetwork()
	if network.GetIp() == "" {
		return nil
	}
	ips := []string{network.GetIp()}
	for _, more := range network.GetAdditionalIps() {
		ips = append(ips, more.GetIp())
	}
	return ips
}

// everStarted tells whether a regular container was ever created.
func (s *podState) everStarted(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return s.latest(c.Name) != nil })
}

// started tells whether a regular container was started in the newest sandbox,
// which means that initialisation is over.
func (s *podState) started(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		active := s.active(c.Name)
		return active != nil && active.State != cri.ContainerState_CONTAINER_CREATED
	})
}

// put adds a container or replaces what is known of it.
func (s *podState) put(c *containerState) {
	if i := slices.IndexFunc(s.containers, func(o *containerState) bool { return o.Id == c.Id }); i >= 0 {
		s.containers[i] = c
	} else {
		s.containers = append(s.containers, c)
	}
	s.sort()
}

func (s *podState) putSandbox(b *cri.PodSandboxStatus) {
	if i := slices.IndexFunc(s.sandboxes, func(o *cri.PodSandboxStatus) bool { return o.Id == b.Id }); i >= 0 {
		s.sandboxes[i] = b
	} else {
		s.sandboxes = append(s.sandboxes, b)
	}
	s.sort()
}

func (s *podState) forget(id string) {
	s.containers = slices.DeleteFunc(s.containers, func(c *containerState) bool { return c.Id == id })
	s.sandboxes = slices.DeleteFunc(s.sandboxes, func(b *cri.PodSandboxStatus) bool { return b.Id == id })
}

// containerHash changes when a container must be started anew: with its image.
func containerHash(c *corev1.Container) string {
	text, _ := json.Marshal(map[string]string{"name": c.Name, "image": c.Image})
	h := fnv.New32a()
	h.Write(text)
	return fmt.Sprintf("%x", h.Sum32())
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// findContainer finds a container of any kind by its name.
func findContainer(pod *corev1.Pod, name string) *corev1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		}
	}
	return nil
}
