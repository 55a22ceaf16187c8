package nodens_test

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nodens"
)

// The test binary is also the creator that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("NODENS_CREATE"); dir != "" {
		if _, err := nodens.Create(nodens.Config{Dir: dir, Hostname: "node-k"}); err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
		}
		os.Stdout.WriteString("created\n")
		select {}
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: creates namespaces")
	}
}

func create(t *testing.T, dir, name string) *nodens.Node {
	t.Helper()
	c := nodens.Config{Dir: dir, Hostname: name}
	if nodens.Unified() {
		c.Cgroup = "/klab-nodens-test/" + name
		t.Cleanup(func() { os.Remove("/sys/fs/cgroup/klab-nodens-test") })
	}
	t.Cleanup(func() { require.NoError(t, nodens.Delete(dir)) })
	n, err := nodens.Create(c)
	require.NoError(t, err)
	return n
}

func output(t *testing.T, n *nodens.Node, line string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, n.Start(cmd))
	require.NoError(t, cmd.Wait(), "%s: %s", line, &out)
	return strings.TrimSpace(out.String())
}

func TestProcessInANode(t *testing.T) {
	needRoot(t)
	hostname, err := os.Hostname()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "node-1")
	n := create(t, dir, "node-1")

	require.Equal(t, "node-1", output(t, n, "uname -n"))
	require.Equal(t, "lo", output(t, n, "ls /sys/class/net"))
	require.Equal(t, "1", output(t, n, "grep -c : /proc/net/dev"))
	require.NotContains(t, output(t, n, "cat /proc/self/mountinfo"), "nsfs")
	require.NotContains(t, output(t, n, "cat /proc/self/mountinfo"), "master:", "nothing comes in or gets out")
	if nodens.Unified() {
		require.Equal(t, "/", n.CgroupPath())
		require.Contains(t, output(t, n, "cat /sys/fs/cgroup/cgroup.controllers"), "memory")
		require.Empty(t, output(t, n, "cat /sys/fs/cgroup/cgroup.procs"))
	} else {
		require.Contains(t, output(t, n, "ls /sys/fs/cgroup"), "memory", "the machine's hierarchies are there")
	}

	ifaces, err := net.Interfaces()
	require.NoError(t, err)
	require.NotEmpty(t, ifaces)
	now, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, hostname, now)

	again, err := nodens.Create(n.Config)
	require.NoError(t, err)
	require.Equal(t, n, again)
	require.NoError(t, n.Do(func() error {
		inside, err := nodens.Open(dir)
		require.NoError(t, err, "a process of the node")
		require.Equal(t, n.CgroupPath(), inside.CgroupPath())
		return nil
	}))
	other := n.Config
	other.Hostname = "else"
	_, err = nodens.Create(other)
	require.ErrorContains(t, err, "delete it first")
}

