package runtime

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/shim"
)

// killRT kills klab-rt; its supervisor starts another one.
func (n *node) killRT() {
	data, err := os.ReadFile(shim.Lock(n.root))
	require.NoError(n.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	require.NoError(n.t, err)
	require.NoError(n.t, unix.Kill(pid, unix.SIGKILL))
	eventually(n.t, "a new klab-rt", func() bool {
		data, _ := os.ReadFile(shim.Lock(n.root))
		next, err := strconv.Atoi(strings.TrimSpace(string(data)))
		return err == nil && next != pid
	})
}

func TestKilledShimLosesNothing(t *testing.T) {
	n := newNode(t)
	_, id := n.run("count", "count", "2000", "20us")
	pid := n.pid(id)
	for range 5 {
		before := len(n.log(id))
		n.killRT()
		if unix.Kill(pid, 0) == nil {
			eventually(t, "the log goes on", func() bool { return len(n.log(id)) > before || unix.Kill(pid, 0) != nil })
		}
	}
	status := n.wait(id)
	require.Equal(t, int32(0), status.ExitCode)
	lines := n.log(id)
	for i, line := range lines {
		require.Equal(t, fmt.Sprint("stdout F line ", i), line, "each line is there once")
	}
	require.Len(t, lines, 2000)
}

func TestExitWhileShimIsAway(t *testing.T) {
	n := newNode(t)
	sandbox, id := n.run("trap", "trap", "7")
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })
	n.killRT()
	status, err := n.ContainerStatus(n.ctx, id)
	require.NoError(t, err)
	require.Equal(t, cri.ContainerState_CONTAINER_RUNNING, status.State)
	out, code := n.exec(id, "echo", "again")
	require.Zero(t, code)
	require.Contains(t, out, "out: again")

	require.NoError(t, unix.Kill(n.pid(id), unix.SIGTERM))
	status = n.wait(id)
	if keepsExitCodes(t) {
		require.Equal(t, int32(7), status.ExitCode)
	} else {
		require.Equal(t, int32(255), status.ExitCode)
		require.Equal(t, "ContainerStatusUnknown", status.Reason)
	}
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
}

func TestCreatedContainerSurvivesShim(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	id, err := n.CreateContainer(n.ctx, sandbox, n.containerConfig("main", "echo", "late"), config)
	require.NoError(t, err)
	n.killRT()
	require.NoError(t, n.StartContainer(n.ctx, id))
	n.wait(id)
	require.Contains(t, n.log(id), "stdout F out: late")
}

func TestNewClientTakesOver(t *testing.T) {
	n := newNode(t)
	sandbox, id := n.run("web", "count", "0", "1ms")
	n.open()
	eventually(t, "logs go on", func() bool { return len(n.log(id)) > 10 })
	all, err := n.ListContainers(n.ctx)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, id, all[0].Id)
	require.Equal(t, sandbox, all[0].PodSandboxId)
	require.Equal(t, "main", all[0].Metadata.Name)
	status, err := n.PodSandboxStatus(n.ctx, sandbox)
	require.NoError(t, err)
	require.Equal(t, "10.244.1.2", status.Network.Ip)
	images, err := n.ListImages(n.ctx)
	require.NoError(t, err)
	require.Equal(t, []string{n.image}, images[0].RepoTags)
}

// keepsExitCodes says whether a pidfd of this kernel knows how its process
// ended also after somebody else reaped it: Linux 6.15.
func keepsExitCodes(t *testing.T) bool {
	var uts unix.Utsname
	require.NoError(t, unix.Uname(&uts))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &major, &minor)
	require.NoError(t, err)
	return major > 6 || major == 6 && minor >= 15
}

// stopRT stops klab-rt where it is, until it is killed. Its threads go on for a
// while after the signal.
func (n *node) stopRT() {
	data, err := os.ReadFile(shim.Lock(n.root))
	require.NoError(n.t, err)
	rt, err := strconv.Atoi(strings.TrimSpace(string(data)))
	require.NoError(n.t, err)
	require.NoError(n.t, unix.Kill(rt, unix.SIGSTOP))
	eventually(n.t, "klab-rt stands", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", rt))
		require.NoError(n.t, err)
		return len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
			data, err := os.ReadFile(path)
			return err == nil && !strings.Contains(string(data), ") T ")
		})
	})
}

// TestNothingLostWhenAllEnd is the worst case: neither klab-rt nor a client is
// there while the container writes and ends. The pause process has its files.
func TestNothingLostWhenAllEnd(t *testing.T) {
	n := newNode(t)
	_, id := n.run("trap", "trap", "7")
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })
	n.killRT() // what is kept passes from one klab-rt to the next
	pid := n.pid(id)
	out, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", pid), os.O_WRONLY, 0)
	require.NoError(t, err)
	defer out.Close()
	n.Client.Close()
	n.stopRT()
	_, err = out.WriteString("last words\n")
	require.NoError(t, err)
	out.Close()
	require.NoError(t, unix.Kill(pid, unix.SIGTERM))
	eventually(t, "it ended", func() bool {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(data), ") Z ")
	})
	n.killRT()
	n.Client = nil
	n.open()
	status := n.wait(id)
	require.Equal(t, []string{"stdout F ready", "stdout F last words"}, n.log(id))
	if keepsExitCodes(t) {
		require.Equal(t, int32(7), status.ExitCode)
		require.Equal(t, "Error", status.Reason)
	}
}

// TestTerminalSurvivesShim: the terminal does not hang up, and typing goes on.
func TestTerminalSurvivesShim(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	cat := n.containerConfig("cat", "cat")
	cat.Stdin, cat.Tty = true, true
	id := n.start(sandbox, cat, config)
	for _, word := range []string{"one", "two", "three"} {
		n.killRT()
		ctx, cancel := context.WithCancel(n.ctx)
		attached := make(chan error, 1)
		go func() {
			attached <- n.Attach(ctx, id, AttachRequest{Stdin: strings.NewReader(word + "\n"), Stdout: io.Discard})
		}()
		eventually(t, word, func() bool { return strings.Contains(strings.Join(n.log(id), "|"), "stdout F "+word) })
		cancel()
		<-attached
	}
	require.NoError(t, n.Attach(n.ctx, id, AttachRequest{Stdin: strings.NewReader("\x04"), Stdout: io.Discard}))
	require.Equal(t, int32(0), n.wait(id).ExitCode)
}

// TestPodsWhileShimIsKilled: verbs that meet a dying klab-rt are repeated, and
// what it left half done is not in the way.
func TestPodsWhileShimIsKilled(t *testing.T) {
	n := newNode(t)
	var pods sync.WaitGroup
	codes := make(chan int32, 12)
	for i := range 12 {
		pods.Go(func() {
			sandbox, id := n.run(fmt.Sprint("p", i), "exit", "6")
			codes <- n.wait(id).ExitCode
			require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
		})
	}
	for range 4 {
		time.Sleep(30 * time.Millisecond)
		n.killRT()
	}
	pods.Wait()
	unknown := 0
	for range 12 {
		if code := <-codes; code != 6 {
			require.Equal(t, int32(255), code)
			unknown++
		}
	}
	t.Logf("%d of 12 exit codes were lost with klab-rt", unknown)
	left, err := os.ReadDir(n.root + "/c")
	require.NoError(t, err)
	require.Empty(t, left)
}
