package criserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/runtime/streams"
	"github.com/klab-project/klab/core/step"
)

// urls makes the addresses under which streams are served, each for one use.
type urls interface {
	GetExec(*cri.ExecRequest) (*cri.ExecResponse, error)
	GetAttach(*cri.AttachRequest) (*cri.AttachResponse, error)
	GetPortForward(*cri.PortForwardRequest) (*cri.PortForwardResponse, error)
}

func (s *server) serveStreams(ctx context.Context, c Config) error {
	if len(c.Streams) == 0 {
		return nil
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: c.Streams[0].Addr().String(), Path: "/"}
	srv, err := streaming.NewServer(config, streamer{s.rt, step.From(ctx)})
	if err != nil {
		return err
	}
	s.streams = srv
	for _, l := range c.Streams {
		serveHTTP(ctx, srv, l)
	}
	return nil
}

func (s *server) haveStreams() error {
	if s.streams == nil {
		return status.Error(codes.Unimplemented, "this server was given no port for streams")
	}
	return nil
}

// running completes the id of a container that must run.
func (s *server) running(ctx context.Context, id string) (string, error) {
	id, err := s.containerID(ctx, id)
	if err != nil {
		return "", err
	}
	c, err := s.rt.ContainerStatus(ctx, id)
	if err != nil {
		return "", err
	}
	if c.State != cri.ContainerState_CONTAINER_RUNNING {
		return "", status.Errorf(codes.FailedPrecondition, "container is in %s state", c.State)
	}
	return id, nil
}

func (s *server) Exec(ctx context.Context, req *cri.ExecRequest) (*cri.ExecResponse, error) {
	id, err := s.running(ctx, req.ContainerId)
	if err = errors.Join(err, s.haveStreams()); err != nil {
		return nil, err
	}
	req.ContainerId = id
	return s.streams.GetExec(req)
}

func (s *server) Attach(ctx context.Context, req *cri.AttachRequest) (*cri.AttachResponse, error) {
	id, err := s.running(ctx, req.ContainerId)
	if err = errors.Join(err, s.haveStreams()); err != nil {
		return nil, err
	}
	req.ContainerId = id
	return s.streams.GetAttach(req)
}

func (s *server) PortForward(ctx context.Context, req *cri.PortForwardRequest) (*cri.PortForwardResponse, error) {
	id, err := s.sandboxID(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	pod, err := s.rt.PodSandboxStatus(ctx, id)
	if err = errors.Join(err, s.haveStreams()); err != nil {
		return nil, err
	}
	if pod.State != cri.PodSandboxState_SANDBOX_READY {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox is in %s state", pod.State)
	}
	req.PodSandboxId = id
	return s.streams.GetPortForward(req)
}

// ExecSync runs a command to its end and returns what it printed, of each
// stream as much as a message takes.
func (s *server) ExecSync(ctx context.Context, req *cri.ExecSyncRequest) (*cri.ExecSyncResponse, error) {
	id, err := s.running(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	if req.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.Timeout)*time.Second)
		defer cancel()
	}
	out, errs := &bounded{left: maxMessage/2 - 4096}, &bounded{left: maxMessage/2 - 4096}
	code, err := s.rt.Exec(ctx, id, runtime.ExecRequest{Command: req.Cmd, Stdout: out, Stderr: errs})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, status.Errorf(codes.DeadlineExceeded, "command %q timed out after %d s", req.Cmd, req.Timeout)
	}
	if err != nil {
		return nil, err
	}
	return &cri.ExecSyncResponse{Stdout: out.bytes(), Stderr: errs.bytes(), ExitCode: int32(code)}, nil
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	mu   sync.Mutex
	b    bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(p), b.left)
	b.left -= n
	b.b.Write(p[:n])
	return len(p), nil
}

func (b *bounded) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

// streamer carries streams to the runtime.
type streamer struct {
	rt  runtime.Runtime
	lab *step.Lab
}

func (s streamer) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return streams.Exec(step.With(ctx, s.lab), s.rt, id, cmd, streams.Terminal{In: in, Out: out, Err: errs, TTY: tty, Resize: resize})
}

func (s streamer) Attach(ctx context.Context, id string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return streams.Attach(step.With(ctx, s.lab), s.rt, id, streams.Terminal{In: in, Out: out, Err: errs, TTY: tty, Resize: resize})
}

func (s streamer) PortForward(ctx context.Context, sandbox string, port int32, stream io.ReadWriteCloser) error {
	return s.rt.PortForward(step.With(ctx, s.lab), sandbox, port, stream)
}
