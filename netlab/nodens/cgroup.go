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
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove control group %s: %w (are processes left in it?)", dir, err)
	}
	return nil
}
