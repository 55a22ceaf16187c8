package kubelet_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/klab-project/klab/core/apiserver"
	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/kubelet/eviction"
	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/runtime/shim"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
	"github.com/klab-project/klab/netlab/leak"
)

// machine is one node with everything real: an API server over HTTP, klab-rt
// and its containers. Only the store is in memory, and pods have no links.
type machine struct {
	t      testing.TB
	ctx    context.Context
	config *rest.Config
	client kubernetes.Interface
	image  string
	node   kubelet.Config
	change func(*kubelet.Config) // before the first start
	stop   func()
}

// loopbackOnly is a pod network without links: pods are known by an address
// that nobody can reach.
type loopbackOnly struct{}

func (loopbackOnly) Attach(context.Context, runtime.PodNet) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("10.244.1.2")}, nil
}

func (loopbackOnly) Ready(context.Context) error                  { return nil }
func (loopbackOnly) Detach(context.Context, runtime.PodNet) error { return nil }

var programs struct {
	sync.Once
	dir, klabRT, tool string
	err               error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		_ = os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// buildPrograms makes klab-rt and the tool of the test image, once; KLAB_RT
// and KLAB_TEST_TOOL name those that exist already, as in a virtual machine.
func buildPrograms(t testing.TB) {
	programs.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "klab-kubelet-programs-"); programs.err != nil {
			return
		}
		if programs.tool = os.Getenv("KLAB_TEST_TOOL"); programs.tool == "" {
			programs.tool = filepath.Join(programs.dir, "tool")
			programs.err = goBuild("0", programs.tool, "../runtime/testdata/tool")
		}
		if programs.klabRT = os.Getenv("KLAB_RT"); programs.err == nil && programs.klabRT == "" {
			programs.klabRT = filepath.Join(programs.dir, "klab-rt")
			programs.err = goBuild("1", programs.klabRT, "../../cmd/klab-rt", "-tags", "netgo osusergo seccomp",
				"-ldflags", "-s -w -linkmode external -extldflags -static")
		}
	})
	require.NoError(t, programs.err)
}

func goBuild(cgo, out, pkg string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", out, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, output)
	}
	return nil
}

// configured lets the kubelet of a new machine have another configuration.
func configured(change func(*kubelet.Config)) func(*machine, runtime.Runtime) runtime.Runtime {
	return func(m *machine, rt runtime.Runtime) runtime.Runtime {
		m.change = change
		return rt
	}
}

// cleanMachine removes everything of a machine; its cgroup has the directory's name.
func cleanMachine(root string) error {
	return runtime.Clean(context.Background(), runtime.CleanOptions{Root: root, CgroupParent: "/" + filepath.Base(root)})
}

// newMachine starts a machine whose kubelet has the runtime as over gives it.
func newMachine(t testing.TB, over ...func(*machine, runtime.Runtime) runtime.Runtime) *machine {
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	buildPrograms(t)
	root, err := leak.Dir("", "klab-k-", cleanMachine)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(root, 0o711)) // root in a user namespace is nobody here
	cgroup := "/" + filepath.Base(root)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	m := &machine{t: t, ctx: ctx, image: pushTool(t)}
	up := make(chan error, 100)
	var supervisor sync.WaitGroup
	supervisor.Go(func() {
		shim.Supervise(ctx, shim.Options{Program: programs.klabRT, Root: root}, func(err error) { up <- err })
	})
	t.Cleanup(func() {
		cancel()
		supervisor.Wait()
		require.NoError(t, cleanMachine(root))
		require.NoError(t, os.RemoveAll(root))
	})
	require.NoError(t, <-up)

	lab := step.NewLab(step.NewJournal(1, 100_000), step.NewClock(time.Now(), 0))
	memory := store.NewMemory()
	server, err := apiserver.New(ctx, apiserver.Config{Store: memory, Lab: lab})
	require.NoError(t, err)
	web := httptest.NewServer(server.Handler())
	m.config = &rest.Config{Host: web.URL, QPS: -1, UserAgent: "kubectl"}
	m.client, err = kubernetes.NewForConfig(m.config)
	require.NoError(t, err)
	publishRootCA(t, m.client)
	rt, err := runtime.Open(ctx, runtime.Config{Root: root, CgroupParent: cgroup, Network: loopbackOnly{}, Patience: time.Minute})
	require.NoError(t, err)
	node, err := kubernetes.NewForConfig(&rest.Config{Host: web.URL, QPS: -1, UserAgent: "kubelet",
		WrapTransport: step.Transport})
	require.NoError(t, err)
	used := runtime.Runtime(rt)
	for _, f := range over {
		used = f(m, used)
	}
	m.node = kubelet.Config{NodeName: "node-1", NodeIP: netip.MustParseAddr("127.0.0.1"), Client: node, Runtime: runtime.Steps(used, "node-1"),
		Root: root + "/kubelet", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		// However full the machine is.
		Resources: kubelet.Resources{CgroupRoot: cgroup, Eviction: eviction.Config{Hard: map[string]string{"memory.available": "1Mi"}}}}
	if m.change != nil {
		m.change(&m.node)
	}
	m.start(lab)
	t.Cleanup(func() {
		m.stop()
		rt.Close()
		web.CloseClientConnections()
		server.Close()
		web.Close()
		require.NoError(t, memory.Close())
	})
	return m
}

