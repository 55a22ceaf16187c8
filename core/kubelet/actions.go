package kubelet

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podActions is what one turn of a pod's worker is going to do.
type podActions struct {
	// KillPod stops all containers and the sandbox: because it is replaced
	// (then CreateSandbox) or because nothing in it is to run any more.
	KillPod       bool
	CreateSandbox bool
	SandboxID     string // the present one, if any
	Attempt       uint32 // of the sandbox

	Kill           []containerKill
	StartInit      []int // indices of the pod's init containers, in order
	StartEphemeral []int
	Start          []int           // indices of its containers
	Reset          []containerKill // removed, so that all containers start anew
	Resize         resizePlan
}

// containerKill is a container that runs and must not, and why.
type containerKill struct {
	ID, Name, Message string
	Probe             probeKind // the probe that failed, if that is the reason
}

// verdicts are the probe results by container id, as far as there are any.
type verdicts map[string]map[probeKind]bool

func (v verdicts) failed(id string, kind probeKind) bool {
	ok, known := v[id][kind]
	return known && !ok
}

func (v verdicts) succeeded(id string, kind probeKind) bool { return v[id][kind] }

// computeActions decides what is to be done so that the pod becomes what its
// spec says. It looks at nothing but its arguments.
func computeActions(pod *corev1.Pod, state *podState, probes verdicts) podActions {
	replace, attempt, id, _ := sandboxChanged(pod, state)
	a := podActions{KillPod: replace, CreateSandbox: replace, SandboxID: id, Attempt: attempt}
	if a.Reset = resets(pod, state); len(a.Reset) > 0 {
		a.KillPod, a.CreateSandbox = false, false
		return a
	}
	if replace {
		a.startAnew(pod, state)
		return a
	}
	for i := range pod.Spec.EphemeralContainers {
		if state.latest(pod.Spec.EphemeralContainers[i].Name) == nil {
			a.StartEphemeral = append(a.StartEphemeral, i)
		}
	}
	initialized := a.initContainers(pod, state, probes)
	if a.KillPod || !initialized {
		return a
	}
	keep := 0
	for i := range pod.Spec.Containers {
		if a.container(pod, i, state, probes) {
			keep++
		}
	}
	if keep == 0 && len(a.Start) == 0 {
		a.KillPod = true
		a.StartInit = nil // sidecars do not keep a pod alive
	}
	a.Resize.starting(pod, a.Start, state.actuated)
	return a
}

// Messages of the condition PodReadyToStartContainers.
const (
	noSandbox        = "no pod sandbox exists"
	sandboxNotReady  = "pod sandbox is not ready"
	sandboxNoAddress = "pod sandbox has no IP address"
)

// sandboxChanged tells whether the pod needs a new sandbox, and why.
func sandboxChanged(pod *corev1.Pod, state *podState) (changed bool, attempt uint32, id, why string) {
	if len(state.sandboxes) == 0 {
		return true, 0, "", noSandbox
	}
	box := state.sandboxes[0]
	attempt = box.GetMetadata().GetAttempt()
	switch {
	case box.State != cri.PodSandboxState_SANDBOX_READY:
		return true, attempt + 1, box.Id, sandboxNotReady
	case !pod.Spec.HostNetwork && box.Network != nil && box.Network.Ip == "":
		return true, attempt + 1, box.Id, sandboxNoAddress
	}
	return false, attempt, box.Id, ""
}

// startAnew plans the first containers of a sandbox that is to be created.
func (a *podActions) startAnew(pod *corev1.Pod, state *podState) {
	if pod.Spec.RestartPolicy == corev1.RestartPolicyNever && a.Attempt != 0 && len(state.containers) != 0 {
		a.CreateSandbox = false // it ran, and does not run twice
		return
	}
	var start []int
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		latest := state.latest(c.Name)
		done := latest != nil && latest.exited() && latest.ExitCode == 0
		if done && restartPolicy(&pod.Spec, c) == corev1.RestartPolicyOnFailure {
			continue
		}
		start = append(start, i)
	}
	if len(start) == 0 && state.everStarted(pod) {
		a.CreateSandbox = false
		return
	}
	if len(pod.Spec.InitContainers) != 0 {
		a.StartInit = []int{0}
		return
	}
	a.Start = start
}

// container plans for one regular container; it returns whether it is kept.
func (a *podActions) container(pod *corev1.Pod, i int, state *podState, probes verdicts) (keep bool) {
	c := &pod.Spec.Containers[i]
	now := state.latest(c.Name)
	if now == nil || !now.running() {
		if shouldStart(pod, c, state) {
			a.Start = append(a.Start, i)
		}
		return false
	}
	kill := containerKill{ID: now.Id, Name: c.Name}
	restart := restartPolicy(&pod.Spec, c) != corev1.RestartPolicyNever
	switch {
	case changed(c, now):
		kill.Message, restart = fmt.Sprintf("Container %s definition changed", c.Name), true
	case probes.failed(now.Id, liveness):
		kill.Message, kill.Probe = fmt.Sprintf("Container %s failed liveness probe", c.Name), liveness
	case probes.failed(now.Id, startup):
		kill.Message, kill.Probe = fmt.Sprintf("Container %s failed startup probe", c.Name), startup
	case a.Resize.container(pod, c, now, state.actuated):
		kill.Message, restart = fmt.Sprintf("Container %s resize requires restart", c.Name), false
		a.Start = append(a.Start, i)
	default:
		return true
	}
	if restart {
		kill.Message += ", will be restarted"
		a.Start = append(a.Start, i)
	}
	a.Kill = append(a.Kill, kill)
	return false
}

