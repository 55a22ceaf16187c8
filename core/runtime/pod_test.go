package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestPodLife(t *testing.T) {
	n := newNode(t)
	sandbox, id := n.run("web", "echo", "hello")

	status := n.wait(id)
	require.Equal(t, cri.ContainerState_CONTAINER_EXITED, status.State)
	require.Equal(t, int32(0), status.ExitCode)
	require.Equal(t, "Completed", status.Reason)
	require.ElementsMatch(t, []string{"stdout F out: hello", "stderr F err: hello"}, n.log(id))

	pod, err := n.PodSandboxStatus(n.ctx, sandbox)
	require.NoError(t, err)
	require.Equal(t, cri.PodSandboxState_SANDBOX_READY, pod.State)
	require.Equal(t, "10.244.1.2", pod.Network.Ip)
	require.Equal(t, "web", pod.Labels["app"])

	require.NoError(t, n.StopPodSandbox(n.ctx, sandbox))
	require.NoError(t, n.StopPodSandbox(n.ctx, sandbox), "may be repeated")
	pod, err = n.PodSandboxStatus(n.ctx, sandbox)
	require.NoError(t, err)
	require.Equal(t, cri.PodSandboxState_SANDBOX_NOTREADY, pod.State)
	require.Empty(t, n.network.attached)

	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox), "may be repeated")
	_, err = n.PodSandboxStatus(n.ctx, sandbox)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = n.ContainerStatus(n.ctx, id)
	require.ErrorIs(t, err, ErrNotFound)
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*" + n.cgroup + "/uid-web")
	require.NoError(t, err)
	require.Empty(t, cgroups, "the pod's cgroup is removed")
	bundles, err := os.ReadDir(filepath.Join(n.root, "c"))
	require.NoError(t, err)
	require.Empty(t, bundles)
}

func TestNamespaces(t *testing.T) {
	n := newNode(t)
	sandbox, a := n.run("web", "sleep")
	b, err := n.CreateContainer(n.ctx, sandbox, n.containerConfig("side", "sleep"), n.sandboxConfig("web"))
	require.NoError(t, err)
	require.NoError(t, n.StartContainer(n.ctx, b))

	inode := func(id, ns string) string {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", n.pid(id), ns))
		require.NoError(t, err)
		return link
	}
	for _, shared := range []string{"net", "ipc", "uts"} {
		require.Equal(t, inode(sandbox, shared), inode(a, shared), shared)
		require.Equal(t, inode(a, shared), inode(b, shared), shared)
		own, err := os.Readlink("/proc/self/ns/" + shared)
		require.NoError(t, err)
		require.NotEqual(t, own, inode(a, shared), shared)
	}
	for _, private := range []string{"mnt", "pid"} {
		require.NotEqual(t, inode(a, private), inode(b, private), private)
		require.NotEqual(t, inode(sandbox, private), inode(a, private), private)
	}
	out, _ := n.exec(a, "id")
	require.True(t, strings.HasPrefix(out, "0 0 "), out)
	require.Contains(t, out, "web")
	out, _ = n.exec(a, "read", "/etc/resolv.conf")
	require.Contains(t, out, "search default.svc.cluster.local\nnameserver 10.96.0.10\n")
	out, _ = n.exec(a, "read", "/etc/hostname")
	require.Contains(t, out, "web\n")

	_, code := n.exec(a, "write", "/dev/shm/x")
	require.Zero(t, code)
	out, _ = n.exec(b, "read", "/dev/shm/x")
	require.Equal(t, "x<nil>", out, "/dev/shm is the pod's")
}