func (m *machine) start(lab *step.Lab) {
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(m.t, err)
	m.node.Listen = listen
	ctx, cancel := context.WithCancel(step.With(m.ctx, lab))
	done := make(chan error, 1)
	go func() {
		defer close(done) // stopping again does not wait
		done <- kubelet.Run(ctx, m.node)
	}()
	m.stop = func() {
		cancel()
		require.NoError(m.t, <-done)
	}
}

// pushTool serves an image with the tool at /bin/tool from a registry on loopback.
func pushTool(t testing.TB) string {
	content, err := os.ReadFile(programs.tool)
	require.NoError(t, err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "bin/", Mode: 0o755, Typeflag: tar.TypeDir}, {Name: "etc/", Mode: 0o755, Typeflag: tar.TypeDir},
		{Name: "dev/", Mode: 0o755, Typeflag: tar.TypeDir},
		{Name: "bin/tool", Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg},
	} {
		require.NoError(t, w.WriteHeader(&h))
	}
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	require.NoError(t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	require.NoError(t, err)
	img, err = mutate.Config(img, v1.Config{Entrypoint: []string{"/bin/tool"}, Env: []string{"PATH=/bin"}})
	require.NoError(t, err)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/test/tool:1")
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
	return ref.Name()
}

// run creates a pod and waits until cond holds.
func (m *machine) run(name string, args []string, change ...func(*corev1.Pod)) *corev1.Pod {
	grace := int64(1)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{
		NodeName: "node-1", TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{Name: "main", Image: m.image, Args: args, ImagePullPolicy: corev1.PullIfNotPresent}},
	}}
	for _, f := range change {
		f(pod)
	}
	made, err := m.client.CoreV1().Pods("default").Create(m.ctx, pod, metav1.CreateOptions{})
	require.NoError(m.t, err)
	return made
}

// wait waits until the pod is as cond wants it.
func (m *machine) wait(name string, cond func(*corev1.Pod) bool) *corev1.Pod {
	w, err := m.client.CoreV1().Pods("default").Watch(m.ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	require.NoError(m.t, err)
	defer w.Stop()
	var last *corev1.Pod
	for {
		select {
		case e, more := <-w.ResultChan():
			require.True(m.t, more, "the watch of pod %s has ended", name)
			if pod, ok := e.Object.(*corev1.Pod); ok {
				last = pod
			}
			if cond(last) {
				return last
			}
		case <-time.After(time.Minute):
			require.FailNow(m.t, "the pod did not become what was waited for", "%s: %+v", name, last)
		}
	}
}

// gone waits until the API has the pod no more.
func (m *machine) gone(name string) {
	require.Eventually(m.t, func() bool {
		_, err := m.client.CoreV1().Pods("default").Get(m.ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, waitTime, waitTick, name)
}

func running(p *corev1.Pod) bool {
	return p != nil && p.Status.Phase == corev1.PodRunning && p.Status.ContainerStatuses[0].Ready
}
func over(p *corev1.Pod) bool {
	return p != nil && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed)
}

func never(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }

func (m *machine) logs(name string, o corev1.PodLogOptions) string {
	text, err := m.client.CoreV1().Pods("default").GetLogs(name, &o).DoRaw(m.ctx)
	require.NoError(m.t, err)
	return string(text)
}

func (m *machine) exec(pod string, command ...string) (string, error) {
	req := m.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	e, err := remotecommand.NewSPDYExecutor(m.config, "POST", req.URL())
	require.NoError(m.t, err)
	var out bytes.Buffer
	err = e.StreamWithContext(m.ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: io.Discard})
	return out.String(), err
}

func TestRealPod(t *testing.T) {
	m := newMachine(t)
	m.run("p", []string{"sleep"})
	pod := m.wait("p", running)
	require.Contains(t, pod.Status.ContainerStatuses[0].ContainerID, "klab-rt://")

	out, err := m.exec("p", "/bin/tool", "read", "/etc/hosts")
	require.NoError(t, err)
	require.Contains(t, out, "10.244.1.2\tp")
	_, err = m.exec("p", "/bin/tool", "exit", "7")
	var exit utilexec.CodeExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.Code)

	require.NoError(t, m.client.CoreV1().Pods("default").Delete(m.ctx, "p", metav1.DeleteOptions{}))
	m.gone("p")
	left, err := m.node.Runtime.ListPodSandbox(m.ctx)
	require.NoError(t, err)
	require.Empty(t, left)
	entries, err := os.ReadDir(m.node.Root + "/pods")
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestRealLogsAndExitCodes(t *testing.T) {
	m := newMachine(t)
	m.run("says", []string{"echo", "hello", "world"}, never)
	m.wait("says", over)
	require.Contains(t, m.logs("says", corev1.PodLogOptions{Follow: true}), "hello")
	m.run("fails", []string{"exit", "3"}, never)
	pod := m.wait("fails", over)
	require.Equal(t, corev1.PodFailed, pod.Status.Phase)
	require.EqualValues(t, 3, pod.Status.ContainerStatuses[0].State.Terminated.ExitCode)

	m.run("missing", []string{"x"}, never, func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"/bin/none"} })
	pod = m.wait("missing", func(p *corev1.Pod) bool {
		return over(p) || p != nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "RunContainerError"
	})
	t.Log(pod.Status.ContainerStatuses[0].State)
}

