package kubelet_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/step"
)

// with adds sidecars, each with a command.
func withSidecars(command string, names ...string) func(*corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	return func(p *corev1.Pod) {
		for _, name := range names {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{
				Name: name, Image: image, Command: strings.Fields(command), RestartPolicy: &always})
		}
	}
}

// only keeps the calls that begin with one of the words.
func only(calls []string, words ...string) []string {
	var out []string
	for _, c := range calls {
		for _, w := range words {
			if strings.HasPrefix(c, w) {
				out = append(out, c)
			}
		}
	}
	return out
}

func (l *lab) delete(name string, grace int64) {
	require.NoError(l.t, l.admin.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &grace}))
	synctest.Wait()
}

// Sidecars start before the rest, each when the one before runs, and end after
// it in reverse order; their pre-stop hooks run at once.
func TestSidecars(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "stubborn", withSidecars("sleep 1000", "first", "second"), func(p *corev1.Pod) {
			p.Spec.InitContainers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"goodbye"}}}}
		})
		l.pass(time.Second)
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)
		require.Equal(t, []string{"StartContainer first", "StartContainer second", "StartContainer main"}, only(l.runtime.did(), "StartContainer"))

		l.delete("p", 20)
		l.pass(time.Second)
		require.ElementsMatch(t, []string{"Exec goodbye", "StopContainer main TERM"}, only(l.runtime.did(), "Exec", "StopContainer"))
		l.pass(20 * time.Second)
		require.Equal(t, "StopContainer main KILL", only(l.runtime.did(), "StopContainer main", "StopPodSandbox")[0])
	})
	inLab(t, func(l *lab) {
		l.run("p", "sleep 1000", withSidecars("sleep 1000", "first", "second"))
		l.pass(time.Second)
		l.runtime.did()
		l.delete("p", 20)
		l.pass(time.Second)
		require.Equal(t, []string{"StopContainer main TERM", "StopContainer second TERM", "StopContainer first TERM"}, only(l.runtime.did(), "StopContainer"))
	})
}

// A rule restarts all containers in the sandbox that there is, init
// containers first, and counts that as one restart of each.
func TestRestartAllContainers(t *testing.T) {
	never := corev1.ContainerRestartPolicyNever
	inLab(t, func(l *lab) {
		l.run("p", "exit 88", withSidecars("sleep 1000", "beside"), func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			c := &p.Spec.Containers[0]
			c.RestartPolicy = &never
			c.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{88}}}}
		})
		l.runtime.did()
		time.Sleep(1500 * time.Microsecond) // it ends once
		synctest.Wait()
		did := only(l.runtime.did(), "RemoveContainer", "CreateContainer", "RunPodSandbox")
		require.Equal(t, []string{"RemoveContainer beside 0", "RemoveContainer main 0", "CreateContainer beside 1", "CreateContainer main 1"}, did[:4])
		pod := l.pod("p")
		require.Equal(t, corev1.PodRunning, pod.Status.Phase)
		require.EqualValues(t, 1, pod.Status.ContainerStatuses[0].RestartCount)
		require.EqualValues(t, 1, pod.Status.InitContainerStatuses[0].RestartCount)
		require.NotNil(t, pod.Status.ContainerStatuses[0].LastTerminationState.Terminated)
		require.Equal(t, corev1.ConditionFalse, condition(pod, corev1.AllContainersRestarting).Status)
		l.delete("p", 0)
		l.pass(3 * time.Second)
	})
}

// How long a container that crashes has to wait is kept over the kubelet's end.
func TestBackOffOutlivesTheKubelet(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "exit 1")
		l.pass(time.Second + 11*time.Second + 21*time.Second) // restarts at once, after 10 s and after 20 s
		require.EqualValues(t, 3, l.main("p").RestartCount)
		l.stop()
		l.start()
		l.pass(35 * time.Second)
		require.EqualValues(t, 3, l.main("p").RestartCount)
		require.Contains(t, l.main("p").State.Waiting.Message, "back-off 40s restarting failed container=main")
		l.pass(10 * time.Second)
		require.EqualValues(t, 4, l.main("p").RestartCount)
	})
}

