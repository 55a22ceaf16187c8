package nodens

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Do runs f on a thread that is in all of the node's namespaces and ends with f.
func (n *Node) Do(f func() error) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	kinds := n.kinds()
	for _, kind := range kinds {
		f, err := netns.OpenKind(n.Pin(kind), kind)
		if err != nil {
			return fmt.Errorf("enter node %s: %w", n.Hostname, err)
		}
		files = append(files, f)
	}
	return netns.Isolate(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("enter node %s: %w", n.Hostname, err)
		}
		for i, kind := range kinds {
			if err := unix.Setns(int(files[i].Fd()), int(kind)); err != nil {
				return fmt.Errorf("enter %s namespace of node %s: %w", kind, n.Hostname, err)
			}
		}
		return f()
	})
}

// Start starts cmd, as cmd.Start does, inside the node; the caller then waits
// for it as for any other. cmd.Path and cmd.Dir are paths of the node's mount
// namespace.
//
// On cgroup v2 a group that hands limits down may have no processes itself, so
// those of a node live in groups below it: cmd.SysProcAttr.UseCgroupFD and
// CgroupFD say which. The process is there from its first instruction. Without
// them it is in its parent's group.
//
// A parent-death signal (cmd.SysProcAttr.Pdeathsig) works: the kernel sends it
// when the starting thread ends, so that thread is kept for as long as the
// process runs.
func (n *Node) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	var group *os.File
	if attr := cmd.SysProcAttr; attr.UseCgroupFD && n.ownCgroup() {
		fd, err := unix.Openat(attr.CgroupFD, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open control group of %s: %w", cmd.Path, err)
		}
		group = os.NewFile(uintptr(fd), "cgroup.procs")
		defer group.Close()
		attr.UseCgroupFD, attr.Ptrace = false, true
	}

	started, finished := make(chan error, 1), make(chan error, 1)
	go func() {
		finished <- n.Do(func() error {
			if err := start(cmd, group); err != nil || cmd.SysProcAttr.Pdeathsig == 0 {
				return err
			}
			fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
			started <- nil
			if err != nil {
				return nil // it has ended and was waited for already
			}
			defer unix.Close(fd)
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			for {
				if _, err := unix.Poll(poll, -1); err != unix.EINTR {
					return nil
				}
			}
		})
	}()
	select {
	case err := <-started:
		return err
	case err := <-finished:
		return err
	}
}

// start is called on the thread that has entered the node.
func start(cmd *exec.Cmd, group *os.File) error {
	if err := cmd.Start(); err != nil || group == nil {
		return err
	}
	if err := born(cmd.Process.Pid, group); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}
