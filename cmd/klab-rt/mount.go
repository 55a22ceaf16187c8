//go:build linux && cgo

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

// mountAll makes the mounts; after an error none is left.
func mountAll(mounts []shim.Mount) error {
	mapped := true
	for i, m := range mounts {
		err := os.MkdirAll(m.Target, 0o755)
		switch {
		case err != nil:
		case m.Type == "bind" && m.UserNS != "":
			var could bool
			could, err = mountMapped(m)
			mapped = mapped && could
		default:
			err = unix.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data)
			if err == nil && m.UserNS != "" && !mapped {
				err = giveTo(m.UserNS, m.Target)
			}
		}
		if err != nil {
			_ = unmountAll(mounts[:i+1])
			return mountError(m, err)
		}
	}
	return nil
}

func mountError(m shim.Mount, err error) error {
	err = fmt.Errorf("mount %s on %s: %w", m.Type, m.Target, err)
	if m.Type == "overlay" && errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w (the state directory may itself be on an overlay file system: put it on a disk or a tmpfs)", err)
	}
	return err
}

// unmountAll undoes the mounts, last first. It may be repeated.
func unmountAll(mounts []shim.Mount) error {
	for _, m := range slices.Backward(mounts) {
		err := unix.Unmount(m.Target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && err != unix.EINVAL && err != unix.ENOENT { // not mounted, not there
			return fmt.Errorf("unmount %s: %w", m.Target, err)
		}
	}
	return nil
}
