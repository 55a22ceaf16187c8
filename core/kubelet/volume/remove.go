package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

// Mounted is a volume, or a subPath of one, that a pod has on the node.
type Mounted struct {
	Pod    step.Object
	Volume string
	Plugin string // empty for subPaths
	Path   string
}

// TearDown removes all volumes of a pod, whoever made them. It is safe to
// repeat, and an error means that something is still mounted or still there.
func TearDown(ctx context.Context, hands Hands, pod step.Object, podDir string) error {
	var errs []error
	for _, m := range List(pod, podDir) {
		errs = append(errs, hands.Unmount(ctx, m))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	left, err := mountsBelow(podDir)
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(left) { // what no volume explains
		errs = append(errs, unmount(path))
	}
	if left, err = mountsBelow(podDir); err != nil || len(left) > 0 {
		return errors.Join(append(errs, err, fmt.Errorf("still mounted: %s", strings.Join(left, ", ")))...)
	}
	return errors.Join(os.RemoveAll(filepath.Join(podDir, SubPaths)), os.RemoveAll(filepath.Join(podDir, "volumes")))
}

// List is what there is of a pod's volumes, subPaths first.
func List(pod step.Object, podDir string) []*Mounted {
	var list []*Mounted
	subs, _ := filepath.Glob(escapeGlob(podDir) + "/" + SubPaths + "/*/*/*")
	for _, path := range subs {
		list = append(list, &Mounted{Pod: pod, Volume: filepath.Base(filepath.Dir(filepath.Dir(path))), Path: path})
	}
	dirs, _ := filepath.Glob(escapeGlob(podDir) + "/volumes/kubernetes.io~*/*")
	for _, path := range dirs {
		plugin := strings.Replace(filepath.Base(filepath.Dir(path)), "~", "/", 1)
		list = append(list, &Mounted{Pod: pod, Volume: filepath.Base(path), Plugin: plugin, Path: path})
	}
	return list
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Unmount removes what is mounted and then the directory. What lies in a
// volume is removed only when nothing else is mounted in it any more.
func (Kernel) Unmount(ctx context.Context, m *Mounted) error {
	below, err := mountsBelow(m.Path)
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(below) {
		if err := unmount(path); err != nil {
			return err
		}
	}
	if left, err := mountsBelow(m.Path); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("volume %s: still mounted: %s", m.Volume, strings.Join(left, ", ")))
	}
	if len(below) > 0 {
		ran(ctx, m.Pod, "umount "+m.Path)
	}
	return os.RemoveAll(m.Path)
}

// unmount unmounts everything at path; nothing there is fine.
func unmount(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
			return nil
		case err != nil:
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// mountsBelow are the mount points below a directory, or at it, parents before
// children. (proc_pid_mountinfo(5).)
func mountsBelow(dir string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if path := unescape(fields[4]); path == dir || strings.HasPrefix(path, dir+"/") {
			list = append(list, path)
		}
	}
	return list, nil
}

// unescape reads octal escapes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
