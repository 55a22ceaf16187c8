package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

// CleanOptions names a node's runtime. CgroupParent and Root are paths as the
// caller sees them.
type CleanOptions struct {
	Root         string
	CgroupParent string // everything in it is killed, except the caller
	KeepImages   bool
}

// Clean ends a node's klab-rt and containers and removes all that they made:
// mounts, cgroups, state, and the images unless they are to be kept. It asks
// nobody, so it works after any process was killed, and it may be repeated.
func Clean(ctx context.Context, o CleanOptions) error {
	if !filepath.IsAbs(o.Root) || filepath.Clean(o.Root) == "/" {
		return fmt.Errorf("clean: Root must be an absolute path below /, not %q", o.Root)
	}
	err := shim.Stop(ctx, o.Root)
	if o.CgroupParent != "" {
		err = errors.Join(err, shim.KillCgroup(o.CgroupParent))
	}
	err = errors.Join(err, unmountUnder(o.Root))
	if o.CgroupParent != "" {
		err = errors.Join(err, shim.RemoveCgroup(o.CgroupParent))
	}
	if err != nil {
		return fmt.Errorf("clean: %w", err)
	}
	names := []string{"c", "rt", "pause", "pending", "klab-rt.sock", "klab-rt.lock", "klab-rt.log"}
	if !o.KeepImages {
		names = append(names, "layers", "images.json")
	}
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(o.Root, name)))
	}
	if removed := os.Remove(o.Root); removed != nil && !errors.Is(removed, unix.ENOTEMPTY) && !errors.Is(removed, os.ErrNotExist) && !errors.Is(removed, unix.EBUSY) {
		err = errors.Join(err, removed)
	}
	return err
}

// unmountUnder unmounts everything below root, the last mount first.
func unmountUnder(root string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var targets []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(unescape(fields[4]), filepath.Clean(root)+"/") {
			targets = append(targets, unescape(fields[4]))
		}
	}
	for _, target := range slices.Backward(targets) {
		if e := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); e != nil && e != unix.EINVAL && e != unix.ENOENT {
			err = errors.Join(err, &os.PathError{Op: "unmount", Path: target, Err: e})
		}
	}
	return err
}

// unescape undoes the octal escapes of proc_pid_mountinfo(5).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
