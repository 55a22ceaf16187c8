package kubelet_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/apiserver"
	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/kubelet/volume"
	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
	"github.com/klab-project/klab/netlab/leak"
)

const image = "klab.local/tools:1"

// lab is one node with a real API server on a memory store and a runtime in
// memory, in a synctest bubble.
type lab struct {
	*step.Lab
	t       *testing.T
	admin   kubernetes.Interface
	node    kubernetes.Interface
	runtime *fakeRuntime
	root    string
	config  kubelet.Config
	stop    func()
}

// withoutToken makes pods have no volumes but their own.
func withoutToken(t testing.TB, c kubernetes.Interface) {
	t.Helper()
	accounts := c.CoreV1().ServiceAccounts("default")
	account, err := accounts.Get(context.Background(), "default", metav1.GetOptions{})
	require.NoError(t, err)
	account.AutomountServiceAccountToken = new(false)
	_, err = accounts.Update(context.Background(), account, metav1.UpdateOptions{})
	require.NoError(t, err)
	synctest.Wait() // the server's cache has it
}

// publishRootCA does what a controller does in a cluster: pods mount it.
func publishRootCA(t testing.TB, c kubernetes.Interface) {
	t.Helper()
	bundle := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt", Namespace: "default"}, Data: map[string]string{"ca.crt": "of this test"}}
	_, err := c.CoreV1().ConfigMaps("default").Create(context.Background(), bundle, metav1.CreateOptions{})
	require.NoError(t, err)
}

// volumeRoot is a directory in which a kubelet mounts.
func volumeRoot(t *testing.T) string {
	root, err := leak.Dir("", "klab-v-", cleanMounts)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, cleanMounts(root))
		require.NoError(t, os.RemoveAll(root))
	})
	return root
}

func cleanMounts(root string) error {
	return runtime.Clean(context.Background(), runtime.CleanOptions{Root: root})
}

func inLab(t *testing.T, f func(*lab)) {
	root := volumeRoot(t)
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, root: root, runtime: newFakeRuntime(image)}
		memory := store.NewMemory()
		l.Lab = step.NewLab(step.NewJournal(1, 100_000), step.NewClock(time.Now(), 0))
		server, err := apiserver.New(context.Background(), apiserver.Config{Store: memory, Lab: l.Lab, Now: l.Clock.Now})
		require.NoError(t, err)
		l.admin = client(t, server, "kubectl", "kubernetes-admin", "system:masters")
		withoutToken(t, l.admin)
		l.node = client(t, server, "kubelet", "system:node:node-1", "system:nodes")
		l.config = kubelet.Config{NodeName: "node-1", NodeIP: netip.MustParseAddr("172.30.0.11"), PodCIDR: "10.244.1.0/24",
			Client: l.node, Runtime: l.runtime, Root: root, ServiceHost: "10.96.0.1", ServicePort: 443, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
		l.start()
		defer func() {
			l.stop()
			l.runtime.killAll()
			server.Close()
			require.NoError(t, memory.Close())
			synctest.Wait()
			l.unmount()
		}()
		f(l)
	})
}

func client(t *testing.T, s *apiserver.Server, agent, user string, groups ...string) kubernetes.Interface {
	c, err := kubernetes.NewForConfig(&rest.Config{Host: "http://klab", Transport: step.Transport(s.TransportAs(user, groups...)), UserAgent: agent, QPS: -1})
	require.NoError(t, err)
	return c
}

// start starts the kubelet; stop ends it as a crash would.
func (l *lab) start() {
	ctx, cancel := context.WithCancel(step.With(context.Background(), l.Lab))
	done := make(chan error, 1)
	go func() { done <- kubelet.Run(ctx, l.config) }()
	l.stop = func() {
		cancel()
		require.NoError(l.t, <-done)
	}
	synctest.Wait()
}

// unmount removes the volumes of all pods, as of a node that is taken away.
func (l *lab) unmount() {
	pods, _ := filepath.Glob(l.root + "/pods/*")
	for _, dir := range pods {
		require.NoError(l.t, volume.TearDown(context.Background(), volume.Kernel{}, step.Object{}, dir))
	}
}

// pass lets lab time pass.
func (l *lab) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// run creates a pod on the node and waits until nothing more happens at once.
func (l *lab) run(name string, command string, change ...func(*corev1.Pod)) *corev1.Pod {
	grace := int64(30)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{
		NodeName: "node-1", TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{Name: "main", Image: image, Command: strings.Fields(command)}},
	}}
	for _, f := range change {
		f(pod)
	}
	_, err := l.admin.CoreV1().Pods("default").Create(context.Background(), pod, metav1.CreateOptions{})
	require.NoError(l.t, err)
	synctest.Wait()
	return l.pod(name)
}

