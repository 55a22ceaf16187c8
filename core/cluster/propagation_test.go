package cluster_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

const sharesMounts = `apiVersion: v1
kind: Pod
metadata:
  name: mounts
spec:
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - {name: both, image: "klab.local/tools:1", args: [sleep, "7001"], securityContext: {privileged: true},
     volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}
  - {name: follows, image: "klab.local/tools:1", args: [sleep, "7002"],
     volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}]}
  - {name: alone, image: "klab.local/tools:1", args: [sleep, "7003"], volumeMounts: [{name: v, mountPath: /v}]}
`

// pidOf is the process of the cluster with this command line: a container that
// runs may still be about to execute its program.
func (l *lab) pidOf(words ...string) (pid string) {
	l.t.Helper()
	require.Eventually(l.t, func() bool {
		found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range found {
			text, _ := os.ReadFile(path)
			groups, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup"))
			if bytes.HasSuffix(text, []byte(strings.Join(words, "\x00")+"\x00")) && bytes.Contains(groups, []byte(l.ID())) {
				pid = strings.Split(path, "/")[2]
			}
		}
		return pid != ""
	}, eventually, tick, "no process %s", words)
	return pid
}

// mountsAt are the lines of a process's mountinfo about what ends so.
func mountsAt(t *testing.T, pid, end string) (lines []string) {
	text, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasSuffix(f[4], end) {
			lines = append(lines, line)
		}
	}
	return lines
}

// What a container mounts in a volume comes to the node and to the container
// that follows the node, to nobody else, and not to the machine.
func TestMountPropagation(t *testing.T) {
	l := newLab(t)
	l.up(1)
	file := filepath.Join(t.TempDir(), "pod.yaml")
	require.NoError(t, os.WriteFile(file, []byte(sharesMounts), 0o600))
	l.kubectl("apply", "-f", file)
	l.kubectl("wait", "--for=condition=Ready", "pod/mounts", "--timeout=120s")
	pid := func(seconds string) string { return l.pidOf("sleep", seconds) }
	both := pid("7001")
	require.NoError(t, netns.Isolate(func() error {
		f, err := os.Open("/proc/" + both + "/ns/mnt")
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mkdir("/v/inner", 0o755); err != nil {
			return err
		}
		return unix.Mount("inner", "/v/inner", "tmpfs", 0, "")
	}))
	require.Contains(t, mountsAt(t, both, "/v/inner")[0], " shared:")
	follows := mountsAt(t, pid("7002"), "/v/inner")
	require.Len(t, follows, 1)
	require.Contains(t, follows[0], " master:")
	require.Empty(t, mountsAt(t, pid("7003"), "/v/inner"))
	require.Empty(t, mountsAt(t, "thread-self", "/inner"), "nothing gets out to the machine")
	l.kubectl("delete", "pod", "mounts", "--grace-period=1")
}
