package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/shim"
	"github.com/klab-project/klab/netlab/leak"
)

// programs are klab-rt and the test image's tool, built once.
type programs struct{ klabRT, tool string }

var built struct {
	sync.Once
	programs
	err error
	dir string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// build makes the programs; KLAB_RT and KLAB_TEST_TOOL name those that exist
// already, for machines without a compiler.
func build(t testing.TB) programs {
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "klab-programs-"); built.err != nil {
			return
		}
		if built.tool = os.Getenv("KLAB_TEST_TOOL"); built.tool == "" {
			built.tool = filepath.Join(built.dir, "tool")
			if built.err = goBuild("0", built.tool, "./testdata/tool", "-ldflags", "-s -w"); built.err != nil {
				return
			}
		}
		if built.klabRT = os.Getenv("KLAB_RT"); built.klabRT == "" {
			built.klabRT = filepath.Join(built.dir, "klab-rt")
			built.err = goBuild("1", built.klabRT, "../../cmd/klab-rt", "-tags", "netgo osusergo seccomp",
				"-ldflags", "-s -w -linkmode external -extldflags -static")
		}
	})
	require.NoError(t, built.err)
	return built.programs
}

func goBuild(cgo, out, pkg string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", out, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, output)
	}
	return nil
}

// node is a runtime in a directory and a cgroup of its own.
type node struct {
	t       testing.TB
	ctx     context.Context
	root    string
	cgroup  string
	logs    string
	image   string
	network *fakeNetwork
	*Client
	stop func() // klab-rt's supervisor

	mu     sync.Mutex
	starts int
}

// cleanNode removes everything of a node; its cgroup has the directory's name.
func cleanNode(root string) error {
	return Clean(context.Background(), CleanOptions{Root: root, CgroupParent: "/" + filepath.Base(root)})
}

func newNode(t testing.TB) *node {
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	p := build(t)
	root, err := leak.Dir("", "klab-rt-", cleanNode) // short: overlay options have one page
	require.NoError(t, err)
	require.NoError(t, os.Chmod(root, 0o711)) // pods with a user namespace enter it
	n := &node{t: t, root: root, logs: t.TempDir(), cgroup: "/" + filepath.Base(root), network: &fakeNetwork{}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	n.ctx = ctx
	var supervisor sync.WaitGroup
	up := make(chan error, 100)
	supervisor.Go(func() {
		shim.Supervise(ctx, shim.Options{Program: p.klabRT, Root: root}, func(err error) {
			n.mu.Lock()
			n.starts++
			n.mu.Unlock()
			up <- err
		})
	})
	n.stop = func() { cancel(); supervisor.Wait() }
	t.Cleanup(func() {
		n.stop()
		if n.Client != nil {
			n.Client.Close()
		}
		if t.Failed() {
			data, _ := os.ReadFile(filepath.Join(root, "klab-rt.log"))
			t.Logf("klab-rt.log:\n%s", data)
		}
		require.NoError(t, cleanNode(root))
		n.noLeaks()
		require.NoError(t, os.RemoveAll(root))
	})
	require.NoError(t, <-up)
	n.image = serveImage(t, p.tool)
	n.open()
	_, err = n.PullImage(ctx, n.image, nil)
	require.NoError(t, err)
	return n
}

// open opens the client, instead of the one before.
func (n *node) open() {
	if n.Client != nil {
		n.Client.Close()
	}
	var err error
	n.Client, err = Open(n.ctx, Config{Root: n.root, CgroupParent: n.cgroup, Network: n.network, Patience: time.Minute})
	require.NoError(n.t, err)
}

// noLeaks looks for what Clean must have removed.
func (n *node) noLeaks() {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(n.t, err)
	require.NotContains(n.t, string(mounts), n.root)
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*" + n.cgroup)
	require.NoError(n.t, err)
	require.Empty(n.t, cgroups)
	require.NoDirExists(n.t, "/sys/fs/cgroup"+n.cgroup)
	left, err := os.ReadDir(n.root)
	require.NoError(n.t, err)
	require.Len(n.t, left, 1, "what leak.Dir put there")
	eventually(n.t, "no process is left", func() bool {
		commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
		return err == nil && !slices.ContainsFunc(commands, func(c string) bool {
			data, _ := os.ReadFile(c)
			return strings.Contains(string(data), n.root)
		})
	})
}

// fakeNetwork brings nothing up, but refuses what a real one refuses.
type fakeNetwork struct {
	mu       sync.Mutex
	attached map[string]string
	fail     error
}

func (f *fakeNetwork) Attach(_ context.Context, p PodNet) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	link, err := os.Readlink(p.NetNS)
	if err != nil {
		return nil, err
	}
	if f.attached == nil {
		f.attached = map[string]string{}
	}
	f.attached[p.SandboxID] = link
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 244, 1, byte(len(f.attached) + 1)})}, nil
}

func (f *fakeNetwork) Ready(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail
}

func (f *fakeNetwork) Detach(_ context.Context, p PodNet) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attached, p.SandboxID)
	return nil
}