func (l *lab) pod(name string) *corev1.Pod {
	pod, err := l.admin.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	require.NoError(l.t, err)
	return pod
}

func (l *lab) main(name string) corev1.ContainerStatus {
	return l.pod(name).Status.ContainerStatuses[0]
}

// reasons are those of the pod's events, in order.
func (l *lab) reasons(name string) []string {
	list, err := l.admin.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	require.NoError(l.t, err)
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Reason)
	}
	return out
}

func TestNodeIsReadyAtOnce(t *testing.T) {
	inLab(t, func(l *lab) {
		node, err := l.admin.CoreV1().Nodes().Get(context.Background(), "node-1", metav1.GetOptions{})
		require.NoError(t, err)
		ready := node.Status.Conditions[len(node.Status.Conditions)-1]
		require.Equal(t, corev1.NodeReady, ready.Type)
		require.Equal(t, corev1.ConditionTrue, ready.Status)
		require.Equal(t, "node-1", node.Labels[corev1.LabelHostname])
		require.Equal(t, "klab-rt://fake", node.Status.NodeInfo.ContainerRuntimeVersion)
		require.Equal(t, "10.244.1.0/24", node.Spec.PodCIDR)

		events, err := l.admin.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Node"})
		require.NoError(t, err)
		var reasons []string
		for _, e := range events.Items {
			reasons = append(reasons, e.Reason)
		}
		require.ElementsMatch(t, []string{"Starting", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"}, reasons)

		l.pass(11 * time.Second)
		lease, err := l.admin.CoordinationV1().Leases("kube-node-lease").Get(context.Background(), "node-1", metav1.GetOptions{})
		require.NoError(t, err)
		first := lease.Spec.RenewTime.Time
		l.pass(10 * time.Second)
		lease, err = l.admin.CoordinationV1().Leases("kube-node-lease").Get(context.Background(), "node-1", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, 10*time.Second, lease.Spec.RenewTime.Sub(first))
	})
}

func TestPodRunsAndEnds(t *testing.T) {
	inLab(t, func(l *lab) {
		pod := l.run("p", "sleep 3600")
		require.Equal(t, corev1.PodRunning, pod.Status.Phase)
		require.True(t, pod.Status.ContainerStatuses[0].Ready)
		require.Equal(t, "10.244.1.2", pod.Status.PodIP)
		require.Equal(t, "172.30.0.11", pod.Status.HostIP)
		require.Equal(t, []string{"RunPodSandbox p", "PullImage " + image, "CreateContainer main 0", "StartContainer main"}, l.runtime.did())
		require.ElementsMatch(t, []string{"Pulling", "Pulled", "Created", "Started"}, l.reasons("p"))

		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{}))
		synctest.Wait()
		require.Equal(t, []string{"StopContainer main TERM", "StopPodSandbox", "RemoveContainer main 0", "RemovePodSandbox"}, l.runtime.did())
		_, err := l.admin.CoreV1().Pods("default").Get(context.Background(), "p", metav1.GetOptions{})
		require.Error(t, err)
		require.Empty(t, l.runtime.sandboxes)
	})
}

func TestGracePeriodOnTheLabClock(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "stubborn")
		l.runtime.did()
		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{}))
		synctest.Wait()
		l.pass(20 * time.Second)
		l.Clock.Hold(true) // somebody thinks
		l.pass(time.Hour)
		require.Equal(t, []string{"StopContainer main TERM"}, l.runtime.did())
		l.Clock.Hold(false)
		l.pass(9 * time.Second)
		require.Empty(t, l.runtime.did())
		l.pass(2 * time.Second)
		require.Contains(t, l.runtime.did(), "StopContainer main KILL")
		require.Empty(t, l.runtime.containers)
	})
}

func TestForceDeleteShortensTheGracePeriod(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "stubborn")
		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{}))
		l.pass(5 * time.Second)
		now := int64(0)
		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{GracePeriodSeconds: &now}))
		l.pass(time.Second)
		require.Empty(t, l.runtime.containers)
		require.Empty(t, l.runtime.sandboxes)
	})
}

