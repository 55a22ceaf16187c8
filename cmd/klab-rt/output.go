//go:build linux && cgo

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/crilog"
	"github.com/klab-project/klab/core/runtime/shim"
)

// output is a container's streams: FIFOs "out", "err" and, if wanted, "in" in
// its bundle, or a terminal. The container holds out and err open for reading
// and writing, so that it neither blocks nor dies when nobody reads.
type output struct {
	req  shim.Create
	dir  string
	tty  bool
	log  *crilog.File
	wait sync.WaitGroup

	streams []*crilog.Stream

	mu     sync.Mutex
	master *os.File // of the terminal
	stdin  *os.File // where the container's input is written
}

// newOutput makes or reopens the FIFOs.
func (c *container) newOutput(tty bool) (*output, error) {
	dir, req := c.dir(), c.req
	o := &output{req: req, dir: dir, tty: tty}
	var err error
	if o.log, err = crilog.Open(req.Log, warn); err != nil {
		return nil, err
	}
	if tty || req.Log == "" && !req.Stdin {
		return o, nil
	}
	for _, name := range []string{"out", "err"} {
		f, err := openFIFO(filepath.Join(dir, name), unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			o.finish()
			return nil, err
		}
		o.streams = append(o.streams, &crilog.Stream{Name: "std" + name, From: f, Log: o.log, Pump: c.s.pump})
	}
	if req.Stdin { // fails while no container reads: see connect
		o.stdin, _ = openFIFO(filepath.Join(dir, "in"), unix.O_WRONLY|unix.O_NONBLOCK)
	}
	return o, nil
}

// openFIFO makes the FIFO if need be. Without O_NONBLOCK the file is given to
// a container and stays in blocking mode.
func openFIFO(path string, flags int) (*os.File, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && err != unix.EEXIST {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// toKeep are the files that the pod's keeper holds.
func (o *output) toKeep() map[string]int {
	files := map[string]int{}
	for _, s := range o.streams {
		files[s.Name] = rawFD(s.From)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stdin != nil && !o.tty {
		files["stdin"] = rawFD(o.stdin)
	}
	return files
}

// takeTerminal goes on with a terminal that was kept.
func (o *output) takeTerminal(keep *keeper, id string) {
	fd, ok := keep.take(id, "stdout")
	if !ok {
		return
	}
	master := os.NewFile(uintptr(fd), "terminal")
	o.master, o.stdin = master, master
	o.streams = []*crilog.Stream{{Name: "stdout", From: master, Log: o.log, Terminal: true}}
}

func (o *output) fifos() (files []*os.File) {
	for _, s := range o.streams {
		files = append(files, s.From)
	}
	return files
}

// giveFiles makes pipes the process's own, so that it may open them again as
// /dev/stdout also where its user namespace does not have our root.
func giveFiles(config *configs.Config, user int, files []*os.File) error {
	uid, err := config.HostUID(user)
	if err != nil {
		return err
	}
	for _, f := range files {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
			continue
		}
		if err := f.Chown(uid, -1); err != nil {
			return err
		}
	}
	return nil
}

// stdio is the container's side of its streams while it is being started.
type stdio struct {
	files  []*os.File
	master *os.File // our end of the socket pair that a terminal comes through
}

// connect gives process its side.
func (o *output) connect(process *libcontainer.Process) (_ *stdio, err error) {
	given := &stdio{}
	if o.tty {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		given.master = os.NewFile(uintptr(pair[0]), "console")
		process.ConsoleSocket = os.NewFile(uintptr(pair[1]), "console")
		given.files = append(given.files, process.ConsoleSocket)
		return given, nil
	}
	open := func(path string, flags int) *os.File {
		if err != nil {
			return nil
		}
		var f *os.File
		if f, err = openFIFO(path, flags); err == nil {
			given.files = append(given.files, f)
		}
		return f
	}
	if len(o.streams) > 0 {
		process.Stdout = open(filepath.Join(o.dir, "out"), unix.O_RDWR)
		process.Stderr = open(filepath.Join(o.dir, "err"), unix.O_RDWR)
	}
	if o.req.Stdin && err == nil {
		in := open(filepath.Join(o.dir, "in"), unix.O_RDONLY|unix.O_NONBLOCK)
		if err == nil {
			o.stdin, err = openFIFO(filepath.Join(o.dir, "in"), unix.O_WRONLY|unix.O_NONBLOCK)
			_ = unix.SetNonblock(int(in.Fd()), false)
			process.Stdin = in
		}
	}
	if err != nil {
		shim.CloseAll(given.files)
		return nil, err
	}
	return given, nil
}

// started closes the container's side and takes the terminal if there is one.
func (g *stdio) started(o *output, ok bool) error {
	shim.CloseAll(g.files)
	if g.master == nil {
		return nil
	}
	defer g.master.Close()
	if !ok {
		return nil
	}
	master, err := shim.ReceiveTerminal(g.master)
	if err != nil {
		return err
	}
	o.master, o.stdin = master, master
	o.streams = []*crilog.Stream{{Name: "stdout", From: master, Log: o.log, Terminal: true}}
	return nil
}

// follow begins to copy what the container writes.
func (o *output) follow() {
	for _, s := range o.streams {
		o.wait.Go(s.Run)
	}
}

// finish copies what is left and closes everything; the container is gone.
func (o *output) finish() {
	for _, s := range o.streams {
		s.Stop()
	}
	o.wait.Wait()
	for _, s := range o.streams {
		s.From.Close()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stdin != nil && o.master == nil {
		o.stdin.Close()
	}
	o.stdin = nil
	o.log.Close()
}

func (o *output) reopen() error {
	if o == nil {
		return nil
	}
	return o.log.Reopen()
}

func (o *output) resize(size *shim.Size) error {
	if o == nil || o.master == nil || size == nil {
		return errors.New("the container has no terminal")
	}
	return shim.Resize(o.master, *size)
}

// attach connects the caller's files until the container ends or the caller
// hangs up.
func (c *container) attach(conn *net.UnixConn, req *shim.Attach, files []*os.File) error {
	o := c.output()
	if req == nil || o == nil || c.loaded() == nil {
		return &shim.Error{Code: shim.CodeState, Message: "container not running: it is " + string(c.snapshot().Status)}
	}
	want := 2
	if req.Stdin {
		want = 3
	}
	if len(files) != want {
		return fmt.Errorf("attach: %d files are needed, and not %d", want, len(files))
	}
	for i, s := range o.streams { // before the input: it may be answered at once
		defer s.Attach(files[i+want-2])()
	}
	if req.Stdin {
		go func() {
			if o.feed(files[0]) {
				c.keeper().release(c.id, "stdin")
			}
		}()
	}
	select {
	case <-c.done:
	case <-hungUp(conn):
	}
	return nil
}

// feed copies input to the container until its end, and says whether that is
// the end of the container's input, too.
func (o *output) feed(from *os.File) (ended bool) {
	o.mu.Lock()
	to := o.stdin
	o.mu.Unlock()
	if to == nil {
		return false
	}
	_, err := io.Copy(to, from)
	if err == nil && o.req.StdinOnce && !o.tty {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.stdin == to {
			to.Close()
			o.stdin = nil
			return true
		}
	}
	return false
}
