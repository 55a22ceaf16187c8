package nodens

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupNamespace makes the control group dir (cgroup v2) and returns a cgroup
// namespace rooted in it. Its root is the group of whoever creates it, and a
// thread cannot change groups alone; so a child is born into the group, and
// held by ptrace at its first instruction until its namespace is open.
func cgroupNamespace(dir string) (*os.File, error) {
	if err := makeGroup(dir); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	group, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open control group: %w", err)
	}
	defer group.Close()
	var ns *os.File
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // a tracer is a thread
		defer runtime.UnlockOSThread()
		child, err := os.StartProcess("/proc/self/exe", []string{"klab-cgroup"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
			UseCgroupFD: true, CgroupFD: int(group.Fd()), Unshareflags: unix.CLONE_NEWCGROUP,
			Ptrace: true, Pdeathsig: syscall.SIGKILL,
		}})
		if err != nil {
			done <- fmt.Errorf("start a process in control group %s: %w", dir, err)
			return
		}
		ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/cgroup", child.Pid))
		// SIGKILL ends a process before its exec has stopped for the tracer, too.
		kill := child.Kill()
		_, wait := child.Wait()
		done <- errors.Join(err, kill, wait)
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	return ns, nil
}

// born waits until the process pid, which the calling thread has started with
// SysProcAttr.Ptrace, stands before its first instruction, puts it into the
// group and lets it go. It cannot be born there: whoever is in a cgroup
// namespace, but not in its groups, may not put anybody into one.
func born(pid int, group *os.File) error {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("process %d did not start: %w", pid, err)
		}
		if !status.Stopped() {
			return fmt.Errorf("process %d did not start: it ended (wait status %#x)", pid, int(status))
		}
		break
	}
	// By a thread of the machine's own cgroup namespace: this one is in the node's.
	moved := make(chan error, 1)
	go func() {
		_, err := fmt.Fprint(group, pid)
		moved <- err
	}()
	if err := errors.Join(<-moved, unix.PtraceDetach(pid)); err != nil {
		return fmt.Errorf("put process %d into its control group: %w", pid, err)
	}
	return nil
}

// makeGroup makes the control group dir and hands the controllers that limits
// need down to it, group by group.
func makeGroup(dir string) error {
	rel, err := filepath.Rel(cgroupRoot, dir)
	if err != nil {
		return err
	}
	at := cgroupRoot
	for name := range strings.SplitSeq(rel, "/") {
		offered, err := os.ReadFile(filepath.Join(at, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for _, c := range strings.Fields(string(offered)) {
			if !slices.Contains([]string{"cpu", "cpuset", "io", "memory", "pids"}, c) {
				continue
			}
			err := os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+"+c), 0)
			if errors.Is(err, unix.EBUSY) {
				return fmt.Errorf("%s has processes, so there can be no limits below it (cgroup v2: no internal processes); move them to a group of their own", at)
			}
			if err != nil {
				return err
			}
		}
		at = filepath.Join(at, name)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// removeGroup removes an empty control group and the empty ones below it.
func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for range 50 { // whoever was killed needs a moment
		if err = unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove control group %s: %w (are processes left in it?)", dir, err)
	}
	return nil
}
