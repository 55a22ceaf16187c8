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

// TestForkBomb: the limit holds, and killing takes all of it, also where no
// pid namespace ends with its first process.
func TestForkBomb(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("bomb")
	options := &cri.NamespaceOption{Pid: cri.NamespaceMode_POD}
	config.Linux.SecurityContext.NamespaceOptions = options
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	bomb := n.containerConfig("main", "bomb")
	bomb.Linux.SecurityContext.NamespaceOptions = options
	bomb.Linux.Resources = &cri.LinuxContainerResources{Unified: map[string]string{"pids.max": "40"}}
	id := n.start(sandbox, bomb, config)
	group := "uid-bomb/" + id
	eventually(t, "the limit is reached", func() bool {
		events := n.cgroupFile(group, "pids/pids.events", "pids.events")
		return !strings.HasPrefix(events, "max 0")
	})
	require.NoError(t, n.StopContainer(n.ctx, id, 0))
	require.Equal(t, int32(137), n.wait(id).ExitCode)
	require.NoDirExists(t, filepath.Join("/sys/fs/cgroup", n.either("pids", ""), n.cgroup, group))
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
}

// TestFullDisk: lines are lost, the container is not, and it is said.
func TestFullDisk(t *testing.T) {
	n := newNode(t)
	small := filepath.Join(n.root, "small")
	require.NoError(t, os.Mkdir(small, 0o755))
	require.NoError(t, unix.Mount("tmpfs", small, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() {
		unix.Unmount(small, unix.MNT_DETACH)
		os.Remove(small)
	})
	config := n.sandboxConfig("web")
	config.LogDirectory = small
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	id := n.start(sandbox, n.containerConfig("main", "count", "5000"), config)
	status := n.wait(id)
	require.Equal(t, int32(0), status.ExitCode)
	data, err := os.ReadFile(status.LogPath)
	require.NoError(t, err)
	require.NotContains(t, string(data), "line 4999")
	text, err := os.ReadFile(filepath.Join(n.root, "klab-rt.log"))
	require.NoError(t, err)
	require.Contains(t, string(text), "log lines are lost: write "+status.LogPath+": no space left on device")
}

func TestDevices(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	with := n.containerConfig("main", "sleep")
	with.Linux.SecurityContext.Capabilities = &cri.Capability{AddCapabilities: []string{"SYSLOG"}} // what the kernel asks of kmsg's readers
	with.Devices = []*cri.Device{{HostPath: "/dev/kmsg", ContainerPath: "/dev/mine", Permissions: "r"}}
	id := n.start(sandbox, with, config)
	node := fmt.Sprintf("/proc/%d/root/dev/mine", n.pid(id))
	var have, want unix.Stat_t
	require.NoError(t, unix.Stat(node, &have))
	require.NoError(t, unix.Stat("/dev/kmsg", &want))
	require.Equal(t, want.Rdev, have.Rdev)
	out, _ := n.exec(id, "open", "/dev/mine")
	require.Equal(t, "<nil>", out)
	out, _ = n.exec(id, "write", "/dev/mine")
	require.Contains(t, out, "operation not permitted", "only reading is allowed")

	with.Devices[0].HostPath = "/dev/none"
	_, err = n.CreateContainer(n.ctx, sandbox, with, config)
	require.ErrorContains(t, err, "/dev/none")
}

func TestPropagation(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	shared := filepath.Join(n.root, "shared")
	require.NoError(t, os.Mkdir(shared, 0o755))
	t.Cleanup(func() {
		unix.Unmount(shared, unix.MNT_DETACH)
		os.Remove(shared)
	})
	require.NoError(t, unix.Mount("tmpfs", shared, "tmpfs", 0, ""))
	require.NoError(t, unix.Mount("", shared, "", unix.MS_PRIVATE, ""))
	both := n.containerConfig("both", "sleep")
	both.Linux.SecurityContext.Privileged = true
	both.Mounts = []*cri.Mount{{HostPath: shared, ContainerPath: "/tmp", Propagation: cri.MountPropagation_PROPAGATION_BIDIRECTIONAL}}
	_, err = n.CreateContainer(n.ctx, sandbox, both, config)
	require.ErrorContains(t, err, fmt.Sprintf("path %q is mounted on %q but it is not a shared mount", shared, shared))

	require.NoError(t, unix.Mount("", shared, "", unix.MS_SHARED, ""))
	require.NoError(t, os.Mkdir(shared+"/sub", 0o755))
	id := n.start(sandbox, both, config)
	slave := n.containerConfig("slave", "sleep")
	slave.Mounts = []*cri.Mount{{HostPath: shared, ContainerPath: "/tmp", Propagation: cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER}}
	private := n.containerConfig("private", "sleep")
	private.Mounts = []*cri.Mount{{HostPath: shared, ContainerPath: "/tmp"}}
	follows, stays := n.start(sandbox, slave, config), n.start(sandbox, private, config)
	out, _ := n.exec(id, "mount", "/tmp/sub")
	require.Equal(t, "<nil>", out)
	mounts := func(pid string) string {
		data, err := os.ReadFile("/proc/" + pid + "/mountinfo")
		require.NoError(t, err)
		return string(data)
	}
	require.Contains(t, mounts("self"), shared+"/sub ", "the container's mount is the node's")
	require.Contains(t, mounts(fmt.Sprint(n.pid(follows))), " /tmp/sub ", "and goes on to those who follow")
	require.NotContains(t, mounts(fmt.Sprint(n.pid(stays))), " /tmp/sub ")
	require.NoError(t, unix.Unmount(shared+"/sub", unix.MNT_DETACH))
}

func TestSecurityRefusals(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	refused := func(want string, change func(*cri.ContainerConfig)) {
		t.Helper()
		c := n.containerConfig("main", "sleep")
		change(c)
		id, err := n.CreateContainer(n.ctx, sandbox, c, config)
		if err == nil {
			err = n.StartContainer(n.ctx, id)
		}
		require.ErrorContains(t, err, want)
	}
	if data, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled"); !strings.HasPrefix(string(data), "Y") {
		refused("AppArmor is not enabled on the host", func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext.Apparmor = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: "localhost/x"}
		})
	}
	refused("seccomp profile", func(c *cri.ContainerConfig) {
		c.Linux.SecurityContext.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: "/nowhere.json"}
	})
	refused("permission denied", func(c *cri.ContainerConfig) { c.Command = []string{"/etc/passwd"} })
	refused("CDI devices are not supported", func(c *cri.ContainerConfig) { c.CDIDevices = []*cri.CDIDevice{{Name: "v/c=d"}} })
	config = n.sandboxConfig("sysctl")
	config.Linux.Sysctls = map[string]string{"kernel.panic": "1"}
	_, err = n.RunPodSandbox(n.ctx, config)
	require.ErrorContains(t, err, `sysctl "kernel.panic" is not in a separate kernel namespace`)
	config.Linux.Sysctls = map[string]string{"net.core.somaxconn": "77"}
	sandbox, err = n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	id := n.start(sandbox, n.containerConfig("main", "sleep"), config)
	out, _ := n.exec(id, "read", "/proc/sys/net/core/somaxconn")
	require.True(t, strings.HasPrefix(out, "77"), out)
}

