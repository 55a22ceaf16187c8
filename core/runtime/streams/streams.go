// Package streams fits the callbacks of k8s.io/cri-streaming, which speaks
// SPDY and WebSockets to kubectl, to the runtime: the kubelet and the CRI
// server both serve exec and attach with it.
//
// There are two verbs: [Exec] and [Attach].
package streams

import (
	"context"
	"fmt"
	"io"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/klab-project/klab/core/runtime"
)

// Terminal is what is at the learner's end; each of its parts may be missing.
type Terminal struct {
	In     io.Reader
	Out    io.WriteCloser
	Err    io.WriteCloser
	TTY    bool
	Resize <-chan remotecommand.TerminalSize
}

// Executor runs a command in a container.
type Executor interface {
	Exec(ctx context.Context, id string, req runtime.ExecRequest) (int, error)
}

// Exec runs a command. An exit code that is not 0 is a utilexec.CodeExitError.
func Exec(ctx context.Context, rt Executor, container string, cmd []string, t Terminal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	code, err := rt.Exec(ctx, container, runtime.ExecRequest{
		Command: cmd, TTY: t.TTY, Stdin: t.In, Stdout: writer(t.Out), Stderr: writer(t.Err), Resize: sizes(ctx, t.Resize),
	})
	if err == nil && code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return err
}

// Attacher connects to a container's process.
type Attacher interface {
	Attach(ctx context.Context, id string, req runtime.AttachRequest) error
}

// Attach connects a terminal to a container.
func Attach(ctx context.Context, rt Attacher, container string, t Terminal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return rt.Attach(ctx, container, runtime.AttachRequest{
		Stdin: t.In, Stdout: writer(t.Out), Stderr: writer(t.Err), Resize: sizes(ctx, t.Resize),
	})
}

// writer keeps a missing stream missing: a nil *T in an interface is not nil.
func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

func sizes(ctx context.Context, in <-chan remotecommand.TerminalSize) <-chan runtime.Size {
	if in == nil {
		return nil
	}
	out := make(chan runtime.Size)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case size, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- runtime.Size{Width: size.Width, Height: size.Height}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}
