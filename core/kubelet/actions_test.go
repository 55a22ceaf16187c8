package kubelet

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Case is a pod, what the runtime has of it, and what the worker is to do.
type Case struct {
	name   string
	policy corev1.RestartPolicy
	inits  []corev1.Container
	change func(*corev1.Pod)
	state  *podState
	probes verdicts
	plan   []string
	phase  corev1.PodPhase // that goes with it
}

// stateWith is a pod with one sandbox and these containers.
func stateWith(ready bool, containers ...*containerState) *podState {
	box := &cri.PodSandboxStatus{Id: "box", Metadata: &cri.PodSandboxMetadata{}, Network: &cri.PodSandboxNetworkStatus{Ip: "10.244.1.2"}}
	if !ready {
		box.State = cri.PodSandboxState_SANDBOX_NOTREADY
	}
	s := &podState{sandboxes: []*cri.PodSandboxStatus{box}, containers: containers}
	s.sort()
	return s
}

func container(name string, attempt uint32, state cri.ContainerState, code int32) *containerState {
	return &containerState{sandboxID: "box", ContainerStatus: &cri.ContainerStatus{
		Id: name + "-id", Metadata: &cri.ContainerMetadata{Name: name, Attempt: attempt}, State: state, ExitCode: code,
		StartedAt: 1e9, Image: &cri.ImageSpec{Image: "i"},
	}}
}

func up(name string) *containerState {
	return container(name, 0, cri.ContainerState_CONTAINER_RUNNING, 0)
}

func down(name string, code int32) *containerState {
	return container(name, 0, cri.ContainerState_CONTAINER_EXITED, code)
}

func sidecar(name string) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	return corev1.Container{Name: name, Image: "i", RestartPolicy: &always}
}

func podOf(c *Case) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u"},
		Spec: corev1.PodSpec{RestartPolicy: c.policy, InitContainers: c.inits,
			Containers: []corev1.Container{{Name: "main", Image: "i"}}},
	}
	if c.change != nil {
		c.change(pod)
	}
	return pod
}

func TestComputeActions(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	plain := corev1.Container{Name: "init", Image: "i"}
	two := func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "i"})
	}
	cases := []Case{
		{name: "new pod", policy: always, state: &podState{}, plan: []string{"create the sandbox", "start container main"}, phase: "Pending"},
		{name: "new pod with init", policy: always, inits: []corev1.Container{plain}, state: &podState{},
			plan: []string{"create the sandbox", "start init container init"}, phase: "Pending"},
		{name: "runs", policy: always, state: stateWith(true, up("main")), phase: "Running"},
		{name: "one of two runs", policy: always, change: two, state: stateWith(true, up("main")),
			plan: []string{"start container other"}, phase: "Pending"},
		{name: "ended, always", policy: always, state: stateWith(true, down("main", 0)), plan: []string{"start container main"}, phase: "Running"},
		{name: "failed, on failure", policy: onFailure, state: stateWith(true, down("main", 1)), plan: []string{"start container main"}, phase: "Running"},
		{name: "ended, on failure", policy: onFailure, state: stateWith(true, down("main", 0)), plan: []string{"stop the sandbox"}, phase: "Succeeded"},
		{name: "failed, never", policy: never, state: stateWith(true, down("main", 3)), plan: []string{"stop the sandbox"}, phase: "Failed"},
		{name: "one ended, one runs", policy: never, change: two, state: stateWith(true, down("main", 0), up("other")), phase: "Running"},
		{name: "sandbox lost", policy: always, state: stateWith(false, down("main", 255)),
			plan: []string{"stop the sandbox", "create the sandbox", "start container main"}, phase: "Running"},
		{name: "sandbox lost, never", policy: never, state: stateWith(false, down("main", 255)), plan: []string{"stop the sandbox"}, phase: "Failed",
			change: func(*corev1.Pod) {}},
		{name: "rule restarts one code", policy: never, state: stateWith(true, down("main", 42)), plan: []string{"start container main"}, phase: "Running",
			change: func(p *corev1.Pod) {
				p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart,
					ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
			}},
		{name: "image changed", policy: always, state: stateWith(true, hashed(up("main"), "old")),
			plan: []string{"stop container main: Container main definition changed, will be restarted", "start container main"}, phase: "Running"},
		{name: "liveness failed", policy: always, state: stateWith(true, up("main")), probes: verdicts{"main-id": {liveness: false}},
			plan: []string{"stop container main: Container main failed liveness probe, will be restarted", "start container main"}, phase: "Running"},
		{name: "liveness failed, never", policy: never, state: stateWith(true, up("main")), probes: verdicts{"main-id": {liveness: false}},
			plan: []string{"stop the sandbox", "stop container main: Container main failed liveness probe"}, phase: "Running"},

		{name: "init runs", policy: always, inits: []corev1.Container{plain}, state: stateWith(true, up("init")), phase: "Pending"},
		{name: "init done", policy: always, inits: []corev1.Container{plain}, state: stateWith(true, down("init", 0)),
			plan: []string{"start container main"}, phase: "Pending"},
		{name: "init failed", policy: always, inits: []corev1.Container{plain}, state: stateWith(true, down("init", 1)),
			plan: []string{"start init container init"}, phase: "Pending"},
		{name: "init failed, never", policy: never, inits: []corev1.Container{plain}, state: stateWith(true, down("init", 1)),
			plan: []string{"stop the sandbox"}, phase: "Failed"},
		{name: "second init", policy: always, inits: []corev1.Container{plain, {Name: "init2", Image: "i"}}, state: stateWith(true, down("init", 0)),
			plan: []string{"start init container init2"}, phase: "Pending"},
		{name: "sidecar runs", policy: always, inits: []corev1.Container{sidecar("side")}, state: stateWith(true, up("side")),
			plan: []string{"start container main"}, phase: "Pending"},
		{name: "sidecar waits for its startup probe", policy: always, inits: []corev1.Container{probed(sidecar("side"))}, state: stateWith(true, up("side")), phase: "Pending"},
		{name: "sidecar started", policy: always, inits: []corev1.Container{probed(sidecar("side"))}, state: stateWith(true, up("side")),
			probes: verdicts{"side-id": {startup: true}}, plan: []string{"start container main"}, phase: "Pending"},
		{name: "sidecar ended beside main", policy: always, inits: []corev1.Container{sidecar("side")}, state: stateWith(true, up("main"), down("side", 1)),
			plan: []string{"start init container side"}, phase: "Running"},
		{name: "sidecar does not keep the pod", policy: never, inits: []corev1.Container{sidecar("side")}, state: stateWith(true, down("main", 0), up("side")),
			plan: []string{"stop the sandbox"}, phase: "Running"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := podOf(&c)
			actions := computeActions(pod, c.state, c.probes)
			require.Equal(t, c.plan, actions.plan(pod))
			status := podStatus(&statusInput{pod: pod, state: c.state, old: &corev1.PodStatus{}, probes: c.probes})
			require.Equal(t, c.phase, status.Phase)
		})
	}
}

