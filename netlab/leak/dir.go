package leak

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir makes a directory in parent for what a test starts and what may outlive
// it: clusters, runtimes, containers. The directory is locked for as long as
// the test's process lives; a file in it keeps it from being removed as empty,
// and made anew without the lock. Before, clear is called with every directory of
// that prefix whose process has ended without having cleaned up: it was killed,
// or a time limit ended it. What clear cannot remove stays for the next try.
func Dir(parent, prefix string, clear func(dir string) error) (string, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	dir, err := lockedDir(parent, prefix)
	if err != nil {
		return "", err
	}
	others, _ := filepath.Glob(filepath.Join(parent, prefix) + "[0-9]*")
	for _, other := range others {
		if other == dir {
			continue
		}
		held, err := lock(other)
		if err != nil {
			continue // somebody uses it, or it has just gone
		}
		if clear(other) == nil {
			_ = os.RemoveAll(other)
		}
		_ = unix.Close(held)
	}
	return dir, nil
}

// lockedDir makes a directory and locks it until the process ends. Between the
// two somebody may have taken it for one that was left: then another is made.
func lockedDir(parent, prefix string) (dir string, err error) {
	for range 10 {
		if dir, err = os.MkdirTemp(parent, prefix); err != nil {
			return "", err
		}
		if _, err = lock(dir); err == nil {
			return dir, os.WriteFile(filepath.Join(dir, "in-use"), nil, 0o600)
		}
	}
	return "", err
}

func lock(dir string) (fd int, err error) {
	fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		return -1, &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	return fd, nil
}
