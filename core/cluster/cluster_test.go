package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/leak"
)

// lab is a cluster of a test: its own root, its own name.
type lab struct {
	t testing.TB
	cluster.Dir
	klab string
}

// newLab makes a place for a cluster, and checks in the end that the machine
// is as it was.
func newLab(t testing.TB) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a cluster has namespaces and cgroups")
	}
	klab, err := filepath.Abs("../../bin/klab")
	require.NoError(t, err)
	_, err = os.Stat(klab)
	require.NoError(t, err, "run \"make\" first: these tests are of the program that it builds")

	root, err := leak.Dir("/var/tmp", "klab-c", cluster.DownAll)
	require.NoError(t, err)
	d, err := cluster.NewDir(root, strings.TrimPrefix(filepath.Base(root), "klab-"))
	require.NoError(t, err)
	l := &lab{t: t, Dir: d, klab: klab}
	leak.Check(t, filepath.Base(root), d.Name)
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(d.Path, "logs", "*"))
			for _, path := range logs {
				text, _ := os.ReadFile(path)
				t.Logf("%s:\n%s", path, text)
			}
		}
		require.NoError(t, cluster.Down(context.Background(), d, false))
		require.NoError(t, os.RemoveAll(root))
	})
	return l
}

func (l *lab) up(nodes int) {
	l.t.Helper()
	require.NoError(l.t, cluster.Up(context.Background(), l.Dir, cluster.UpOptions{Nodes: nodes, Wait: true, Without: cluster.Addons(), Self: l.klab}))
}

// kubectl runs the built-in kubectl and returns what it prints.
func (l *lab) kubectl(args ...string) string {
	l.t.Helper()
	out, err := l.try(args...)
	require.NoError(l.t, err, "kubectl %s: %s", strings.Join(args, " "), out)
	return out
}

