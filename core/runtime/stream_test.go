package runtime

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestExec(t *testing.T) {
	n := newNode(t)
	_, id := n.run("web", "sleep")
	var out, errs bytes.Buffer
	code, err := n.Exec(n.ctx, id, ExecRequest{Command: []string{"tool", "echo", "hi"}, Stdout: &out, Stderr: &errs})
	require.NoError(t, err)
	require.Zero(t, code)
	require.Equal(t, "out: hi\n", out.String())
	require.Equal(t, "err: hi\n", errs.String())

	_, code = n.exec(id, "exit", "42")
	require.Equal(t, 42, code)

	out.Reset()
	big := strings.Repeat("0123456789", 100_000)
	code, err = n.Exec(n.ctx, id, ExecRequest{Command: []string{"tool", "cat"}, Stdin: strings.NewReader(big), Stdout: &out})
	require.NoError(t, err)
	require.Zero(t, code)
	require.Equal(t, len(big), out.Len())

	_, err = n.Exec(n.ctx, id, ExecRequest{Command: []string{"nope"}})
	require.ErrorContains(t, err, `exec: "nope": executable file not found in $PATH`)

	text, code := n.exec(id, "linger")
	require.Zero(t, code)
	require.Equal(t, "parent <nil>", text, "a child that holds stdout does not hold exec")

	ctx, cancel := context.WithTimeout(n.ctx, 200*time.Millisecond)
	defer cancel()
	_, err = n.Exec(ctx, id, ExecRequest{Command: []string{"tool", "sleep"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestExecTerminal(t *testing.T) {
	n := newNode(t)
	_, id := n.run("web", "sleep")
	var out bytes.Buffer
	code, err := n.Exec(n.ctx, id, ExecRequest{Command: []string{"tool", "isatty"}, TTY: true, Stdout: &out})
	require.NoError(t, err)
	require.Zero(t, code)
	require.True(t, strings.HasPrefix(out.String(), "true"), out.String())

	out.Reset()
	code, err = n.Exec(n.ctx, id, ExecRequest{Command: []string{"tool", "exit", "9"}, TTY: true, Stdout: &out})
	require.NoError(t, err)
	require.Equal(t, 9, code)

	out.Reset()
	in, typed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := n.Exec(n.ctx, id, ExecRequest{Command: []string{"tool", "cat"}, TTY: true, Stdin: in, Stdout: &out})
		done <- err
	}()
	typed.Write([]byte("abc\n\x04"))
	require.NoError(t, <-done)
	require.Equal(t, "abc\r\nabc\r\n", out.String())
}

func TestAttachAndStdin(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	for _, tty := range []bool{false, true} {
		cat := n.containerConfig("cat", "cat")
		cat.Stdin, cat.StdinOnce, cat.Tty = true, true, tty
		id, err := n.CreateContainer(n.ctx, sandbox, cat, config)
		require.NoError(t, err)
		require.NoError(t, n.StartContainer(n.ctx, id))
		var out bytes.Buffer
		text := "typed\n"
		if tty {
			text += "\x04"
		}
		require.NoError(t, n.Attach(n.ctx, id, AttachRequest{Stdin: strings.NewReader(text), Stdout: &out}))
		status := n.wait(id)
		require.Equal(t, int32(0), status.ExitCode)
		require.Contains(t, out.String(), "typed")
		require.Contains(t, strings.Join(n.log(id), "|"), "stdout F typed")
	}
}

func TestPortForward(t *testing.T) {
	n := newNode(t)
	sandbox, id := n.run("web", "serve", "80")
	eventually(t, "listening", func() bool { return len(n.log(id)) == 1 })
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- n.PortForward(n.ctx, sandbox, 80, theirs) }()
	data, err := io.ReadAll(ours)
	require.NoError(t, err)
	require.Equal(t, "hello\n", string(data))
	<-done
	err = n.PortForward(n.ctx, sandbox, 81, theirs)
	require.ErrorContains(t, err, "connection refused")
}

func TestLogLines(t *testing.T) {
	n := newNode(t)
	_, id := n.run("long", "long", "40000")
	n.wait(id)
	lines := n.log(id)
	require.Len(t, lines, 3)
	require.True(t, strings.HasPrefix(lines[0], "stdout P xxx"))
	require.True(t, strings.HasPrefix(lines[1], "stdout P xxx"))
	require.True(t, strings.HasPrefix(lines[2], "stdout F xxx"))

	_, id = n.run("noeol", "noeol")
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })
	require.NoError(t, n.StopContainer(n.ctx, id, 0))
	require.Equal(t, []string{"stderr F ready", "stdout P no end"}, n.log(id))
}

func TestEvents(t *testing.T) {
	n := newNode(t)
	events, err := n.Events(n.ctx)
	require.NoError(t, err)
	first, err := n.RunPodSandbox(n.ctx, n.sandboxConfig("first"))
	require.NoError(t, err)
	for { // from now on they come one by one
		if e := <-events; e.ContainerId == first && e.ContainerEventType == cri.ContainerEventType_CONTAINER_STARTED_EVENT {
			break
		}
	}
	sandbox, id := n.run("web", "exit", "4")
	n.wait(id)
	var got []string
	for len(got) < 5 {
		e := <-events
		who := "main"
		if e.ContainerId == sandbox {
			who = "pod"
		}
		got = append(got, who+" "+strings.TrimSuffix(strings.TrimPrefix(e.ContainerEventType.String(), "CONTAINER_"), "_EVENT"))
		require.Equal(t, sandbox, e.PodSandboxStatus.Id)
		if e.ContainerEventType == cri.ContainerEventType_CONTAINER_STOPPED_EVENT {
			require.Len(t, e.ContainersStatuses, 1)
			require.Equal(t, int32(4), e.ContainersStatuses[0].ExitCode)
		}
	}
	require.Equal(t, []string{"pod CREATED", "pod STARTED", "main CREATED", "main STARTED", "main STOPPED"}, got)
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
	for {
		if e := <-events; e.ContainerId == sandbox && e.ContainerEventType == cri.ContainerEventType_CONTAINER_DELETED_EVENT {
			break
		}
	}
}
