//go:build linux && cgo

// Klab-rt owns the containers of one node. It is small because every start of
// a container executes it once more, and separate because it must outlive the
// node's agent: it knows libcontainer and nothing of Kubernetes. Its protocol
// is core/runtime/shim.
//
// A server has containers; each has an output that becomes its log. Start at
// server.go. Kill it whenever you like: what it knows is on disk, containers
// write into FIFOs which they hold open themselves, and the next klab-rt takes
// them up again (adopt.go).
//
// The same program is, by its first arguments, the "init" of a container, as
// libcontainer wants it, and the "/pause" of a sandbox (pause.c).
//
// Build it static and with seccomp:
//
//	CGO_ENABLED=1 go build -tags 'netgo osusergo seccomp' \
//	  -ldflags '-s -w -linkmode external -extldflags -static' -o core/runtime/rtbin/bin/klab-rt ./cmd/klab-rt
package main

// #include <unistd.h>
import "C"

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"

	_ "github.com/opencontainers/cgroups/devices"
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

func main() {
	// libcontainer enters containers' mount namespaces on threads that it throws
	// away; the main thread cannot be, and would keep a dead container's mounts.
	// So the main goroutine has that thread to itself, and waits.
	runtime.LockOSThread()
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init() // does not return
	}
	done := make(chan error)
	go func() { done <- run() }()
	if err := <-done; err != nil {
		fmt.Fprintln(os.Stderr, "klab-rt:", err)
		os.Exit(1)
	}
}

func run() error {
	root := flag.String("root", "", "directory of this node's containers (required)")
	socket := flag.String("socket", "", "unix socket to serve (default ROOT/klab-rt.sock)")
	ready := flag.Int("ready-fd", 0, "file descriptor that is closed as soon as calls are answered")
	version := flag.Bool("version", false, "print the version and end")
	flag.Parse()
	if *version {
		fmt.Println(shim.Version)
		return nil
	}
	if !filepath.IsAbs(*root) {
		return fmt.Errorf("-root must be an absolute path, not %q", *root)
	}
	if *socket == "" {
		*socket = shim.Socket(*root)
	}
	logrus.SetLevel(logrus.WarnLevel)
	debug.SetGCPercent(50)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a sub-reaper: %w", err)
	}
	lock, err := takeLock(*root)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := preparePause(*root); err != nil {
		return fmt.Errorf("prepare the pause program: %w", err)
	}
	s, err := newServer(*root)
	if err != nil {
		return err
	}
	if err := s.adoptAll(); err != nil {
		return err
	}
	go s.reapOrphans()
	listener, err := shim.Listen(*socket)
	if err != nil {
		return err
	}
	if *ready > 0 {
		os.NewFile(uintptr(*ready), "ready").Close()
	}
	return s.serve(listener)
}

// takeLock makes sure that a root has one klab-rt.
func takeLock(root string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(root, "c"), 0o711); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(shim.Lock(root), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another klab-rt serves %s already: stop it, or use another -root", root)
	}
	// Whoever wants to end this process finds it here.
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	return f, err
}

// preparePause makes the root file system of sandboxes, which all of them
// share read-only: this program under another name, and mount points.
func preparePause(root string) error {
	dir := filepath.Join(root, "pause")
	for _, d := range []string{"dev", "proc", "sys"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	path := filepath.Join(dir, "pause")
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return err
	}
	if have, err := os.Stat(path); err == nil && os.SameFile(have, self) {
		return nil
	}
	// A link shares this program's pages; across file systems it is a copy.
	os.Remove(path + ".new")
	if unix.Linkat(unix.AT_FDCWD, "/proc/self/exe", unix.AT_FDCWD, path+".new", unix.AT_SYMLINK_FOLLOW) != nil {
		if err := copyFile("/proc/self/exe", path+".new"); err != nil {
			return err
		}
	}
	return os.Rename(path+".new", path)
}

// copyFile lets the kernel copy.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o555)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
