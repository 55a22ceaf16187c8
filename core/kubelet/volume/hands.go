package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
)

// Hands make and remove volumes on a node.
type Hands interface {
	Mount(ctx context.Context, m *Mount) error
	Unmount(ctx context.Context, m *Mounted) error
}

// Kernel is the hands that do it; Now is the time in the names of versions.
type Kernel struct {
	Now func() time.Time
}

var _ Hands = Kernel{}

// Done tells whether the volume is on the node as it is to be.
func (m *Mount) Done() bool {
	switch {
	case m.Bind != nil:
		return m.Bind.same(m.Path)
	case m.Host != nil:
		return false
	case m.Files != nil:
		return m.Dir.present(m.Path) && upToDate(m.Path, m.Files)
	}
	return m.Dir.present(m.Path)
}

// present tells whether the directory exists, and its file system if it is to
// have one.
func (d *Dir) present(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	return !d.Memory || inMemory(path)
}

// inMemory tells whether a file system in memory is mounted at path.
func inMemory(path string) bool {
	var fs unix.Statfs_t
	var here, above unix.Stat_t
	err := errors.Join(unix.Statfs(path, &fs), unix.Lstat(path, &here), unix.Lstat(filepath.Dir(path), &above))
	return err == nil && fs.Type == unix.TMPFS_MAGIC && here.Dev != above.Dev
}

// Mount makes the volume, or brings it up to date.
func (k Kernel) Mount(ctx context.Context, m *Mount) error {
	switch {
	case m.Host != nil:
		return checkHost(m.Host)
	case m.Bind != nil:
		return m.bind(ctx)
	}
	fresh := !m.Dir.present(m.Path)
	if fresh {
		if err := m.makeDir(ctx); err != nil {
			return err
		}
	}
	if m.Files != nil {
		return k.write(ctx, m)
	}
	if fresh && m.Dir.Memory && m.Group != nil {
		return own(m.Path, *m.Group, false)
	}
	return nil
}

// makeDir makes the directory. One on disk appears with its mode and its group
// at once, so that one that is there is complete.
func (m *Mount) makeDir(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(m.Path), 0o750); err != nil {
		return err
	}
	if m.Dir.Memory {
		if err := errors.Join(os.MkdirAll(m.Path, 0o777), os.Chmod(m.Path, 0o777)); err != nil {
			return err
		}
		return m.memory(ctx)
	}
	// Not a name that a volume can have.
	next := filepath.Join(filepath.Dir(m.Path), "."+filepath.Base(m.Path))
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(next, 0o777), os.Chmod(next, 0o777)); err != nil {
		return err
	}
	if m.Group != nil {
		if err := own(next, *m.Group, m.Files != nil); err != nil {
			return err
		}
	}
	return os.Rename(next, m.Path)
}

// memory mounts a file system in memory. It is not swapped to a disk where the
// kernel can do without (Linux 6.4).
func (m *Mount) memory(ctx context.Context) error {
	options := []string{"noswap", ""}
	if m.Dir.Size > 0 {
		size := fmt.Sprintf("size=%d", m.Dir.Size)
		options = []string{size + ",noswap", size}
	}
	var err error
	for _, o := range options {
		if err = unix.Mount("tmpfs", m.Path, "tmpfs", 0, o); err == nil {
			line := "mount -t tmpfs tmpfs " + m.Path
			if o != "" {
				line = fmt.Sprintf("mount -t tmpfs -o %s tmpfs %s", o, m.Path)
			}
			ran(ctx, m.Pod, line)
			return nil
		}
	}
	return fmt.Errorf("mount tmpfs at %s: %w", m.Path, err)
}

// write brings the files of the API up to date.
func (k Kernel) write(ctx context.Context, m *Mount) error {
	for _, path := range m.Nested {
		if err := makeBelow(m.Path, path, 0o755); err != nil {
			return fmt.Errorf("make the mount point %s inside of the volume: %w", path, err)
		}
	}
	version, err := writeAtomically(m.Path, m.Files, k.Now(), func() error {
		if m.Group == nil {
			return nil
		}
		return own(m.Path, *m.Group, true)
	})
	if err != nil {
		return err
	}
	ran(ctx, m.Pod, fmt.Sprintf("cd %s && ln -s %s %s && mv -T %s %s", m.Path, version, nextLink, nextLink, dataLink))
	return nil
}

// ran records the command line that does what was done.
func ran(ctx context.Context, pod step.Object, line string) {
	if step.From(ctx) != nil {
		step.Fact(ctx, step.Action{Actor: "kubelet", Verb: step.Ran, Object: pod, Detail: step.RanDetail{Line: line, Via: "mount"}})
	}
}