// Readiness is probed while a pod ends; liveness is not.
func TestProbesWhileThePodEnds(t *testing.T) {
	inLab(t, func(l *lab) {
		probe := func(command string) *corev1.Probe {
			return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{command}}}}
		}
		l.run("p", "stubborn", func(p *corev1.Pod) {
			p.Spec.Containers[0].ReadinessProbe, p.Spec.Containers[0].LivenessProbe = probe("ready?"), probe("alive?")
		})
		l.pass(2 * time.Second)
		require.True(t, l.main("p").Ready)
		l.delete("p", 30)
		l.pass(time.Second)
		require.True(t, l.main("p").Ready, "it still serves")
		l.runtime.did()
		l.runtime.mu.Lock()
		l.runtime.execCode = 1
		l.runtime.mu.Unlock()
		l.pass(2 * time.Second)
		require.False(t, l.main("p").Ready)
		require.NotNil(t, l.main("p").State.Running)
		require.Empty(t, only(l.runtime.did(), "Exec alive?"))

		var kinds, states []string
		events, err := l.Recorder.(*step.Journal).Next(context.Background(), 1)
		require.NoError(t, err)
		for _, e := range events {
			var probe step.ProbeDetail
			var worker step.WorkerDetail
			switch e.Verb {
			case step.Probe:
				require.NoError(t, e.Decode(&probe))
				kinds = append(kinds, probe.Kind+" "+probe.Result)
			case step.Worker:
				require.NoError(t, e.Decode(&worker))
				states = append(states, worker.State)
			}
		}
		require.ElementsMatch(t, []string{"readiness success", "liveness success", "readiness failure"}, kinds, "what is the same is said once")
		require.Equal(t, []string{"terminating"}, states)
	})
}

// Each pod has ids of its own, and keeps them when the kubelet starts anew.
func TestUserNamespaceRanges(t *testing.T) {
	inLab(t, func(l *lab) {
		own := func(p *corev1.Pod) { no := false; p.Spec.HostUsers = &no }
		first := func() map[string]uint32 {
			ids := map[string]uint32{}
			for _, b := range l.runtime.sandboxes {
				o := b.config.Linux.SecurityContext.NamespaceOptions.UsernsOptions
				require.Equal(t, cri.NamespaceMode_POD, o.Mode)
				require.EqualValues(t, 65536, o.Uids[0].Length)
				require.Equal(t, o.Uids[0].HostId, o.Gids[0].HostId)
				ids[b.config.Metadata.Name] = o.Uids[0].HostId
			}
			for _, c := range l.runtime.containers {
				o := c.config.Linux.SecurityContext.NamespaceOptions.UsernsOptions
				require.Equal(t, ids[l.runtime.sandboxes[c.sandboxID].config.Metadata.Name], o.Uids[0].HostId)
			}
			return ids
		}
		l.run("a", "sleep 1000", own)
		l.run("b", "sleep 1000", own)
		l.stop()
		l.start()
		l.run("c", "sleep 1000", own)
		ids := first()
		require.Len(t, ids, 3)
		require.NotEqual(t, ids["a"], ids["b"])
		require.NotEqual(t, ids["a"], ids["c"])
		require.NotEqual(t, ids["b"], ids["c"])
		for _, id := range ids {
			require.Zero(t, id%65536)
			require.GreaterOrEqual(t, id, uint32(65536))
		}
		l.delete("b", 0)
		l.pass(3 * time.Second)
		was := ids["b"]
		l.run("d", "sleep 1000", own)
		require.Equal(t, was, first()["d"], "what was given back is given again")
	})
}

// activeDeadlineSeconds may become shorter while the pod runs.
func TestDeadlineThatChanges(t *testing.T) {
	inLab(t, func(l *lab) {
		long, short := int64(1000), int64(20)
		l.run("p", "sleep 5000", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &long })
		l.pass(5 * time.Second)
		pod := l.pod("p")
		pod.Spec.ActiveDeadlineSeconds = &short
		_, err := l.admin.CoreV1().Pods("default").Update(context.Background(), pod, metav1.UpdateOptions{})
		require.NoError(t, err)
		l.pass(10 * time.Second)
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)
		l.pass(6 * time.Second)
		pod = l.pod("p")
		require.Equal(t, corev1.PodFailed, pod.Status.Phase)
		require.Equal(t, "DeadlineExceeded", pod.Status.Reason)
		require.Equal(t, "Pod was active on the node longer than the specified deadline", pod.Status.Message)
	})
}