// serveImage serves an image with tool at /bin/tool from a registry on loopback.
func serveImage(t testing.TB, tool string) string {
	content, err := os.ReadFile(tool)
	require.NoError(t, err)
	layer := makeLayer(t,
		entry{name: "bin/", mode: 0o755}, entry{name: "tmp/", mode: 0o1777}, entry{name: "etc/", mode: 0o755},
		entry{name: "etc/passwd", content: []byte("root:x:0:0::/root:/bin/sh\nann:x:1001:1002::/home/ann:/bin/sh\n")},
		entry{name: "etc/group", content: []byte("root:x:0:\nann:x:1002:\nwheel:x:10:ann\n")},
		entry{name: "bin/tool", mode: 0o755, content: content})
	img, err := mutate.AppendLayers(empty.Image, layer)
	require.NoError(t, err)
	file, err := img.ConfigFile()
	require.NoError(t, err)
	file = file.DeepCopy()
	file.Architecture, file.OS = "amd64", "linux"
	file.Config = v1.Config{Entrypoint: []string{"/bin/tool"}, Cmd: []string{"sleep"}, Env: []string{"PATH=/bin", "GREETING=image"}}
	img, err = mutate.ConfigFile(img, file)
	require.NoError(t, err)
	return pushImage(t, img, "test/tool:1")
}

func pushImage(t testing.TB, img v1.Image, repo string) string {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/" + repo)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
	return ref.Name()
}

type entry struct {
	name    string
	mode    int64
	content []byte
}

func makeLayer(t testing.TB, entries ...entry) v1.Layer {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(e.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	})
	require.NoError(t, err)
	return layer
}

// sandboxConfig is an ordinary pod.
func (n *node) sandboxConfig(pod string) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: pod, Namespace: "default", Uid: "uid-" + pod},
		LogDirectory: filepath.Join(n.logs, pod),
		DnsConfig:    &cri.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"default.svc.cluster.local"}},
		Labels:       map[string]string{"app": pod},
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
		}},
	}
}

func (n *node) containerConfig(name string, args ...string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name}, Image: &cri.ImageSpec{Image: n.image}, Args: args, LogPath: name + "/0.log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
			// As kubelets say it for procMount Default.
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		}},
	}
}

// start makes a container in a sandbox and lets it run.
func (n *node) start(sandbox string, container *cri.ContainerConfig, config *cri.PodSandboxConfig) string {
	n.t.Helper()
	id, err := n.CreateContainer(n.ctx, sandbox, container, config)
	require.NoError(n.t, err)
	require.NoError(n.t, n.StartContainer(n.ctx, id))
	return id
}

// ns is the inode of a process's namespace; pid 0 is this process.
func (n *node) ns(pid int, kind string) string {
	n.t.Helper()
	who := "self"
	if pid > 0 {
		who = fmt.Sprint(pid)
	}
	link, err := os.Readlink("/proc/" + who + "/ns/" + kind)
	require.NoError(n.t, err)
	return link
}

// run makes a pod with one running container.
func (n *node) run(pod string, args ...string) (sandbox, container string) {
	config := n.sandboxConfig(pod)
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(n.t, err)
	container, err = n.CreateContainer(n.ctx, sandbox, n.containerConfig("main", args...), config)
	require.NoError(n.t, err)
	require.NoError(n.t, n.StartContainer(n.ctx, container))
	return sandbox, container
}

// wait waits until the container has exited.
func (n *node) wait(id string) *cri.ContainerStatus {
	_, err := n.call(n.ctx, shim.VerbWait, id)
	require.NoError(n.t, err)
	status, err := n.ContainerStatus(n.ctx, id)
	require.NoError(n.t, err)
	return status
}

// log is the container's log without times: "stdout F text". A line that is
// being written is not there yet.
func (n *node) log(id string) []string {
	status, err := n.ContainerStatus(n.ctx, id)
	require.NoError(n.t, err)
	data, err := os.ReadFile(status.LogPath)
	require.NoError(n.t, err)
	var lines []string
	for line := range strings.Lines(string(data)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		stamp, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		require.True(n.t, ok, line)
		_, err := time.Parse(time.RFC3339Nano, stamp)
		require.NoError(n.t, err)
		lines = append(lines, rest)
	}
	return lines
}

// exec runs the tool in a container.
func (n *node) exec(id string, args ...string) (string, int) {
	var out bytes.Buffer
	code, err := n.Exec(n.ctx, id, ExecRequest{Command: append([]string{"/bin/tool"}, args...), Stdout: &out, Stderr: &out})
	require.NoError(n.t, err)
	return strings.TrimSpace(out.String()), code
}

func (n *node) pid(id string) int {
	state, err := n.call(n.ctx, shim.VerbState, id)
	require.NoError(n.t, err)
	return state.PID
}

func eventually(t testing.TB, what string, f func() bool) {
	require.Eventually(t, f, time.Minute, 5*time.Millisecond, what)
}
