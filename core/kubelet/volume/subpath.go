package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bind is a path inside of a volume, as one container has it mounted. What
// containers write in the volume meanwhile cannot lead out of it: the path is
// opened beneath the volume, and what was opened is what is mounted.
type Bind struct {
	Volume    string // where the volume is
	Sub       string
	Container string
}

// SubPaths is the directory below a pod's that has the binds.
const SubPaths = "volume-subpaths"

// Sub plans the mount of a path inside of the volume that m is for one of a
// container's mounts, the index-th.
func Sub(m *Mount, podDir, sub, container string, index int) *Mount {
	return &Mount{
		Pod: m.Pod, Volume: m.Volume, Plugin: m.Plugin, Path: filepath.Join(podDir, SubPaths, m.Volume, container, strconv.Itoa(index)),
		Bind: &Bind{Volume: m.Path, Sub: sub, Container: container},
	}
}

// ValidSub refuses paths that would leave the volume by what they say.
func ValidSub(sub string) error {
	if filepath.IsAbs(sub) {
		return fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
	}
	return noBacksteps(sub, "unable to provision SubPath `%s`: %w")
}

// MakeSub makes the path as a directory if it is not there, with the mode of
// the volume's own directory.
func MakeSub(volume, sub string) error {
	info, err := os.Stat(volume)
	if err != nil {
		return err
	}
	f, err := openBeneath(volume, sub)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil // it is there, and mounting it will say what is wrong
	}
	return makeBelow(volume, sub, info.Mode())
}

// makeBelow makes a directory and its parents inside of a volume.
func makeBelow(volume, path string, mode os.FileMode) error {
	root, err := os.OpenRoot(volume)
	if err != nil {
		return err
	}
	defer root.Close()
	sofar := ""
	for part := range strings.SplitSeq(filepath.Clean(path), "/") {
		sofar = filepath.Join(sofar, part)
		switch err := root.Mkdir(sofar, 0o700); {
		case errors.Is(err, os.ErrExist):
			continue
		case err != nil:
			return err
		}
		if err := root.Chmod(sofar, mode.Perm()|mode&(os.ModeSetgid|os.ModeSticky)); err != nil {
			return err
		}
	}
	info, err := root.Stat(path)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("%s: %w", path, unix.ENOTDIR)
	}
	return err
}

// openBeneath opens a path without leaving the volume (openat2(2)).
func openBeneath(volume, sub string) (*os.File, error) {
	dir, err := unix.Open(volume, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(dir, sub, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), sub), nil
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR): // something was renamed meanwhile
		default:
			return nil, err
		}
	}
}

// same tells whether what is mounted at target is what the path is now.
func (b *Bind) same(target string) bool {
	f, err := openBeneath(b.Volume, b.Sub)
	if err != nil {
		return false
	}
	defer f.Close()
	want, err := f.Stat()
	if err != nil {
		return false
	}
	have, err := os.Lstat(target)
	return err == nil && os.SameFile(want, have)
}

// bind mounts the path. What an earlier container had there goes away first:
// after an update it is something else.
func (m *Mount) bind(ctx context.Context) error {
	f, err := openBeneath(m.Bind.Volume, m.Bind.Sub)
	if err != nil {
		return fmt.Errorf("error opening subpath %s: %w", m.Bind.Sub, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := unmount(m.Path); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.Path), 0o750); err != nil {
		return err
	}
	if err := os.Remove(m.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if info.IsDir() {
		err = os.Mkdir(m.Path, 0o750)
	} else {
		err = os.WriteFile(m.Path, nil, 0o640)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), m.Path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("error mounting %s: %w", m.Bind.Sub, err)
	}
	ran(ctx, m.Pod, fmt.Sprintf("mount --bind %s %s", filepath.Join(m.Bind.Volume, m.Bind.Sub), m.Path))
	return nil
}