// Many pods that are deleted at all stages of their start leave nothing.
func TestRealManyPodsLeaveNothing(t *testing.T) {
	m := newMachine(t)
	const count = 16
	for i := range count {
		m.run(fmt.Sprintf("p%d", i), []string{"sleep"})
		if i%2 == 1 {
			require.NoError(t, m.client.CoreV1().Pods("default").Delete(m.ctx, fmt.Sprintf("p%d", i-1), metav1.DeleteOptions{}))
		}
	}
	for i := 1; i < count; i += 2 {
		m.wait(fmt.Sprintf("p%d", i), running)
		require.NoError(t, m.client.CoreV1().Pods("default").Delete(m.ctx, fmt.Sprintf("p%d", i), metav1.DeleteOptions{}))
	}
	require.Eventually(t, func() bool {
		list, err := m.client.CoreV1().Pods("default").List(m.ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0
	}, time.Minute, 20*time.Millisecond)
	boxes, err := m.node.Runtime.ListPodSandbox(m.ctx)
	require.NoError(t, err)
	require.Empty(t, boxes)
	for _, dir := range []string{"/pods", "/logs"} {
		entries, err := os.ReadDir(m.node.Root + dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
}

// A kubelet that is gone for a while finds what happened meanwhile.
func TestRealRestartOfTheKubelet(t *testing.T) {
	m := newMachine(t)
	m.run("stays", []string{"sleep"})
	m.run("trap", []string{"trap", "5"}, never)
	stays := m.wait("stays", running)
	m.wait("trap", running)
	require.Eventually(t, func() bool { return strings.Contains(m.logs("trap", corev1.PodLogOptions{}), "ready") }, time.Minute, 10*time.Millisecond)
	lab := step.NewLab(step.NewJournal(1, 1000), step.NewClock(time.Now(), 0))
	m.stop()
	containers, err := m.node.Runtime.ListContainers(m.ctx)
	require.NoError(t, err)
	for _, c := range containers {
		if c.Labels["io.kubernetes.pod.name"] == "trap" {
			require.NoError(t, m.node.Runtime.StopContainer(m.ctx, c.Id, time.Minute))
		}
	}
	m.start(lab)
	ended := m.wait("trap", over)
	t.Log(ended.Status.ContainerStatuses[0].State)
	require.EqualValues(t, 5, ended.Status.ContainerStatuses[0].State.Terminated.ExitCode)
	again := m.wait("stays", running)
	require.Equal(t, stays.Status.ContainerStatuses[0].ContainerID, again.Status.ContainerStatuses[0].ContainerID)
}

// BenchmarkPodStart is from the creation of a pod, bound already, to Running.
func BenchmarkPodStart(b *testing.B) {
	m := newMachine(b)
	m.run("first", []string{"sleep"})
	m.wait("first", running)
	for i := range b.N {
		m.run(fmt.Sprintf("p%d", i), []string{"sleep"})
		m.wait(fmt.Sprintf("p%d", i), running)
	}
}