func TestHostAndSharedNamespaces(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("host")
	config.Linux.SecurityContext.NamespaceOptions = &cri.NamespaceOption{
		Network: cri.NamespaceMode_NODE, Ipc: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_POD,
	}
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	require.Empty(t, n.network.attached)
	container := n.containerConfig("main", "sleep")
	container.Linux.SecurityContext.NamespaceOptions = config.Linux.SecurityContext.NamespaceOptions
	id, err := n.CreateContainer(n.ctx, sandbox, container, config)
	require.NoError(t, err)
	require.NoError(t, n.StartContainer(n.ctx, id))
	for _, ns := range []string{"net", "ipc", "uts"} {
		own, _ := os.Readlink("/proc/self/ns/" + ns)
		its, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", n.pid(id), ns))
		require.Equal(t, own, its, ns)
	}
	pause, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.pid(sandbox)))
	its, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.pid(id)))
	require.Equal(t, pause, its, "the pod's pid namespace is the pause process's")
	require.NoError(t, n.StopContainer(n.ctx, id, 0))
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
}

func TestCgroups(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	container := n.containerConfig("main", "sleep")
	container.Linux.Resources = &cri.LinuxContainerResources{
		CpuShares: 512, CpuQuota: 50000, CpuPeriod: 100000, MemoryLimitInBytes: 64 << 20,
		Unified: map[string]string{"pids.max": "77"},
	}
	id, err := n.CreateContainer(n.ctx, sandbox, container, config)
	require.NoError(t, err)
	require.NoError(t, n.StartContainer(n.ctx, id))
	dir := n.cgroup + "/uid-web/" + id
	want := map[string]string{
		"/sys/fs/cgroup/cpu" + dir + "/cpu.shares":               "512",
		"/sys/fs/cgroup/cpu" + dir + "/cpu.cfs_quota_us":         "50000",
		"/sys/fs/cgroup/cpu" + dir + "/cpu.cfs_period_us":        "100000",
		"/sys/fs/cgroup/memory" + dir + "/memory.limit_in_bytes": "67108864",
		"/sys/fs/cgroup/pids" + dir + "/pids.max":                "77",
	}
	if n.v2 {
		want = map[string]string{
			"/sys/fs/cgroup" + dir + "/cpu.max":    "50000 100000",
			"/sys/fs/cgroup" + dir + "/memory.max": "67108864",
			"/sys/fs/cgroup" + dir + "/pids.max":   "77",
		}
	}
	for file, value := range want {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, value, strings.TrimSpace(string(data)), file)
	}
	stats, err := n.ContainerStats(n.ctx, id)
	require.NoError(t, err)
	require.Positive(t, stats.Memory.UsageBytes.Value)
	require.NoError(t, n.Freeze(n.ctx, sandbox))
	state, err := n.call(n.ctx, "state", id)
	require.NoError(t, err)
	require.True(t, state.Frozen)
	require.NoError(t, n.StopContainer(n.ctx, id, 0), "a frozen container can be killed")
}

func TestOOM(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("eater")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	container := n.containerConfig("main", "eatmem")
	container.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 32 << 20}
	id, err := n.CreateContainer(n.ctx, sandbox, container, config)
	require.NoError(t, err)
	require.NoError(t, n.StartContainer(n.ctx, id))
	status := n.wait(id)
	require.Equal(t, "OOMKilled", status.Reason)
	require.Equal(t, int32(137), status.ExitCode)
}

func TestExitCodes(t *testing.T) {
	n := newNode(t)
	_, id := n.run("exit", "exit", "3")
	status := n.wait(id)
	require.Equal(t, int32(3), status.ExitCode)
	require.Equal(t, "Error", status.Reason)
	require.LessOrEqual(t, status.StartedAt, status.FinishedAt)

	_, id = n.run("trap", "trap", "5")
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })
	require.NoError(t, n.StopContainer(n.ctx, id, time.Minute))
	require.Equal(t, int32(5), n.wait(id).ExitCode)

	_, id = n.run("ignore", "ignore")
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })
	require.NoError(t, n.StopContainer(n.ctx, id, 50*time.Millisecond))
	require.Equal(t, int32(137), n.wait(id).ExitCode)
	require.NoError(t, n.StopContainer(n.ctx, id, time.Second), "may be repeated")
}

