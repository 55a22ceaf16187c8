package kubelet

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statusInput is all that a pod's status is made from.
type statusInput struct {
	pod      *corev1.Pod
	state    *podState
	old      *corev1.PodStatus  // as last written
	waiting  map[string]waiting // why a container could not be started
	probes   verdicts
	terminal bool // the worker has stopped everything: nothing starts again
	hostIPs  []string
	now      time.Time
	message  func(*containerState) string // a container's termination message
	resize   []corev1.PodCondition        // of a resize that is asked for or under way
	devices  func(container string) []corev1.ResourceStatus
	cleared  map[string]bool // containers that were removed to start anew with all others
}

// waiting is why a container does not run, in the API's words.
type waiting struct{ Reason, Message string }

// podStatus works out the pod's status. It looks at nothing but its argument.
func podStatus(in *statusInput) corev1.PodStatus {
	s := corev1.PodStatus{
		QOSClass:           qosClass(in.pod),
		ObservedGeneration: in.pod.Generation,
		StartTime:          in.old.StartTime,
		NominatedNodeName:  in.old.NominatedNodeName,
	}
	if s.StartTime == nil {
		now := stamp(in.now)
		s.StartTime = &now
	}
	hasInit := len(in.pod.Spec.InitContainers) > 0
	s.InitContainerStatuses = in.containers(in.pod.Spec.InitContainers, in.old.InitContainerStatuses, hasInit, true)
	s.ContainerStatuses = in.containers(in.pod.Spec.Containers, in.old.ContainerStatuses, hasInit, false)
	if in.devices != nil {
		for i := range s.ContainerStatuses {
			s.ContainerStatuses[i].AllocatedResourcesStatus = in.devices(s.ContainerStatuses[i].Name)
		}
	}
	var ephemeral []corev1.Container
	for i := range in.pod.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, corev1.Container(in.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	s.EphemeralContainerStatuses = in.containers(ephemeral, in.old.EphemeralContainerStatuses, hasInit, false)
	in.readiness(&s)
	s.Phase = podPhase(in.pod, &s, in.terminal, in.state.started(in.pod))
	if finished(in.old.Phase) { // a phase that is final stays
		s.Phase = in.old.Phase
	}
	if s.Phase == in.old.Phase {
		s.Reason, s.Message = in.old.Reason, in.old.Message
	}
	in.addresses(&s)
	s.Conditions = in.conditions(&s)
	in.podLevel(&s)
	if in.terminal {
		lost(in.pod, &s)
	}
	shorten(in.pod, &s)
	return s
}

func finished(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// stamp is a time as the API keeps it: whole seconds.
func stamp(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

func nanos(ns int64) metav1.Time {
	if ns == 0 {
		return metav1.Time{}
	}
	return stamp(time.Unix(0, ns))
}

func (in *statusInput) addresses(s *corev1.PodStatus) {
	for _, ip := range in.state.addresses() {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	for i, ip := range in.hostIPs {
		if i == 0 {
			s.HostIP = ip
			if in.pod.Spec.HostNetwork {
				s.PodIPs = nil
			}
		}
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		if in.pod.Spec.HostNetwork {
			s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
		}
	}
	if len(s.PodIPs) == 0 && in.state.ready() == nil {
		s.PodIPs = in.old.PodIPs // a pod that has ended keeps what it had
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}

// readiness sets Started and Ready of the containers.
func (in *statusInput) readiness(s *corev1.PodStatus) {
	set := func(spec *corev1.Container, c *corev1.ContainerStatus) {
		id := trimScheme(c.ContainerID)
		running := c.State.Running != nil
		started := running
		if running && spec.StartupProbe != nil {
			started = in.probes.succeeded(id, startup)
		}
		ready := started
		if ready && spec.ReadinessProbe != nil {
			ready = in.probes.succeeded(id, readiness)
		}
		c.Started, c.Ready = &started, ready
	}
	for i := range s.ContainerStatuses {
		set(findContainer(in.pod, s.ContainerStatuses[i].Name), &s.ContainerStatuses[i])
	}
	for i := range s.InitContainerStatuses {
		c := &s.InitContainerStatuses[i]
		spec := findContainer(in.pod, c.Name)
		set(spec, c)
		if !isSidecar(spec) {
			c.Ready = c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
		}
	}
	for i := range s.EphemeralContainerStatuses {
		s.EphemeralContainerStatuses[i].Started = nil
	}
}

// count is what podPhase knows of the containers of one kind.
type count struct{ pending, running, waiting, stopped, final, succeeded, unknown int }

// podPhase is the pod's phase. ("Pod Lifecycle", "Pod phase".) It is Pending
// until every container has started once; Running while one runs or is going
// to be started again.
func podPhase(pod *corev1.Pod, s *corev1.PodStatus, terminal, initialized bool) corev1.PodPhase {
	var n count
	sidecarsPending := 0
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		status := findStatus(s.InitContainerStatuses, c.Name)
		if isSidecar(c) {
			sidecarsPending += n.sidecar(status)
			continue
		}
		ended := endOf(status)
		if ended == nil {
			n.pending++
		} else if ended.ExitCode != 0 && !restarts(&pod.Spec, c, ended) {
			return corev1.PodFailed
		}
	}
	for i := range pod.Spec.Containers {
		n.regular(&pod.Spec, &pod.Spec.Containers[i], findStatus(s.ContainerStatuses, pod.Spec.Containers[i].Name))
	}
	switch {
	case n.pending > 0 || sidecarsPending > 0 && !initialized || n.waiting > 0:
		return corev1.PodPending
	case n.running > 0 && n.unknown == 0:
		return corev1.PodRunning
	case n.running == 0 && n.stopped > 0 && n.unknown == 0:
		if !terminal && n.stopped != n.final {
			return corev1.PodRunning
		}
		if n.stopped == n.succeeded {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	}
	return corev1.PodPending
}

func (n *count) sidecar(s *corev1.ContainerStatus) (pending int) {
	switch {
	case s == nil:
		n.unknown++
	case s.State.Running != nil:
		n.running++
		if s.Started == nil || !*s.Started {
			return 1
		}
	case s.State.Terminated == nil && s.LastTerminationState.Terminated == nil:
		n.waiting++
		return 1
	}
	return 0
}

func (n *count) regular(spec *corev1.PodSpec, c *corev1.Container, s *corev1.ContainerStatus) {
	ended := endOf(s)
	switch {
	case s == nil:
		n.unknown++
	case s.State.Running != nil:
		n.running++
	case ended != nil:
		n.stopped++
		if !restarts(spec, c, ended) {
			n.final++
		}
		if s.State.Terminated != nil && ended.ExitCode == 0 {
			n.succeeded++
		}
	default:
		n.waiting++
	}
}

// restarts tells whether a container that ended so is started again.
func restarts(spec *corev1.PodSpec, c *corev1.Container, ended *corev1.ContainerStateTerminated) bool {
	return ended.Reason == restartingAll || restartsAfter(spec, c, ended.ExitCode)
}

// endOf is how a container ended that does not run now, or nil.
func endOf(s *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	switch {
	case s == nil || s.State.Running != nil:
		return nil
	case s.State.Terminated != nil:
		return s.State.Terminated
	}
	return s.LastTerminationState.Terminated
}

func findStatus(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	i := slices.IndexFunc(list, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}
