package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// userPod is a pod with hostUsers false, as a kubelet says it.
func (n *node) userPod(name string) (*cri.PodSandboxConfig, *cri.ContainerConfig) {
	mapping := []*cri.IDMapping{{ContainerId: 0, HostId: 200000, Length: 65536}}
	options := &cri.NamespaceOption{
		Pid: cri.NamespaceMode_CONTAINER, UsernsOptions: &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: mapping, Gids: mapping},
	}
	config := n.sandboxConfig(name)
	config.Linux.SecurityContext.NamespaceOptions = options
	container := n.containerConfig("main", "sleep")
	container.Linux.SecurityContext.NamespaceOptions = options
	return config, container
}

// userContainer is another one like container.
func (n *node) userContainer(container *cri.ContainerConfig, args ...string) *cri.ContainerConfig {
	other := n.containerConfig(args[0], args...)
	other.Linux.SecurityContext.NamespaceOptions = container.Linux.SecurityContext.NamespaceOptions
	return other
}

func owner(t *testing.T, path string) uint32 {
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return st.Uid
}

func TestUserNamespace(t *testing.T) {
	n := newNode(t)
	config, container := n.userPod("users")
	volume := filepath.Join(n.root, "volume")
	require.NoError(t, os.Mkdir(volume, 0o755))
	t.Cleanup(func() { os.RemoveAll(volume) })
	ids := config.Linux.SecurityContext.NamespaceOptions.UsernsOptions.Uids
	container.Mounts = []*cri.Mount{{ContainerPath: "/volume", HostPath: volume, UidMappings: ids, GidMappings: ids}}
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	id := n.start(sandbox, container, config)
	side := n.userContainer(container, "sleep")
	side.Linux.SecurityContext.RunAsUsername = "ann"
	second := n.start(sandbox, side, config)

	// The kernel's view: one user namespace of the pod, its root is 200000.
	pause, pid := n.pid(sandbox), n.pid(id)
	require.NotEqual(t, n.ns(0, "user"), n.ns(pid, "user"))
	require.Equal(t, n.ns(pause, "user"), n.ns(pid, "user"))
	require.Equal(t, n.ns(pid, "user"), n.ns(n.pid(second), "user"))
	uidMap, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", pid))
	require.NoError(t, err)
	require.Equal(t, []string{"0", "200000", "65536"}, strings.Fields(string(uidMap)))
	require.Equal(t, uint32(200000), owner(t, fmt.Sprintf("/proc/%d", pid)))
	require.Equal(t, uint32(201001), owner(t, fmt.Sprintf("/proc/%d", n.pid(second))))

	// Files of the image are root's inside, and nobody copied them.
	out, _ := n.exec(id, "stat", "/bin/tool")
	require.Equal(t, "0 0 755", out)
	require.NoFileExists(t, filepath.Join(n.dir(id), "up/bin/tool"))
	for file, host := range map[string]string{"/tmp/x": n.dir(id) + "/up/tmp/x", "/volume/x": volume + "/x", "/etc/new": n.dir(id) + "/up/etc/new"} {
		out, _ = n.exec(id, "write", file)
		require.Equal(t, "<nil>", out, file)
		out, _ = n.exec(id, "stat", file)
		require.Equal(t, "0 0 644", out, file)
		want := uint32(200000)
		if file == "/volume/x" { // the mount is mapped: on the disk it is root's
			want = 0
		}
		require.Equal(t, want, owner(t, host), file)
	}
	out, _ = n.exec(id, "write", "/etc/hostname")
	require.Equal(t, "<nil>", out, "the pod's own files are its root's")
	out, _ = n.exec(second, "id")
	require.True(t, strings.HasPrefix(out, "1001 1002 [10]"), out)
	out, _ = n.exec(second, "write", "/etc/no")
	require.Contains(t, out, "permission denied")
	out, _ = n.exec(id, "write", "/proc/sys/kernel/panic")
	require.NotEqual(t, "<nil>", out)
	out, _ = n.exec(id, "write", "/dev/stdout")
	require.Equal(t, "x<nil>", out)
	writer := n.start(sandbox, n.userContainer(container, "write", "/dev/stdout"), config)
	n.wait(writer)
	require.Equal(t, []string{"stdout F x<nil>"}, n.log(writer))
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
}

