package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Client calls a klab-rt. It has no state: it may be copied, used by many at
// once, and outlive the klab-rt that it first spoke to.
type Client struct {
	Socket string
	// Patience is how long a call waits for a klab-rt that is just being
	// started again; default 5 s.
	Patience time.Duration
}

// Do makes one call. It repeats the call when klab-rt goes away in between;
// for exec and attach that is an error.
func (c Client) Do(ctx context.Context, req Request, files ...*os.File) (*Response, error) {
	once := req.Verb == VerbExec || req.Verb == VerbAttach
	for {
		conn, err := c.dial(ctx)
		if err != nil {
			return nil, err
		}
		res, err := try(ctx, conn, req, files)
		if err == nil || once || ctx.Err() != nil || !gone(err) {
			return res, err
		}
	}
}

func try(ctx context.Context, conn *net.UnixConn, req Request, files []*os.File) (*Response, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var res Response
	err := Send(conn, req, files...)
	if err == nil {
		_, err = Receive(conn, &res)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("klab-rt %s: %w", req.Verb, err)
	}
	if res.Error != "" {
		return &res, &Error{Code: res.Code, Message: res.Error}
	}
	return &res, nil
}

// Events calls f for every event until ctx ends or the stream breaks, and
// returns why.
func (c Client) Events(ctx context.Context, f func(Event)) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := Send(conn, Request{Verb: VerbEvents}); err != nil {
		return err
	}
	for {
		var e Event
		if _, err := Receive(conn, &e); err != nil {
			return err
		}
		f(e)
	}
}

func (c Client) dial(ctx context.Context) (*net.UnixConn, error) {
	patience := c.Patience
	if patience == 0 {
		patience = 5 * time.Second
	}
	until := time.Now().Add(patience)
	for {
		conn, err := dialUnix(c.Socket)
		if err == nil {
			return conn, nil
		}
		if !gone(err) || time.Now().After(until) {
			return nil, fmt.Errorf("klab-rt does not answer on %s: %w", c.Socket, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func dialUnix(path string) (*net.UnixConn, error) {
	path, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}

// Listen makes klab-rt's socket, in place of a dead one.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return l, os.Chmod(path, 0o600)
}

// shortPath names path so that it fits the 108 bytes of a sockaddr_un.
func shortPath(path string) (string, func(), error) {
	if len(path) < 108 {
		return path, func() {}, nil
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { unix.Close(fd) }, nil
}

// gone tells a klab-rt that was killed, or is not yet there, from other trouble.
func gone(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ENOENT, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