func changed(c *corev1.Container, now *containerState) bool {
	hash := now.Annotations[annotationHash]
	return hash != "" && hash != containerHash(c)
}

// initContainers plans the next step of initialisation and keeps sidecars
// running; it returns whether initialisation is over. It walks backwards: the
// last init container that was started says how far the pod has come, also
// when the runtime has forgotten the ones before.
func (a *podActions) initContainers(pod *corev1.Pod, state *podState, probes verdicts) (over bool) {
	inits := pod.Spec.InitContainers
	if len(inits) == 0 {
		return true
	}
	over = state.started(pod)
	seen := over // a later container exists, so this one was initialised before
	for i := len(inits) - 1; i >= 0; i-- {
		c := &inits[i]
		now := state.active(c.Name)
		if now == nil {
			if seen && isSidecar(c) {
				a.StartInit = append(a.StartInit, i)
			}
			continue
		}
		if seen && !isSidecar(c) {
			continue
		}
		done, fatal := a.initContainer(pod, i, now, state, probes)
		if fatal {
			a.KillPod, a.StartInit = true, nil
			return false
		}
		if done && i == len(inits)-1 {
			over = true
		} else if done && !seen {
			a.StartInit = append(a.StartInit, i+1)
		}
		seen = true
	}
	if !seen {
		a.StartInit = append(a.StartInit, 0)
	}
	slices.Sort(a.StartInit)
	a.StartInit = slices.Compact(a.StartInit)
	return over
}

// initContainer plans for one init container that exists. done means that the
// next one may start; fatal that the pod has failed.
func (a *podActions) initContainer(pod *corev1.Pod, i int, now *containerState, state *podState, probes verdicts) (done, fatal bool) {
	c := &pod.Spec.InitContainers[i]
	sidecar := isSidecar(c)
	switch now.State {
	case cri.ContainerState_CONTAINER_CREATED:
		a.StartInit = append(a.StartInit, i)
	case cri.ContainerState_CONTAINER_RUNNING:
		return a.runningInit(pod, i, now, state, probes), false
	case cri.ContainerState_CONTAINER_EXITED:
		if sidecar {
			a.StartInit = append(a.StartInit, i)
			return false, false
		}
		if now.ExitCode == 0 {
			return true, false
		}
		if !restartsAfter(&pod.Spec, c, now.ExitCode) {
			return false, true
		}
		a.StartInit = append(a.StartInit, i)
	default:
		if !sidecar && restartPolicy(&pod.Spec, c) == corev1.RestartPolicyNever {
			return false, true
		}
		a.Kill = append(a.Kill, containerKill{ID: now.Id, Name: c.Name,
			Message: fmt.Sprintf("Init container is in %q state, try killing it before restart", "unknown")})
		a.StartInit = append(a.StartInit, i)
	}
	return false, false
}

// runningInit plans for an init container that runs: only a sidecar can be
// done, namely when it has started.
func (a *podActions) runningInit(pod *corev1.Pod, i int, now *containerState, state *podState, probes verdicts) (done bool) {
	c := &pod.Spec.InitContainers[i]
	if !isSidecar(c) {
		return false
	}
	kill := containerKill{ID: now.Id, Name: c.Name}
	if c.StartupProbe != nil && !probes.succeeded(now.Id, startup) {
		if probes.failed(now.Id, startup) {
			kill.Message, kill.Probe = fmt.Sprintf("Init container %s failed startup probe", c.Name), startup
			a.Kill, a.StartInit = append(a.Kill, kill), append(a.StartInit, i)
		}
		return false
	}
	switch {
	case changed(c, now):
		kill.Message = fmt.Sprintf("Init container %s definition changed", c.Name)
	case probes.failed(now.Id, liveness):
		kill.Message, kill.Probe = fmt.Sprintf("Init container %s failed liveness probe", c.Name), liveness
	case a.Resize.container(pod, c, now, state.actuated):
		kill.Message = fmt.Sprintf("Init container %s resize requires restart", c.Name)
	default:
		return true
	}
	a.Kill, a.StartInit = append(a.Kill, kill), append(a.StartInit, i)
	return true
}

// plan says the actions in words, for people.
func (a *podActions) plan(pod *corev1.Pod) []string {
	var lines []string
	if a.KillPod && a.SandboxID != "" {
		lines = append(lines, "stop the sandbox")
	}
	for _, k := range a.Reset {
		lines = append(lines, fmt.Sprintf("remove container %s: all containers restart", k.Name))
	}
	for _, k := range a.Kill {
		lines = append(lines, fmt.Sprintf("stop container %s: %s", k.Name, k.Message))
	}
	if a.CreateSandbox {
		lines = append(lines, "create the sandbox")
	}
	lines = append(lines, a.Resize.lines()...)
	for _, i := range a.StartEphemeral {
		lines = append(lines, "start ephemeral container "+pod.Spec.EphemeralContainers[i].Name)
	}
	for _, i := range a.StartInit {
		lines = append(lines, "start init container "+pod.Spec.InitContainers[i].Name)
	}
	for _, i := range a.Start {
		lines = append(lines, "start container "+pod.Spec.Containers[i].Name)
	}
	return lines
}