// TestUserNamespaceWithoutMappedMounts: ramfs has no mapped mounts.
func TestUserNamespaceWithoutMappedMounts(t *testing.T) {
	n := newNode(t)
	layers := filepath.Join(n.root, "layers")
	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS(layers)))
	require.NoError(t, unix.Mount("ramfs", layers, "ramfs", 0, ""))
	require.NoError(t, os.Chmod(layers, 0o711))
	require.NoError(t, os.CopyFS(layers, os.DirFS(copied)))
	config, container := n.userPod("users")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	id := n.start(sandbox, container, config)
	out, _ := n.exec(id, "stat", "/bin/tool")
	require.True(t, strings.HasPrefix(out, "0 0 "), out)
	require.Equal(t, uint32(200000), owner(t, n.dir(id)+"/up/bin/tool"), "copied, and given to the pod's root")
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
}

func TestUserNamespaceRefusals(t *testing.T) {
	n := newNode(t)
	config, _ := n.userPod("users")
	require.NoError(t, os.Chmod(n.root, 0o700))
	_, err := n.RunPodSandbox(n.ctx, config)
	require.ErrorContains(t, err, "chmod o+x "+n.root)
	require.NoError(t, os.Chmod(n.root, 0o711))
	config.Linux.SecurityContext.NamespaceOptions.UsernsOptions.Uids[0].ContainerId = 1
	_, err = n.RunPodSandbox(n.ctx, config)
	require.ErrorContains(t, err, "no mapping for uid 0")
}

func TestTargetPid(t *testing.T) {
	n := newNode(t)
	sandbox, target := n.run("web", "sleep")
	config := n.sandboxConfig("web")
	debug := n.containerConfig("debug", "sleep")
	debug.Linux.SecurityContext.NamespaceOptions = &cri.NamespaceOption{Pid: cri.NamespaceMode_TARGET, TargetId: target}
	id := n.start(sandbox, debug, config)
	require.Equal(t, n.ns(n.pid(target), "pid"), n.ns(n.pid(id), "pid"))
	require.NotEqual(t, n.ns(n.pid(target), "mnt"), n.ns(n.pid(id), "mnt"))
	eventually(t, "the target is process 1", func() bool { // until it executes its program it is klab-rt's
		out, _ := n.exec(id, "read", "/proc/1/cmdline")
		return strings.Contains(out, "/bin/tool\x00sleep")
	})

	// The target's end takes the whole namespace with it.
	require.NoError(t, n.StopContainer(n.ctx, target, 0))
	require.Equal(t, int32(137), n.wait(id).ExitCode)
	_, err := n.CreateContainer(n.ctx, sandbox, debug, config)
	require.ErrorContains(t, err, "does not run")
}

func TestHostPid(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("host")
	options := &cri.NamespaceOption{Pid: cri.NamespaceMode_NODE}
	config.Linux.SecurityContext.NamespaceOptions = options
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	container := n.containerConfig("main", "spawn")
	container.Linux.SecurityContext.NamespaceOptions = options
	id := n.start(sandbox, container, config)
	require.Equal(t, n.ns(0, "pid"), n.ns(n.pid(id), "pid"))
	require.Equal(t, n.ns(0, "pid"), n.ns(n.pid(sandbox), "pid"))
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })
	// No namespace ends with its first process: the child must go, too.
	child := strings.TrimPrefix(n.log(id)[0], "stdout F ")
	require.DirExists(t, "/proc/"+child)
	require.NoError(t, n.StopContainer(n.ctx, id, 0))
	eventually(t, "the child is gone, and klab-rt has reaped it", func() bool {
		data, err := os.ReadFile("/proc/" + child + "/stat")
		return err != nil || !strings.Contains(string(data), "(tool)") // another one has its number
	})
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
}

func TestSharedPid(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("shared")
	options := &cri.NamespaceOption{Pid: cri.NamespaceMode_POD}
	config.Linux.SecurityContext.NamespaceOptions = options
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	container := n.containerConfig("main", "sleep")
	container.Linux.SecurityContext.NamespaceOptions = options
	a, b := n.start(sandbox, container, config), n.start(sandbox, container, config)
	require.Equal(t, n.ns(n.pid(sandbox), "pid"), n.ns(n.pid(a), "pid"))
	require.Equal(t, n.ns(n.pid(a), "pid"), n.ns(n.pid(b), "pid"))
	out, _ := n.exec(a, "read", "/proc/1/cmdline")
	require.Contains(t, out, "/pause")
	require.NoError(t, n.StopContainer(n.ctx, a, 0))
	status, err := n.ContainerStatus(n.ctx, b)
	require.NoError(t, err)
	require.Equal(t, cri.ContainerState_CONTAINER_RUNNING, status.State, "the other one goes on")
}