func TestStartErrors(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("bad")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)

	bad := n.containerConfig("main")
	bad.Command = []string{"nope"}
	id, err := n.CreateContainer(n.ctx, sandbox, bad, config)
	require.NoError(t, err)
	err = n.StartContainer(n.ctx, id)
	require.ErrorIs(t, err, ErrRunContainer)
	require.ErrorContains(t, err, `exec: "nope": executable file not found in $PATH`)
	status, err := n.ContainerStatus(n.ctx, id)
	require.NoError(t, err)
	require.Equal(t, cri.ContainerState_CONTAINER_EXITED, status.State)
	require.Equal(t, "StartError", status.Reason)
	require.Equal(t, int32(128), status.ExitCode)
	require.Contains(t, status.Message, `exec: "nope"`)
	require.NoError(t, n.RemoveContainer(n.ctx, id))

	missing := n.containerConfig("main", "sleep")
	missing.Image = &cri.ImageSpec{Image: "localhost:1/none:1"}
	_, err = n.CreateContainer(n.ctx, sandbox, missing, config)
	require.ErrorIs(t, err, ErrCreateContainerError)
	nobody := n.containerConfig("main", "sleep")
	nobody.Linux.SecurityContext.RunAsUsername = "bob"
	_, err = n.CreateContainer(n.ctx, sandbox, nobody, config)
	require.ErrorContains(t, err, `user "bob"`)

	_, err = n.PullImage(n.ctx, "Not A Name", nil)
	require.ErrorIs(t, err, ErrInvalidImageName)
	_, err = n.PullImage(n.ctx, strings.TrimSuffix(n.image, ":1")+":2", nil)
	require.ErrorIs(t, err, ErrImagePull)

	n.network.fail = fmt.Errorf("no address left")
	_, err = n.RunPodSandbox(n.ctx, n.sandboxConfig("other"))
	require.ErrorIs(t, err, ErrCreatePodSandbox)
	require.ErrorContains(t, err, "no address left")
	all, err := n.ListPodSandbox(n.ctx)
	require.NoError(t, err)
	require.Len(t, all, 1, "nothing is left of a failed sandbox")
}

func TestUserAndSecurity(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("user")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	ann := n.containerConfig("main", "sleep")
	ann.WorkingDir = "/tmp"
	ann.Linux.SecurityContext.RunAsUsername = "ann"
	ann.Linux.SecurityContext.SupplementalGroups = []int64{2000}
	ann.Linux.SecurityContext.ReadonlyRootfs = true
	ann.Envs = []*cri.KeyValue{{Key: "GREETING", Value: []byte("pod")}}
	id, err := n.CreateContainer(n.ctx, sandbox, ann, config)
	require.NoError(t, err)
	require.NoError(t, n.StartContainer(n.ctx, id))
	out, _ := n.exec(id, "id")
	require.True(t, strings.HasPrefix(out, "1001 1002 [10 2000] /tmp user pod"), out)
	out, _ = n.exec(id, "write", "/tmp/x")
	require.Contains(t, out, "read-only file system")

	root, err := n.CreateContainer(n.ctx, sandbox, n.containerConfig("root", "sleep"), config)
	require.NoError(t, err)
	require.NoError(t, n.StartContainer(n.ctx, root))
	out, _ = n.exec(root, "unshare")
	require.Contains(t, out, "operation not permitted")
	out, _ = n.exec(root, "write", "/proc/sys/kernel/panic")
	require.Contains(t, out, "read-only file system")
	out, _ = n.exec(root, "write", "/tmp/x")
	require.Equal(t, "<nil>", out)

	privileged := n.containerConfig("priv", "sleep")
	privileged.Linux.SecurityContext.Privileged = true
	id, err = n.CreateContainer(n.ctx, sandbox, privileged, config)
	require.NoError(t, err)
	require.NoError(t, n.StartContainer(n.ctx, id))
	out, _ = n.exec(id, "mount")
	require.Equal(t, "<nil>", out)
}