func TestCrashLoop(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "exit 3")
		l.pass(time.Second) // the first restart comes at once, the second waits
		s := l.main("p")
		require.Equal(t, "CrashLoopBackOff", s.State.Waiting.Reason)
		require.Contains(t, s.State.Waiting.Message, "back-off 10s restarting failed container=main pod=p_default(")
		require.EqualValues(t, 1, s.RestartCount)
		require.EqualValues(t, 3, s.LastTerminationState.Terminated.ExitCode)
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)
		l.pass(10 * time.Second)
		require.EqualValues(t, 2, l.main("p").RestartCount)
		l.pass(19 * time.Second)
		require.EqualValues(t, 2, l.main("p").RestartCount)
		l.pass(2 * time.Second)
		require.EqualValues(t, 3, l.main("p").RestartCount)
		require.Contains(t, l.reasons("p"), "BackOff")
		require.LessOrEqual(t, len(l.runtime.containers), 2)
	})
}

func TestRestartPolicies(t *testing.T) {
	inLab(t, func(l *lab) {
		never := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
		l.run("ok", "exit 0", never)
		l.run("bad", "exit 7", never)
		l.pass(time.Second)
		require.Equal(t, corev1.PodSucceeded, l.pod("ok").Status.Phase)
		require.Equal(t, "Completed", l.main("ok").State.Terminated.Reason)
		require.Equal(t, corev1.PodFailed, l.pod("bad").Status.Phase)
		require.EqualValues(t, 7, l.main("bad").State.Terminated.ExitCode)
		require.Len(t, l.runtime.containers, 2) // kept for their logs
	})
}

// What ends before anybody has looked is restarted, or ends its pod, all the same.
func TestContainersThatEndAtOnce(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("always", "instantly 1")
		l.pass(time.Second)
		require.EqualValues(t, 1, l.main("always").RestartCount)
		l.run("never", "instantly 2", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
		require.Equal(t, corev1.PodFailed, l.pod("never").Status.Phase)
		l.run("none", "missing", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
		require.Contains(t, l.runtime.did(), "StopPodSandbox")
	})
}

func TestInitContainers(t *testing.T) {
	inLab(t, func(l *lab) {
		always := corev1.ContainerRestartPolicyAlways
		pod := l.run("p", "sleep 3600", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{
				{Name: "first", Image: image, Command: []string{"sleep", "5"}},
				{Name: "side", Image: image, Command: []string{"sleep", "9999"}, RestartPolicy: &always},
			}
		})
		require.Equal(t, corev1.PodPending, pod.Status.Phase)
		require.Equal(t, "PodInitializing", pod.Status.ContainerStatuses[0].State.Waiting.Reason)
		l.pass(6 * time.Second)
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)
		l.runtime.did()
		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{}))
		synctest.Wait()
		require.Equal(t, []string{"StopContainer main TERM", "StopContainer side TERM"}, l.runtime.did()[:2])
	})
}

func TestImages(t *testing.T) {
	inLab(t, func(l *lab) {
		of := func(image string, policy corev1.PullPolicy) func(*corev1.Pod) {
			return func(p *corev1.Pod) {
				p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image, policy
			}
		}
		l.run("never", "sleep 1", of("klab.local/absent:1", corev1.PullNever))
		require.Equal(t, "ErrImageNeverPull", l.main("never").State.Waiting.Reason)
		l.run("absent", "sleep 9999", of("klab.local/absent:1", corev1.PullIfNotPresent))
		require.Equal(t, "ErrImagePull", l.main("absent").State.Waiting.Reason)
		require.Contains(t, l.main("absent").State.Waiting.Message, "not found")
		l.pass(2 * time.Second)
		require.Equal(t, "ImagePullBackOff", l.main("absent").State.Waiting.Reason)
		require.Equal(t, `Back-off pulling image "klab.local/absent:1": ErrImagePull: klab.local/absent:1: not found in the registry`,
			l.main("absent").State.Waiting.Message)
		l.runtime.mu.Lock()
		l.runtime.registry["klab.local/absent:1"] = true
		l.runtime.mu.Unlock()
		l.pass(10 * time.Second)
		require.Equal(t, corev1.PodRunning, l.pod("absent").Status.Phase)
		l.pass(10 * time.Second)
		require.Equal(t, corev1.PodRunning, l.pod("never").Status.Phase)
	})
}