func TestGroupPolicyAndProcess(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	c := n.containerConfig("main", "sleep")
	sec := c.Linux.SecurityContext
	sec.RunAsUsername, sec.SupplementalGroups, sec.NoNewPrivs = "ann", []int64{2000}, true
	sec.SupplementalGroupsPolicy = cri.SupplementalGroupsPolicy_Strict
	sec.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	id := n.start(sandbox, c, config)
	field := map[string]string{}
	eventually(t, "it has become the program", func() bool { // the filter is the last thing before that
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.pid(id)))
		require.NoError(t, err)
		for line := range strings.Lines(string(data)) {
			name, text, _ := strings.Cut(strings.TrimSpace(line), ":")
			field[name] = strings.TrimSpace(text)
		}
		return field["Name"] == "tool"
	})
	require.Equal(t, "2000", field["Groups"], "not wheel, which the image's file gives ann")
	require.Equal(t, "1", field["NoNewPrivs"])
	require.Equal(t, "2", field["Seccomp"])
	status, err := n.ContainerStatus(n.ctx, id)
	require.NoError(t, err)
	require.Equal(t, []int64{1002, 2000}, status.User.Linux.SupplementalGroups, "as upstream tells them: the first group, too")
	require.Equal(t, int64(1001), status.User.Linux.Uid)
}