func TestProcessesAndTheirGroup(t *testing.T) {
	needRoot(t)
	n := create(t, filepath.Join(t.TempDir(), "node-g"), "node-g")
	cmd := exec.Command("/bin/sh", "-c", "read group </proc/self/cgroup; echo $group; exec sleep 60")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	if nodens.Unified() {
		leaf := filepath.Join("/sys/fs/cgroup", n.Cgroup, "agent")
		require.NoError(t, os.Mkdir(leaf, 0o755))
		group, err := os.Open(leaf)
		require.NoError(t, err)
		defer group.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	}
	require.NoError(t, n.Start(cmd))
	pids, err := n.Processes()
	require.NoError(t, err)
	require.Contains(t, pids, cmd.Process.Pid)
	require.NotContains(t, pids, os.Getpid())
	if nodens.Unified() {
		require.ErrorContains(t, nodens.Delete(n.Dir), "processes left")
		_, err := nodens.Open(n.Dir)
		require.NoError(t, err, "and nothing is deleted")
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	if nodens.Unified() {
		require.Equal(t, "0::/agent\n", line)
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

func TestDeletingANodeFreesItsNetworkAtOnce(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	first := create(t, filepath.Join(base, "1"), "node-1")
	create(t, filepath.Join(base, "2"), "node-2") // must not hold on to the first one's pins

	// A pair of links, one end in each place: it ends with either namespace.
	witness := filepath.Join(base, "witness")
	require.NoError(t, netns.Create(witness))
	t.Cleanup(func() { require.NoError(t, netns.Delete(witness)) })
	far, err := netns.Open(first.NetNS())
	require.NoError(t, err)
	require.NoError(t, netns.Do(witness, func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "b", PeerNamespace: netlink.NsFd(int(far.Fd()))}
		pair.Name = "a"
		return netlink.LinkAdd(pair)
	}))
	require.NoError(t, far.Close())
	require.NoError(t, nodens.Delete(first.Dir))
	require.Eventually(t, func() bool {
		gone := false
		require.NoError(t, netns.Do(witness, func() error {
			_, err := net.InterfaceByName("a")
			gone = err != nil
			return nil
		}))
		return gone
	}, time.Minute, 5*time.Millisecond)
	_, err = nodens.Open(first.Dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, nodens.Delete(first.Dir), "again")
}

func TestANodeOutlivesItsCreator(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "node-k")
	t.Cleanup(func() { require.NoError(t, nodens.Delete(dir)) })
	creator := exec.Command("/proc/self/exe")
	creator.Env = append(os.Environ(), "NODENS_CREATE="+dir)
	creator.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := creator.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, creator.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "created\n", line)
	require.NoError(t, creator.Process.Kill())
	creator.Wait()

	n, err := nodens.Open(dir)
	require.NoError(t, err)
	require.Equal(t, "node-k", output(t, n, "uname -n"))
}

func TestHalfACreationIsReplaced(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "node-h")
	n := create(t, dir, "node-h")
	require.NoError(t, netns.Unpin(n.Pin(netns.Mount)))
	_, err := nodens.Open(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	n, err = nodens.Create(n.Config)
	require.NoError(t, err)
	require.Equal(t, "node-h", output(t, n, "uname -n"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "node.json"), []byte("{"), 0o644))
	require.NoError(t, nodens.Delete(dir))
	require.NoDirExists(t, dir)
}

func TestUnderASharedMount(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", base, "tmpfs", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(base, 0)) })
	require.NoError(t, unix.Mount("", base, "", unix.MS_SHARED, ""))
	n := create(t, filepath.Join(base, "node-s"), "node-s")
	require.Equal(t, "node-s", output(t, n, "uname -n"))
	n, err := nodens.Create(n.Config)
	require.NoError(t, err)
	require.NoError(t, nodens.Delete(n.Dir))
	require.NoDirExists(t, n.Dir)
}

func TestParentDeathSignalIsOfTheProcess(t *testing.T) {
	needRoot(t)
	n := create(t, filepath.Join(t.TempDir(), "node-p"), "node-p")
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "sleep 0.3; echo lived")
	cmd.Stdout = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, n.Start(cmd))
	require.NoError(t, cmd.Wait(), "the starting thread must outlive the process")
	require.Equal(t, "lived\n", out.String())

	require.Error(t, n.Start(exec.Command("/no/such/program")))
}

// Mounts propagate inside of the node, and never out of it.
func TestMountsPropagateInsideOnly(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", base, "tmpfs", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(base, 0)) })
	require.NoError(t, unix.Mount("", base, "", unix.MS_SHARED, ""))
	require.NoError(t, os.Mkdir(base+"/m", 0o755))
	n := create(t, filepath.Join(base, "node-m"), "node-m")
	mounts := func(text string) (lines []string) {
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 4 && f[4] == base+"/m" {
				lines = append(lines, line)
			}
		}
		return lines
	}
	root := output(t, n, "grep ' / / ' /proc/self/mountinfo; true")
	require.Contains(t, root, " shared:")

	require.Empty(t, mounts(output(t, n, "mount -t tmpfs t "+base+"/m")))
	require.Len(t, mounts(output(t, n, "cat /proc/self/mountinfo")), 1)
	inside := output(t, n, "unshare -m --propagation slave sh -c 'cat /proc/self/mountinfo'")
	require.Contains(t, mounts(inside)[0], " master:", "a container's mounts follow the node's")
	host, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Empty(t, mounts(string(host)), "nothing gets out")
}