func TestFailures(t *testing.T) {
	inLab(t, func(l *lab) {
		l.runtime.failing(func(call string) error {
			if call == "RunPodSandbox p" {
				return runtime.ErrCreatePodSandbox
			}
			return nil
		})
		l.run("p", "sleep 9999")
		require.Equal(t, corev1.PodPending, l.pod("p").Status.Phase)
		require.Contains(t, l.reasons("p"), "FailedCreatePodSandBox")
		l.runtime.mu.Lock()
		l.runtime.fail = nil
		l.runtime.mu.Unlock()
		l.pass(10 * time.Second)
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)

		l.run("q", "missing")
		require.Equal(t, "RunContainerError", l.main("q").State.Waiting.Reason)
		l.pass(5 * time.Second)
		require.Equal(t, "CrashLoopBackOff", l.main("q").State.Waiting.Reason)

		l.run("r", "sleep 1", func(p *corev1.Pod) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}
		})
		require.Equal(t, "CreateContainerConfigError", l.main("r").State.Waiting.Reason)
		require.Equal(t, `configmap "none" not found`, l.main("r").State.Waiting.Message)
	})
}

// A kubelet that comes back takes up its pods, sees what ended meanwhile, and
// stops what the API has forgotten.
func TestRestartOfTheKubelet(t *testing.T) {
	inLab(t, func(l *lab) {
		never := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
		l.run("stays", "sleep 9999")
		l.run("ends", "sleep 5", never)
		l.run("orphan", "sleep 9999")
		l.runtime.did()
		l.stop()
		synctest.Wait()
		l.pass(time.Minute)
		now := int64(0)
		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "orphan", metav1.DeleteOptions{GracePeriodSeconds: &now}))
		l.start()
		require.Equal(t, corev1.PodRunning, l.pod("stays").Status.Phase)
		require.Zero(t, l.main("stays").RestartCount)
		require.Equal(t, corev1.PodSucceeded, l.pod("ends").Status.Phase)
		require.NotContains(t, l.runtime.did(), "StartContainer main")
		require.Len(t, l.runtime.containers, 2)
		l.pass(time.Second)
	})
}

func TestProbes(t *testing.T) {
	inLab(t, func(l *lab) {
		probe := func(period int32) *corev1.Probe {
			return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"check"}}}, PeriodSeconds: period}
		}
		l.runtime.execCode = 1
		pod := l.run("p", "sleep 9999", func(p *corev1.Pod) { p.Spec.Containers[0].ReadinessProbe = probe(5) })
		require.Equal(t, corev1.PodRunning, pod.Status.Phase)
		require.False(t, pod.Status.ContainerStatuses[0].Ready)
		l.runtime.mu.Lock()
		l.runtime.execCode = 0
		l.runtime.mu.Unlock()
		l.pass(6 * time.Second)
		require.True(t, l.main("p").Ready)

		l.run("q", "sleep 9999", func(p *corev1.Pod) { p.Spec.Containers[0].LivenessProbe = probe(10) })
		l.runtime.mu.Lock()
		l.runtime.execCode = 1
		l.runtime.mu.Unlock()
		l.pass(31 * time.Second)
		require.EqualValues(t, 1, l.main("q").RestartCount)
		require.EqualValues(t, 143, l.main("q").LastTerminationState.Terminated.ExitCode)
		require.Contains(t, l.reasons("q"), "Unhealthy")
		l.pass(21 * time.Second)
		require.Equal(t, "CrashLoopBackOff", l.main("q").State.Waiting.Reason)
		l.pass(10 * time.Second)
		require.EqualValues(t, 2, l.main("q").RestartCount)
		require.False(t, l.main("p").Ready)
	})
}

func TestHooks(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "sleep 9999", func(p *corev1.Pod) {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{
				PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"hello"}}},
				PreStop:   &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 4}},
			}
		})
		require.Contains(t, l.runtime.did(), "Exec hello")
		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{}))
		l.pass(3 * time.Second)
		require.Empty(t, l.runtime.did())
		l.pass(2 * time.Second)
		require.Contains(t, l.runtime.did(), "StopContainer main TERM")
	})
}

func TestAdmission(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("big", "sleep 1", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
		})
		pod := l.pod("big")
		require.Equal(t, corev1.PodFailed, pod.Status.Phase)
		require.Equal(t, "OutOfcpu", pod.Status.Reason)
		require.Contains(t, pod.Status.Message, "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000, used: 0, capacity:")
		require.Empty(t, l.runtime.sandboxes)
	})
}

// A held kubelet does nothing; a failed sync is tried again.
func TestSyncIsAStep(t *testing.T) {
	inLab(t, func(l *lab) {
		l.Gate.SetMode(step.Mode{State: step.Running, Breaks: []step.Match{{Verb: step.Sync}}})
		l.run("p", "sleep 9999")
		pending := l.Gate.Pending()
		require.Len(t, pending, 1)
		require.Equal(t, "pods/default/p", pending[0].Object.String())
		require.Empty(t, l.runtime.did())
		l.Gate.SetMode(step.Mode{State: step.Running})
		synctest.Wait()
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)
	})
}
