package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	goruntime "runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/shim"
)

// drain is how long a stream may stay silent after its command ended, in case
// a child of the command still holds it.
const drain = 300 * time.Millisecond

// Exec implements Runtime.
func (c *Client) Exec(ctx context.Context, id string, req ExecRequest) (int, error) {
	m, err := c.containerMeta(id)
	if err != nil {
		return 0, err
	}
	p := &pipes{}
	defer p.close()
	var theirs []*os.File
	if req.TTY {
		theirs, err = p.terminal(req)
	} else {
		theirs, err = p.stdio(req.Stdin, req.Stdout, req.Stderr)
	}
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	call := shim.Request{Verb: shim.VerbExec, ID: id, Exec: &shim.Exec{Args: req.Command, TTY: req.TTY}}
	res, err := p.run(ctx, c.rt, call, theirs)
	if err != nil {
		var e *shim.Error
		if errors.As(err, &e) && e.Code == shim.CodeStart {
			return 0, errors.New(e.Message)
		}
		return 0, translate(id, err)
	}
	ranExec(ctx, m, req.Command, res.ExitCode)
	return res.ExitCode, nil
}

// Attach implements Runtime.
func (c *Client) Attach(ctx context.Context, id string, req AttachRequest) error {
	m, err := c.containerMeta(id)
	if err != nil {
		return err
	}
	p := &pipes{}
	defer p.close()
	theirs, err := p.stdio(req.Stdin, req.Stdout, req.Stderr)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	call := shim.Request{Verb: shim.VerbAttach, ID: id, Attach: &shim.Attach{Stdin: req.Stdin != nil && m.container.Stdin}}
	if !call.Attach.Stdin {
		theirs[0].Close()
		theirs = theirs[1:]
	}
	resizing, stop := context.WithCancel(ctx)
	defer stop()
	if m.container.Tty && req.Resize != nil {
		go func() {
			for {
				select {
				case size := <-req.Resize:
					s := shim.Size(size)
					_, _ = c.rt.Do(resizing, shim.Request{Verb: shim.VerbResize, ID: id, Size: &s})
				case <-resizing.Done():
					return
				}
			}
		}()
	}
	_, err = p.run(ctx, c.rt, call, theirs)
	return translate(id, err)
}

// pipes are our ends of a command's streams, with those who copy.
type pipes struct {
	ours    []*os.File
	sources []*source      // those of ours that are read
	copying sync.WaitGroup // what the command writes
	moved   atomic.Int64
	later   func() error // after klab-rt has the request
	input   func()       // begins to copy stdin
}

// run makes the call and copies until the command ended and nothing comes.
func (p *pipes) run(ctx context.Context, rt shim.Client, call shim.Request, theirs []*os.File) (*shim.Response, error) {
	defer shim.CloseAll(theirs)
	type result struct {
		res *shim.Response
		err error
	}
	done := make(chan result, 1)
	go func() {
		res, err := rt.Do(ctx, call, theirs...)
		shim.CloseAll(theirs) // so that the pipes end with the command
		done <- result{res, err}
	}()
	if p.input != nil {
		go p.input()
	}
	if p.later != nil {
		// The terminal comes before the command ends, or its socket closes.
		if err := p.later(); err != nil {
			r := <-done
			if r.err == nil {
				r.err = err
			}
			return r.res, r.err
		}
	}
	r := <-done
	if r.err == nil {
		p.settle(ctx)
	}
	return r.res, r.err
}

// settle waits until the streams are at their end, or silent: what lies in a
// pipe is still to be copied, however late that is.
func (p *pipes) settle(ctx context.Context) {
	ended := make(chan struct{})
	go func() { p.copying.Wait(); close(ended) }()
	for moved := int64(-1); moved != p.moved.Load() || p.pending(); {
		moved = p.moved.Load()
		select {
		case <-ended:
			return
		case <-ctx.Done():
			return
		case <-time.After(drain):
		}
	}
}

// pending tells whether something lies in a pipe or terminal, or whether it
// has just ended, and its copier has not seen that yet.
func (p *pipes) pending() bool {
	return slices.ContainsFunc(p.sources, func(s *source) bool { return !s.ended.Load() && s.ready() })
}

// source is what a command writes into.
type source struct {
	file  *os.File
	ended atomic.Bool // nobody reads it any more
}

