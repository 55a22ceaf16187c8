package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A place is an empty directory of the machine's over which nodes, each in its
// own mount namespace, mount a directory of theirs.

// placeMark is the extended attribute of the directories that klab made for it.
const placeMark = "trusted.klab"

// makePlace makes a place, and marks those of its directories that were not
// there before.
func makePlace(dir string) error {
	if err := os.Mkdir(dir, 0o755); err == nil {
		// Without extended attributes the directory stays, as it would for a container runtime.
		_ = unix.Setxattr(dir, placeMark, []byte("made"), 0)
		return nil
	} else if errors.Is(err, fs.ErrExist) {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makePlace(filepath.Dir(dir)); err != nil {
		return err
	}
	return makePlace(dir)
}

// removePlaces removes the places that klab made and that no node of any
// cluster uses any more.
func removePlaces(dirs ...string) error {
	for _, dir := range dirs {
		used, err := mounted(dir)
		if err != nil {
			return err
		}
		if used {
			continue
		}
		for ; placeMarked(dir); dir = filepath.Dir(dir) {
			err := unix.Rmdir(dir)
			if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY) {
				break // somebody has put something there
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove %s: %w", dir, err)
			}
		}
	}
	return nil
}

func placeMarked(dir string) bool {
	n, err := unix.Getxattr(dir, placeMark, nil)
	return err == nil && n > 0
}

// mounted tells whether something is mounted at dir in any mount namespace:
// to remove the directory would unmount it there.
func mounted(dir string) (bool, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		return false, err
	}
	at := []byte(" " + dir + " ")
	for _, p := range processes {
		if text, err := os.ReadFile(p); err == nil && bytes.Contains(text, at) { // others have just ended
			return true, nil
		}
	}
	return false, nil
}
