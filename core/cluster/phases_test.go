package cluster_test

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/klab-project/klab/core/step"
)

// phaseOfLife is a point in a pod's life at which something is killed, and what
// is to become of the pod then.
type phaseOfLife struct {
	name   string
	pod    func(*corev1.Pod)
	begin  func(*crash, string)   // leads a pod that is there to the point; nil: its creation does
	ready  func(*corev1.Pod) bool // what it is before; nil: Ready
	hold   []step.Match           // the steps before which it stands
	marked string                 // or the mark that says so, after the pod's name
	want   end
	after  map[fault]end // where the fault makes a difference
}

// at names the step of a pod that is held.
func at(verb step.Verb, pod string) []step.Match {
	return []step.Match{{Actor: "kubelet", Verb: verb, Object: "pods/default/" + pod}}
}

func phases() []phaseOfLife {
	runs := end{phase: corev1.PodRunning, starts: 1}
	same := end{phase: corev1.PodRunning, starts: 1, same: true}
	again := end{phase: corev1.PodRunning, starts: 2, restarts: 1}
	gone := end{gone: true, starts: 1}
	rebooted := map[fault]end{powerFails: again}
	// A daemon that dies opens the gate, and its successor kills the agents
	// wherever they are by then: perhaps before a container that they have
	// created is started. As with upstream's kubelet, that counts as a life.
	begins := map[fault]end{daemonDies: {phase: corev1.PodRunning, starts: 1, unborn: 1}}
	return []phaseOfLife{
		{name: "bound", hold: at(step.RunPodSandbox, "bound"), want: runs, after: begins},
		{name: "mounting", hold: at(step.Mount, "mounting"), want: runs, after: begins},
		{name: "connecting", hold: at(step.CNIAdd, "connecting"), want: runs, after: begins},
		{name: "pulling", pod: pulls, hold: []step.Match{{Verb: step.PullImage}}, want: runs, after: begins},
		{name: "connected", hold: at(step.CreateContainer, "connected"), want: runs, after: begins},
		{name: "created", hold: at(step.StartContainer, "created"), want: runs,
			after: map[fault]end{daemonDies: begins[daemonDies], agentDies: {phase: corev1.PodRunning, starts: 1, restarts: 1}}},
		{name: "prepared", pod: initialised, begin: func(c *crash, _ string) { c.mark("initialised") }, ready: beginsInit,
			hold: at(step.CreateContainer, "prepared"), want: runs, after: begins},
		{name: "post-start", pod: hookAtStart, marked: ".hook", want: runs,
			// Who runs the hook has died with klab-rt: it has failed. Of a node
			// without power the API has heard only that a container is created.
			after: map[fault]end{runtimeDies: again, powerFails: {phase: corev1.PodRunning, starts: 2}}},
		{name: "running", pod: probed, begin: nothing, want: same, after: rebooted},
		{name: "inner-root", pod: userNamespace, begin: nothing, want: same, after: rebooted},
		{name: "resizing", pod: sized, begin: resize, hold: at(step.UpdateContainerResources, "resizing"), want: same, after: rebooted},
		{name: "crashed", pod: crashesOnce, begin: exits, hold: at(step.CreateContainer, "crashed"), want: again,
			after: map[fault]end{daemonDies: {phase: corev1.PodRunning, starts: 2, restarts: 1, unborn: 1}}},
		{name: "exited", pod: exits7, begin: exits, hold: at(step.Patch, "exited"),
			want:  end{phase: corev1.PodFailed, code: 7, reason: "Error", starts: 1, logs: "last words"},
			after: map[fault]end{powerFails: {phase: corev1.PodFailed, code: 137, reason: "ContainerStatusUnknown", starts: 1, restarts: 1}}},
		{name: "succeeded", pod: exits0, begin: nothing, ready: ended,
			want:  end{phase: corev1.PodSucceeded, reason: "Completed", starts: 1, logs: "last words"},
			after: map[fault]end{powerFails: {phase: corev1.PodSucceeded, reason: "Completed", starts: 1}}},
		{name: "pre-stop", pod: hookAtEnd, begin: remove, marked: ".hook", want: gone},
		{name: "terminating", pod: stubborn, begin: remove, marked: ".term", want: gone},
		{name: "disconnecting", begin: remove, hold: at(step.CNIDel, "disconnecting"), want: gone},
		{name: "unmounting", begin: remove, hold: at(step.Unmount, "unmounting"), want: gone},
		{name: "stopped", begin: remove, hold: at(step.RemovePodSandbox, "stopped"), want: gone},
		{name: "deleted", begin: remove, hold: at(step.Delete, "deleted"), want: gone},
	}
}

func nothing(*crash, string) {}

func remove(c *crash, name string) {
	require.NoError(c.t, c.client.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{}))
}

func exits(c *crash, name string) { c.mark(name + ".exit") }

func resize(c *crash, name string) {
	patch := []byte(`{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"300m"},"requests":{"cpu":"300m"}}}]}}`)
	_, err := c.client.CoreV1().Pods("default").Patch(context.Background(), name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize")
	require.NoError(c.t, err)
}

func pulls(pod *corev1.Pod) { pod.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways }

func script(text string) []string { return []string{"sh", "-c", text} }

func hook(text string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: script(`echo >> /runs/$POD.hook; ` + text)}}
}

func hookAtStart(pod *corev1.Pod) {
	first := `while [ ! -s /runs/$POD ]; do sleep 0.1; done; ` // the container's own mark
	hook := hook(awaits)
	hook.Exec.Command = script(first + hook.Exec.Command[2])
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook}
}

func hookAtEnd(pod *corev1.Pod) {
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: hook(awaits)}
}

// stubborn hears SIGTERM and stays.
func stubborn(pod *corev1.Pod) {
	pod.Spec.Containers[0].Command = script(`trap "echo > /runs/$POD.term" TERM; ` + begun + `while true; do sleep 1; done`)
}

func initialised(pod *corev1.Pod) {
	first := pod.Spec.Containers[0].DeepCopy()
	first.Name, first.Command = "first", script(`echo > /runs/$POD.begins; while [ ! -e /runs/initialised ]; do sleep 0.1; done`)
	pod.Spec.InitContainers = []corev1.Container{*first}
}

func beginsInit(pod *corev1.Pod) bool {
	s := pod.Status.InitContainerStatuses
	return len(s) == 1 && s[0].State.Running != nil
}

func probed(pod *corev1.Pod) {
	check := &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 20, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	c := &pod.Spec.Containers[0]
	c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = check, check, check
}

func userNamespace(pod *corev1.Pod) { pod.Spec.HostUsers = ptr.To(false) }

func sized(pod *corev1.Pod) {
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
}

// exitsWith ends with a code when it is told to.
func exitsWith(code int) []string {
	return script(fmt.Sprintf(`%s while [ ! -e /runs/$POD.exit ]; do sleep 0.1; done; echo last words; exit %d`, begun, code))
}

func exits7(pod *corev1.Pod) {
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Containers[0].Command = exitsWith(7)
}

func exits0(pod *corev1.Pod) {
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Containers[0].Command = script(begun + "echo last words")
}

// crashesOnce ends when it is told to, and then it stays.
func crashesOnce(pod *corev1.Pod) {
	pod.Spec.Containers[0].Command = script(`[ -e /runs/$POD.exit ] || { ` + exitsWith(3)[2] + `; }; ` + serve)
}