// ready tells whether a reader would not wait.
func (s *source) ready() (ready bool) {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return false
	}
	_ = conn.Control(func(fd uintptr) {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		ready = n > 0
	})
	return ready
}

func (p *pipes) close() {
	shim.CloseAll(p.ours)
	p.copying.Wait()
}

// stdio makes pipes; their ends are stdin, stdout and stderr. One writer for
// both outputs gets one pipe, and what comes in the order of its writing.
func (p *pipes) stdio(in io.Reader, out, errs io.Writer) (theirs []*os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	theirs = []*os.File{r}
	p.ours = append(p.ours, w)
	p.input = func() {
		if in != nil {
			_, _ = io.Copy(w, in) // the process need not read it
		}
		w.Close()
	}
	for i, to := range []io.Writer{out, errs} {
		if i == 1 && same(out, errs) {
			return append(theirs, theirs[1]), nil
		}
		r, w, err := os.Pipe()
		if err != nil {
			shim.CloseAll(theirs)
			return nil, err
		}
		theirs, p.ours = append(theirs, w), append(p.ours, r)
		p.copy(to, r)
	}
	return theirs, nil
}

// same tells whether a and b are one writer.
func same(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

func (p *pipes) copy(to io.Writer, from *os.File) {
	if to == nil {
		to = io.Discard
	}
	s := &source{file: from}
	p.sources = append(p.sources, s)
	p.copying.Go(func() {
		_, _ = io.Copy(&counter{to, &p.moved}, from)
		s.ended.Store(true)
	})
}

type counter struct {
	w io.Writer
	n *atomic.Int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// terminal makes a socket pair; the command's init sends its terminal to us.
func (p *pipes) terminal(req ExecRequest) ([]*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "console"), os.NewFile(uintptr(pair[1]), "console")
	p.later = func() error {
		defer ours.Close()
		master, err := shim.ReceiveTerminal(ours)
		if err != nil {
			return err
		}
		p.ours = append(p.ours, master)
		p.copy(req.Stdout, master)
		if req.Stdin != nil {
			go func() { _, _ = io.Copy(master, req.Stdin) }()
		}
		if req.Resize != nil {
			go func() {
				for size := range req.Resize {
					if shim.Resize(master, shim.Size(size)) != nil {
						return
					}
				}
			}()
		}
		return nil
	}
	return []*os.File{theirs}, nil
}

// PortForward implements Runtime.
func (c *Client) PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	m, err := c.sandboxMeta(sandboxID)
	if err != nil {
		return err
	}
	state, err := c.call(ctx, shim.VerbState, sandboxID)
	if err != nil {
		return err
	}
	if state.Status != shim.Running {
		return fmt.Errorf("port forward: sandbox %s is not ready", short(sandboxID))
	}
	netns := fmt.Sprintf("/proc/%d/ns/net", state.PID)
	if namespaces(m.sandbox).GetNetwork() == cri.NamespaceMode_NODE {
		netns = "/proc/self/ns/net"
	}
	conn, err := dialIn(ctx, netns, int(port))
	if err != nil {
		return fmt.Errorf("port forward to %d: %w", port, err)
	}
	defer conn.Close()
	defer stream.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, stream)
		conn.(*net.TCPConn).CloseWrite()
		sent <- err
	}()
	_, err = io.Copy(stream, conn)
	stream.Close()
	return errors.Join(err, ctx.Err())
}

// dialIn connects to a port on the loopback of another network namespace.
func dialIn(ctx context.Context, path string, port int) (net.Conn, error) {
	target, err := netns.GetFromPath(path)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	onOwnThread(func() {
		if err := netns.Set(target); err != nil { //nolint:forbidigo // see above
			done <- result{nil, os.NewSyscallError("setns", err)}
			return
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			if six, err6 := d.DialContext(ctx, "tcp6", "[::1]:"+strconv.Itoa(port)); err6 == nil {
				conn, err = six, nil
			}
		}
		done <- result{conn, err}
	})
	r := <-done
	return r.conn, r.err
}

// onOwnThread calls f in a goroutine on a thread that ends with it. It is not
// the process's first thread: that one cannot end, would stay where f brought
// it, and /proc/self would tell of another namespace for ever.
func onOwnThread(f func()) {
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // still locked
		}
		defer goruntime.UnlockOSThread()
		over := make(chan struct{})
		onOwnThread(func() { // gets another one while this is held
			defer close(over)
			f()
		})
		<-over
	}()
}
