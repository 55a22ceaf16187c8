package nodens

import (
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
// namespace. On cgroup v2 the new process is in the caller's own control group
// unless cmd.SysProcAttr.UseCgroupFD says where.
//
// A parent-death signal (cmd.SysProcAttr.Pdeathsig) works: the kernel sends it
// when the starting thread ends, so that thread is kept for as long as the
// process runs.
func (n *Node) Start(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	finished := make(chan error, 1)
	go func() {
		finished <- n.Do(func() error {
			err := cmd.Start()
			if err != nil || cmd.SysProcAttr == nil || cmd.SysProcAttr.Pdeathsig == 0 {
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
				if _, err := unix.Poll(poll, -1); err != syscall.EINTR {
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