func (l *lab) try(args ...string) (string, error) {
	cmd := exec.Command(l.klab, append([]string{"--cluster", l.Name, "kubectl"}, args...)...)
	cmd.Env = append(os.Environ(), "KLAB_ROOT="+filepath.Dir(l.Path))
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// eventually waits until kubectl prints want.
func (l *lab) eventually(want string, args ...string) {
	l.t.Helper()
	var got string
	require.Eventually(l.t, func() bool {
		got, _ = l.try(args...)
		return got == want
	}, eventually, tick, "kubectl %s", strings.Join(args, " "))
}

// kill kills the cluster's process with a role, and waits for its end.
func (l *lab) kill(role string) {
	l.t.Helper()
	var fd int
	require.Eventually(l.t, func() bool {
		var err error
		fd, err = unix.PidfdOpen(l.pid(role), 0)
		return err == nil
	}, eventually, time.Millisecond, "no %s", role)
	defer unix.Close(fd)
	require.NoError(l.t, unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
	require.Eventually(l.t, func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	}, eventually, time.Millisecond, "%s does not end", role)
}

// restarts kills the process with a role, and waits for the next one.
func (l *lab) restarts(role string) {
	l.t.Helper()
	l.kill(role)
	l.running(role)
}

// signal sends a signal to the cluster's process with a role.
func (l *lab) signal(role string, sig syscall.Signal) {
	l.t.Helper()
	require.NoError(l.t, syscall.Kill(l.running(role), sig))
}

// running waits for the process with a role: one that was killed before may be
// about to begin again.
func (l *lab) running(role string) (pid int) {
	l.t.Helper()
	require.Eventually(l.t, func() bool { pid = l.pid(role); return pid != 0 }, eventually, time.Millisecond, "no %s", role)
	return pid
}

const (
	eventually = 2 * time.Minute
	tick       = 20 * time.Millisecond

	containerID = "jsonpath={.status.containerStatuses[0].containerID}"
	restarts    = "jsonpath={.status.containerStatuses[0].restartCount}"
	phase       = "jsonpath={.status.phase}"
)

// runCounter starts a pod that prints a number ten times a second.
func (l *lab) runCounter(name string) {
	l.kubectl("run", name, "--image=klab.local/tools:1", "--", "sh", "-c", "i=0; while true; do echo $i; i=$((i+1)); sleep 0.1; done")
	l.kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=120s")
}

// logs is a pod's log, as soon as its kubelet answers: it may be beginning again.
func (l *lab) logs(name string, args ...string) (text string) {
	l.t.Helper()
	args = append([]string{"logs", name}, args...)
	require.Eventually(l.t, func() bool {
		var err error
		text, err = l.try(args...)
		return err == nil
	}, eventually, tick, "kubectl %s", strings.Join(args, " "))
	return text
}

// noGap checks that a counter's log has every number, and each of them once.
func (l *lab) noGap(name string) {
	l.t.Helper()
	lines := strings.Fields(l.logs(name))
	require.NotEmpty(l.t, lines)
	for i, line := range lines {
		require.Equal(l.t, strconv.Itoa(i), line)
	}
}

func TestUpAndDownLeaveNothing(t *testing.T) {
	l := newLab(t)
	l.up(3)
	l.kubectl("create", "deployment", "web", "--image=klab.local/tools:1", "--replicas=6", "--", "httpd", ":8080")
	l.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	require.NoError(t, cluster.Down(context.Background(), l.Dir, false))
	require.False(t, l.Exists())
	require.NoError(t, cluster.Down(context.Background(), l.Dir, false), "down may be repeated")
}

func TestKilledAgentLosesNothing(t *testing.T) {
	l := newLab(t)
	l.up(1)
	l.runCounter("counter")
	l.kubectl("run", "short", "--image=klab.local/tools:1", "--restart=Never", "--", "sh", "-c", "sleep 1; exit 7")
	require.Eventually(t, func() bool {
		got, err := l.try("get", "pod", "short", "-o", phase)
		return err == nil && got != "Pending" // a slow machine sees only its end
	}, eventually, tick)
	id := l.kubectl("get", "pod", "counter", "-o", containerID)
	for range 3 {
		l.kill("agent/node-1")
		time.Sleep(500 * time.Millisecond)
	}
	l.eventually("Failed", "get", "pod", "short", "-o", phase)
	require.Equal(t, "7", l.kubectl("get", "pod", "short", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"))
	require.Equal(t, id, l.kubectl("get", "pod", "counter", "-o", containerID))
	require.Equal(t, "0", l.kubectl("get", "pod", "counter", "-o", restarts))
	l.noGap("counter")
	l.kubectl("run", "after", "--image=klab.local/tools:1", "--", "sleep", "600")
	l.kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=120s")
}

func TestKilledRuntimeTakesItsContainersUpAgain(t *testing.T) {
	l := newLab(t)
	l.up(1)
	l.runCounter("counter")
	id := l.kubectl("get", "pod", "counter", "-o", containerID)
	l.kill("klab-rt/node-1")
	l.kubectl("run", "after", "--image=klab.local/tools:1", "--", "sleep", "600")
	l.kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=120s")
	require.Equal(t, id, l.kubectl("get", "pod", "counter", "-o", containerID))
	l.noGap("counter")
}

func TestKilledDaemonLosesNothing(t *testing.T) {
	l := newLab(t)
	l.up(2)
	l.runCounter("counter")
	id := l.kubectl("get", "pod", "counter", "-o", containerID)
	l.kill("daemon")
	_, err := l.try("get", "pods")
	require.Error(t, err)
	l.up(0)
	require.Equal(t, id, l.kubectl("get", "pod", "counter", "-o", containerID))
	require.Equal(t, "0", l.kubectl("get", "pod", "counter", "-o", restarts))
	l.noGap("counter")
}

func TestEverythingKilledThenDown(t *testing.T) {
	l := newLab(t)
	l.up(2)
	l.runCounter("counter")
	for _, role := range []string{"daemon", "agent/node-1", "agent/node-2", "klab-rt/node-1", "klab-rt/node-2"} {
		l.kill(role)
	}
	require.NoError(t, cluster.Down(context.Background(), l.Dir, false))
}

func TestEverythingKilledThenUp(t *testing.T) {
	l := newLab(t)
	l.up(1)
	l.runCounter("counter")
	for _, role := range []string{"daemon", "agent/node-1", "klab-rt/node-1"} {
		l.signal(role, syscall.SIGKILL)
	}
	l.up(0) // while they still end
	l.kubectl("wait", "--for=condition=Ready", "pod/counter", "--timeout=120s")
	l.noGap("counter")
}

func TestDownKeepThenUpGoesOn(t *testing.T) {
	l := newLab(t)
	l.up(2)
	l.kubectl("create", "configmap", "kept", "--from-literal=a=b")
	l.kubectl("create", "deployment", "web", "--image=klab.local/tools:1", "--replicas=3", "--", "httpd", ":8080")
	l.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	port := l.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
	require.NoError(t, cluster.Down(context.Background(), l.Dir, true))
	require.True(t, l.Exists())
	l.up(0)
	require.Equal(t, port, l.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"))
	require.Equal(t, "b", l.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}"))
	l.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	l.eventually("3", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
}

func TestPacketsBetweenPodsOfAllNodesWithoutNAT(t *testing.T) {
	l := newLab(t)
	l.up(2)
	addr := map[string]string{}
	for _, pod := range []struct{ name, node string }{{"a", "node-1"}, {"b", "node-1"}, {"c", "node-2"}} {
		l.kubectl("run", pod.name, "--image=klab.local/tools:1", `--overrides={"spec":{"nodeName":"`+pod.node+`"}}`, "--", "httpd", ":8080")
		l.kubectl("wait", "--for=condition=Ready", "pod/"+pod.name, "--timeout=120s")
		addr[pod.name] = l.kubectl("get", "pod", pod.name, "-o", "jsonpath={.status.podIP}")
	}
	for from := range addr {
		for to, ip := range addr {
			var answer string
			require.Eventually(t, func() bool { // Ready does not say that it listens
				var err error
				answer, err = l.try("exec", from, "--", "wget", "-q", "-O", "-", "http://"+ip+":8080/")
				return err == nil
			}, eventually, tick, "%s to %s", from, to)
			require.Contains(t, answer, "pod      "+to, "the pod that answers")
			if from != to {
				require.Contains(t, answer, addr[from], "the address that it sees is the client's own")
			}
		}
	}
}

func TestTwoClustersSideBySide(t *testing.T) {
	one, two := newLab(t), newLab(t)
	one.up(1)
	two.up(1)
	one.kubectl("create", "configmap", "only-here", "--from-literal=a=b")
	_, err := two.try("get", "configmap", "only-here")
	require.Error(t, err)
	require.NoError(t, cluster.Down(context.Background(), one.Dir, false))
	two.runCounter("still-there")
}

func TestUpSaysWhyNot(t *testing.T) {
	l := newLab(t)
	require.ErrorContains(t, cluster.Up(context.Background(), l.Dir, cluster.UpOptions{Nodes: 99, Self: l.klab}), "1 to 50 nodes")
	busy := listen(t)
	err := cluster.Up(context.Background(), l.Dir, cluster.UpOptions{Nodes: 1, Port: busy, Self: l.klab})
	require.ErrorContains(t, err, fmt.Sprintf("port %d on 127.0.0.1 is in use", busy))
	require.False(t, l.Exists(), "nothing is left")
}
