package kubelet

import (
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Reasons of waiting containers that have not been tried yet, and of those
// whose end nobody saw.
const (
	containerCreating = "ContainerCreating"
	podInitializing   = "PodInitializing"
	statusUnknown     = "ContainerStatusUnknown"
)

func trimScheme(id string) string { return strings.TrimPrefix(id, containerScheme) }

// containers makes the statuses of containers of one kind.
func (in *statusInput) containers(specs []corev1.Container, olds []corev1.ContainerStatus, hasInit, init bool) []corev1.ContainerStatus {
	var list []corev1.ContainerStatus
	for i := range specs {
		list = append(list, in.container(&specs[i], findStatus(olds, specs[i].Name), hasInit, init))
	}
	if !init { // init containers keep the order in which they run
		sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	}
	return list
}

func (in *statusInput) container(spec *corev1.Container, old *corev1.ContainerStatus, hasInit, init bool) corev1.ContainerStatus {
	latest := in.state.latest(spec.Name)
	var s corev1.ContainerStatus
	if latest == nil {
		s = in.unseen(spec, old, hasInit, init)
	} else {
		s = in.seen(spec, latest)
		if previous := in.state.previous(spec.Name); previous != nil {
			s.LastTerminationState = in.stateOf(previous)
		} else if old != nil && old.ContainerID != s.ContainerID && old.State.Terminated != nil {
			s.LastTerminationState = old.State
		} else if old != nil {
			s.LastTerminationState = old.LastTerminationState
		}
	}
	completed := init && latest != nil && latest.exited() && latest.ExitCode == 0
	why, known := in.waiting[spec.Name]
	if known && !completed && !in.terminal && shouldStart(in.pod, spec, in.state) {
		if s.State.Terminated != nil {
			s.LastTerminationState = s.State
		}
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: why.Reason, Message: why.Message}}
	}
	if in.terminal && latest == nil && s.State.Waiting != nil && s.LastTerminationState.Terminated != nil {
		// It will not run again, and how it ended nobody knows.
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: statusUnknown, ExitCode: 137,
			Message: "The container could not be located when the pod was terminated"}}
	}
	return s
}

// seen is the status of a container that the runtime has.
func (in *statusInput) seen(spec *corev1.Container, c *containerState) corev1.ContainerStatus {
	s := corev1.ContainerStatus{
		Name:         spec.Name,
		Image:        c.GetImage().GetImage(),
		ImageID:      c.ImageRef,
		ContainerID:  c.reference(),
		RestartCount: int32(c.restarts()),
		State:        in.stateOf(c),
		VolumeMounts: mountStatuses(spec),
	}
	if s.Image == "" {
		s.Image = spec.Image
	}
	if user := c.GetUser().GetLinux(); user != nil {
		s.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: user.Uid, GID: user.Gid, SupplementalGroups: user.SupplementalGroups}}
	}
	in.resources(&s, spec, c)
	return s
}

// resources are what the container was granted and what it has: that may be
// something else while it runs and is being resized.
func (in *statusInput) resources(s *corev1.ContainerStatus, spec *corev1.Container, c *containerState) {
	if isEphemeral(in.pod, spec.Name) {
		return
	}
	s.Resources, s.AllocatedResources = spec.Resources.DeepCopy(), spec.Resources.Requests.DeepCopy()
	if in.state.actuated == nil || !c.running() {
		return
	}
	if has, known := in.state.actuated.Containers[spec.Name]; known {
		s.Resources = has.DeepCopy()
		s.Resources.Claims = spec.Resources.Claims
	}
}

func isEphemeral(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}

func (in *statusInput) stateOf(c *containerState) corev1.ContainerState {
	switch c.State {
	case cri.ContainerState_CONTAINER_RUNNING:
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: nanos(c.StartedAt)}}
	case cri.ContainerState_CONTAINER_EXITED:
		end := &corev1.ContainerStateTerminated{
			ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message,
			StartedAt: nanos(c.StartedAt), FinishedAt: nanos(c.FinishedAt), ContainerID: c.reference(),
		}
		if in.message != nil {
			if text := in.message(c); text != "" {
				end.Message = text
			}
		}
		if end.Reason == "" {
			end.Reason = "Completed"
			if c.ExitCode != 0 {
				end.Reason = "Error"
			}
		}
		return corev1.ContainerState{Terminated: end}
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
}

// unseen is the status of a container that the runtime does not have: it has
// not been started yet, or the runtime has forgotten it.
func (in *statusInput) unseen(spec *corev1.Container, old *corev1.ContainerStatus, hasInit, init bool) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, VolumeMounts: mountStatuses(spec)}
	s.State.Waiting = &corev1.ContainerStateWaiting{Reason: containerCreating}
	if hasInit {
		s.State.Waiting.Reason = podInitializing
	}
	if old != nil && in.cleared[spec.Name] {
		return cleared(s, old)
	}
	if old != nil && old.State.Terminated != nil {
		return *old
	}
	if old != nil {
		s.RestartCount, s.LastTerminationState = old.RestartCount, old.LastTerminationState
	}
	switch {
	case init && !isSidecar(spec) && in.state.everStarted(in.pod):
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed",
			Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"}}
	case old != nil && old.State.Running != nil && s.LastTerminationState.Terminated == nil:
		// It ran and nobody saw its end: say so instead of "not started yet".
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: statusUnknown, ExitCode: 137,
			Message: "The container could not be located when the pod was deleted.  The container used to be Running"}
		if in.pod.DeletionTimestamp == nil {
			s.RestartCount++
		}
	}
	return s
}

// cleared is the status of a container that was removed because all of the
// pod's containers start anew: that is one restart more.
func cleared(s corev1.ContainerStatus, old *corev1.ContainerStatus) corev1.ContainerStatus {
	s.RestartCount, s.LastTerminationState = old.RestartCount, old.LastTerminationState
	if old.ContainerID != "" { // until now it was there
		s.RestartCount++
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: restartingAll, Message: removedForRestart, ExitCode: 137}
	}
	s.State.Waiting = &corev1.ContainerStateWaiting{Reason: restartingAll, Message: removedForRestart}
	return s
}

func mountStatuses(spec *corev1.Container) []corev1.VolumeMountStatus {
	var list []corev1.VolumeMountStatus
	for _, m := range spec.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			disabled := corev1.RecursiveReadOnlyDisabled
			s.RecursiveReadOnly = &disabled
		}
		list = append(list, s)
	}
	return list
}