func hashed(c *containerState, hash string) *containerState {
	c.Annotations = map[string]string{annotationHash: hash}
	return c
}

func probed(c corev1.Container) corev1.Container {
	c.StartupProbe = &corev1.Probe{}
	return c
}

func TestPodStatusConditions(t *testing.T) {
	pod := podOf(&Case{policy: corev1.RestartPolicyAlways})
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{}
	state := stateWith(true, up("main"))
	in := &statusInput{pod: pod, state: state, old: &corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: "mine/gate", Status: "True"}}}, hostIPs: []string{"172.30.0.11"}}
	status := podStatus(in)
	require.Equal(t, "10.244.1.2", status.PodIP)
	require.Equal(t, "172.30.0.11", status.HostIP)
	require.False(t, status.ContainerStatuses[0].Ready)
	got := map[corev1.PodConditionType]string{}
	for _, c := range status.Conditions {
		got[c.Type] = string(c.Status) + " " + c.Reason + " " + c.Message
	}
	require.Equal(t, map[corev1.PodConditionType]string{
		"mine/gate": "True  ", "PodReadyToStartContainers": "True  ", "Initialized": "True  ", "PodScheduled": "True  ",
		"Ready":           "False ContainersNotReady containers with unready status: [main]",
		"ContainersReady": "False ContainersNotReady containers with unready status: [main]",
	}, got)

	in.probes = verdicts{"main-id": {readiness: true}}
	require.True(t, podStatus(in).ContainerStatuses[0].Ready)
	pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "mine/other"}}
	status = podStatus(in)
	require.Contains(t, status.Conditions[3].Message, `corresponding condition of pod readiness gate "mine/other" does not exist.`)
}

func TestWaitingReasonBecomesTheState(t *testing.T) {
	pod := podOf(&Case{policy: corev1.RestartPolicyAlways})
	status := podStatus(&statusInput{pod: pod, state: stateWith(true, down("main", 7)), old: &corev1.PodStatus{},
		waiting: map[string]waiting{"main": {"CrashLoopBackOff", "back-off 10s"}}})
	s := status.ContainerStatuses[0]
	require.Equal(t, "CrashLoopBackOff", s.State.Waiting.Reason)
	require.EqualValues(t, 7, s.LastTerminationState.Terminated.ExitCode)
	require.Equal(t, "Error", s.LastTerminationState.Terminated.Reason)
	require.Equal(t, corev1.PodRunning, status.Phase)
}
