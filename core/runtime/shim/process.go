package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options say how klab-rt is run. Root and Program must be absolute. Root must
// not be below the program's directory: overlayfs could not seal the program
// then, and each start would copy it (7 ms instead of none). Nodes that run
// the same file share its pages.
type Options struct {
	Program string // the klab-rt binary
	Root    string
	Socket  string // default Root/klab-rt.sock
	// Attr may put it into a cgroup; it always becomes a session of its own.
	Attr *syscall.SysProcAttr
}

// Supervise sees to it that a klab-rt serves the root until ctx ends: it uses
// the one that is there and starts one when there is none. The last one is
// left running. ready, if not nil, is called each time one answers.
func Supervise(ctx context.Context, o Options, ready func(error)) {
	if o.Socket == "" {
		o.Socket = Socket(o.Root)
	}
	for wait := 10 * time.Millisecond; ctx.Err() == nil; {
		began := time.Now()
		err := ensure(ctx, o)
		if ready != nil && ctx.Err() == nil {
			ready(err)
		}
		if err == nil {
			// The connection of an event stream ends with the process.
			_ = Client{Socket: o.Socket}.Events(ctx, func(Event) {})
		}
		if time.Since(began) > 5*time.Second {
			wait = 10 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			wait = min(2*wait, 2*time.Second)
		}
	}
}

func ensure(ctx context.Context, o Options) error {
	if _, err := (Client{Socket: o.Socket, Patience: time.Nanosecond}).Do(ctx, Request{Verb: VerbPing}); err == nil {
		return nil
	}
	return Start(ctx, o)
}

// Start starts klab-rt and returns when it serves. The process outlives its
// parent; while the parent lives it is waited for.
func Start(ctx context.Context, o Options) error {
	if err := os.MkdirAll(o.Root, 0o711); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(o.Root, "klab-rt.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	args := []string{"-root", o.Root, "-ready-fd", "3"}
	if o.Socket != "" {
		args = append(args, "-socket", o.Socket)
	}
	cmd := exec.Command(o.Program, args...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles, cmd.Dir = log, log, []*os.File{w}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if o.Attr != nil {
		*cmd.SysProcAttr = *o.Attr
	}
	cmd.SysProcAttr.Setsid = true
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start klab-rt: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	closed := make(chan struct{})
	go func() { _, _ = r.Read(make([]byte, 1)); close(closed) }()
	select {
	case <-closed: // it serves, or it is dead
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err = Client{Socket: firstOf(o.Socket, Socket(o.Root)), Patience: time.Nanosecond}.Do(ctx, Request{Verb: VerbPing})
	if err != nil {
		select {
		case <-ended: //nolint:errcheck // its log says more
		case <-time.After(time.Second):
		}
		return fmt.Errorf("klab-rt did not start: %s", lastLine(log.Name(), before, err))
	}
	return nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func lastLine(path string, from int64, otherwise error) string {
	data, err := os.ReadFile(path)
	if err != nil || int64(len(data)) <= from {
		return otherwise.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data[from:])), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "klab-rt: ")
}

// Stop kills the klab-rt of a root, if there is one, and waits for its end.
// Containers go on.
func Stop(ctx context.Context, root string) error {
	f, err := os.OpenFile(Lock(root), os.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil // nobody holds it
		}
		if err != unix.EWOULDBLOCK {
			return os.NewSyscallError("flock", err)
		}
		// Who holds the lock wrote its number there, so it is alive.
		data := make([]byte, 32)
		n, _ := f.ReadAt(data, 0)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(data[:n]))); err == nil && serves(pid, root) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// serves tells whether a process is the klab-rt of root: the number in the
// lock file may be that of its predecessor.
func serves(pid int, root string) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && pid > 1 && strings.Contains(string(data), "\x00-root\x00"+root+"\x00")
}
