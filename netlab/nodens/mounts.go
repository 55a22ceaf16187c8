package nodens

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// furnish turns the calling thread's mount namespace, a fresh copy of the
// machine's, into a node's. What is mounted in the node stays in it; inside of
// it mounts propagate, as systemd has it on a machine, so that a pod's
// mountPropagation means something. (mount_namespaces(7).)
func furnish(ownCgroup bool) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.fstype == "nsfs" {
			err := unix.Unmount(m.path, unix.MNT_DETACH)
			// Who removes a pin elsewhere at this moment removes it here as well.
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("let go of the pin %s: %w", m.path, err)
			}
		}
	}
	if err := freshSys(ownCgroup); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("let mounts propagate inside of the node: %w", err)
	}
	return nil
}

// freshSys mounts a sysfs that shows the calling thread's network namespace,
// with control groups below it.
func freshSys(ownCgroup bool) error {
	carried := -1
	if !ownCgroup {
		var err error
		carried, err = unix.OpenTree(unix.AT_FDCWD, cgroupRoot, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("keep %s: %w (Linux 5.2 or newer is needed)", cgroupRoot, err)
		}
		if err == nil {
			defer unix.Close(carried)
		}
	}
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount the machine's /sys: %w", err)
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("sysfs", "/sys", "sysfs", flags, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if ownCgroup {
		if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", flags, "nsdelegate"); err != nil {
			return fmt.Errorf("mount %s: %w", cgroupRoot, err)
		}
	} else if carried >= 0 {
		if err := unix.MoveMount(carried, "", unix.AT_FDCWD, cgroupRoot, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("bring %s back: %w", cgroupRoot, err)
		}
	}
	return nil
}

// preparePins makes sure that mounts made in dir stay where they are. A mount
// namespace cannot be pinned where the pin would propagate into that namespace
// itself, and systemd makes all of the machine's mounts propagate.
func preparePins(dir string) error {
	m, err := mountOf(dir)
	if err != nil || !m.shared {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to itself: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make %s private: %w", dir, err)
	}
	return nil
}

// releasePins undoes preparePins.
func releasePins(dir string) error {
	for {
		m, err := mountOf(dir)
		real, _ := filepath.EvalSymlinks(dir)
		if err != nil || m.path == "" || m.path != real {
			return err
		}
		if err := unix.Unmount(real, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", real, err)
		}
	}
}

// mount is a line of proc_pid_mountinfo(5).
type mount struct {
	path, fstype string
	shared       bool
}

// readMounts lists the calling thread's mounts, the latest first.
func readMounts() ([]mount, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []mount
	for lines := bufio.NewScanner(f); lines.Scan(); {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		head := strings.Fields(before)
		if tail := strings.Fields(after); ok && len(head) >= 6 && len(tail) > 0 {
			m := mount{path: unescape(head[4]), fstype: tail[0]}
			for _, tag := range head[6:] {
				m.shared = m.shared || strings.HasPrefix(tag, "shared:")
			}
			list = append([]mount{m}, list...)
		}
	}
	return list, nil
}

// unescape undoes the kernel's octal escapes in paths.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// mountOf finds the mount that dir is on.
func mountOf(dir string) (mount, error) {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return mount{}, nil
	}
	if err != nil {
		return mount{}, err
	}
	mounts, err := readMounts()
	if err != nil {
		return mount{}, err
	}
	var best mount
	for _, m := range mounts {
		inside := m.path == "/" || real == m.path || strings.HasPrefix(real, m.path+"/")
		if inside && len(m.path) > len(best.path) {
			best = m
		}
	}
	return best, nil
}
