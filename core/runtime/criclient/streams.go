package criclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

// Exec implements Runtime.
func (c *Client) Exec(ctx context.Context, id string, req runtime.ExecRequest) (int, error) {
	if req.Stdout == nil {
		req.Stdout = io.Discard // one stream is needed
	}
	r, err := c.rt.Exec(ctx, &cri.ExecRequest{
		ContainerId: id, Cmd: req.Command, Tty: req.TTY, Stdin: req.Stdin != nil, Stdout: true, Stderr: req.Stderr != nil && !req.TTY,
	})
	if err != nil {
		return 0, plain(err)
	}
	err = stream(ctx, r.Url, req.TTY, req.Stdin, req.Stdout, req.Stderr, req.Resize)
	var code utilexec.CodeExitError
	if errors.As(err, &code) {
		return code.Code, nil
	}
	return 0, err
}

// Attach implements Runtime.
func (c *Client) Attach(ctx context.Context, id string, req runtime.AttachRequest) error {
	tty := req.Resize != nil
	r, err := c.rt.Attach(ctx, &cri.AttachRequest{
		ContainerId: id, Tty: tty, Stdin: req.Stdin != nil, Stdout: req.Stdout != nil, Stderr: req.Stderr != nil && !tty,
	})
	if err != nil {
		return plain(err)
	}
	return stream(ctx, r.Url, tty, req.Stdin, req.Stdout, req.Stderr, req.Resize)
}

// stream connects the streams with those behind a URL until they end.
func stream(ctx context.Context, address string, tty bool, in io.Reader, out, errs io.Writer, resize <-chan runtime.Size) error {
	to, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the runtime's address for a stream: %w", err)
	}
	executor, err := remotecommand.NewSPDYExecutor(direct(), http.MethodPost, to)
	if err != nil {
		return err
	}
	// Both outputs may have one writer, which need not bear two at once.
	var turn sync.Mutex
	o := remotecommand.StreamOptions{Stdin: in, Tty: tty, Stdout: oneByOne(&turn, out)}
	if !tty {
		o.Stderr = oneByOne(&turn, errs)
	}
	if resize != nil {
		o.TerminalSizeQueue = queue(resize)
	}
	return executor.StreamWithContext(ctx, o)
}

// direct is how a runtime's streams are reached: it is on this machine.
func direct() *rest.Config {
	return &rest.Config{
		TLSClientConfig: rest.TLSClientConfig{Insecure: true},
		Proxy:           func(*http.Request) (*url.URL, error) { return nil, nil },
	}
}

type locked struct {
	turn *sync.Mutex
	w    io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	return l.w.Write(p)
}

func oneByOne(turn *sync.Mutex, w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return locked{turn, w}
}

type queue <-chan runtime.Size

func (q queue) Next() *remotecommand.TerminalSize {
	size, ok := <-q
	if !ok {
		return nil
	}
	return &remotecommand.TerminalSize{Width: size.Width, Height: size.Height}
}

// PortForward implements Runtime.
func (c *Client) PortForward(ctx context.Context, sandboxID string, port int32, local io.ReadWriteCloser) error {
	defer local.Close()
	r, err := c.rt.PortForward(ctx, &cri.PortForwardRequest{PodSandboxId: sandboxID, Port: []int32{port}})
	if err != nil {
		return plain(err)
	}
	to, err := url.Parse(r.Url)
	if err != nil {
		return fmt.Errorf("the runtime's address for a stream: %w", err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(direct())
	if err != nil {
		return err
	}
	conn, _, err := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, to).Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err := conn.CreateStream(headers)
	if err != nil {
		return err
	}
	_ = failure.Close() // nothing is said on it from here
	said := make(chan error, 1)
	go func() {
		text, err := io.ReadAll(failure)
		if err == nil && len(text) > 0 {
			err = errors.New(string(text))
		}
		said <- err
	}()
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(data, local) // its end is the other direction's to tell
		_ = data.Close()
	}()
	if _, err := io.Copy(local, data); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return errors.Join(<-said, ctx.Err())
}
