package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Unpack writes a layer (OCI image specification, "Image Layer Filesystem
// Changeset") below root, for use as a lower directory of overlayfs: whiteout
// files become overlayfs's own marks. Nothing is written outside of root,
// whatever names and links the layer has; names with ".." are an error. Device
// files are left out: containers get theirs from their configuration.
func Unpack(root *os.Root, layer io.Reader) error {
	u := &unpacker{root: root}
	entries := tar.NewReader(layer)
	for n := 0; ; n++ {
		h, err := entries.Next()
		if err == io.EOF {
			return u.setTimes()
		}
		if err != nil {
			return err
		}
		if n == maxEntries {
			return fmt.Errorf("the layer has more than %d files", maxEntries)
		}
		if err := u.entry(h, entries); err != nil {
			return fmt.Errorf("%.256q: %w", h.Name, err)
		}
	}
}

// What is more than that is made to use up inodes, or the kernel's patience.
const (
	maxEntries = 1 << 20
	maxName    = 4096 // PATH_MAX
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

type unpacker struct {
	root *os.Root
	dirs []*tar.Header // their times are set last
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return nil
	}
	if parent := path.Dir(name); parent != "." {
		if err := u.root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	if base := path.Base(name); strings.HasPrefix(base, whiteout) {
		return u.whiteout(path.Dir(name), base)
	}
	return u.create(name, h, content)
}

// clean makes a name relative to the root, and refuses one that leads out.
func clean(name string) (string, error) {
	if len(name) >= maxName {
		return "", fmt.Errorf("a name of %d bytes is longer than any path may be", len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New(`a name with ".." leads out of the layer`)
		}
	}
	return path.Clean("./" + strings.TrimLeft(name, "/")), nil
}

func (u *unpacker) create(name string, h *tar.Header, content io.Reader) error {
	have, err := u.root.Lstat(name)
	if err == nil && (h.Typeflag != tar.TypeDir || !have.IsDir()) {
		err = u.root.RemoveAll(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		u.dirs = append(u.dirs, h)
		return u.attributes(name, h)
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink: // its target is content: nothing here follows it out
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return u.root.Lchown(name, h.Uid, h.Gid)
	case tar.TypeLink:
		old, err := clean(h.Linkname)
		if err != nil {
			return err
		}
		return u.root.Link(old, name)
	}
	return nil // devices and FIFOs, extended headers
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = setAttributes(f, h)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return u.root.Chtimes(name, time.Time{}, h.ModTime)
}

func (u *unpacker) attributes(name string, h *tar.Header) error {
	f, err := u.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return setAttributes(f, h)
}

func setAttributes(f *os.File, h *tar.Header) error {
	if err := f.Chown(h.Uid, h.Gid); err != nil {
		return err
	}
	if err := f.Chmod(h.FileInfo().Mode()); err != nil { // after chown, which clears setuid
		return err
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || attr != "security.capability" && !strings.HasPrefix(attr, "user.") {
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), attr, []byte(value), 0); err != nil && err != unix.EOPNOTSUPP {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	return nil
}

// whiteout marks what the layers below have and this one has not.
func (u *unpacker) whiteout(dir, base string) error {
	d, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if base == opaque {
		return os.NewSyscallError("setxattr", unix.Fsetxattr(int(d.Fd()), "trusted.overlay.opaque", []byte("y"), 0))
	}
	gone := strings.TrimPrefix(base, whiteout)
	if gone == "" || gone == "." || gone == ".." {
		return errors.New("a whiteout without a name")
	}
	if err := u.root.RemoveAll(path.Join(dir, gone)); err != nil {
		return err
	}
	return os.NewSyscallError("mknod", unix.Mknodat(int(d.Fd()), gone, unix.S_IFCHR, 0))
}

func (u *unpacker) setTimes() error {
	for _, h := range u.dirs {
		name, _ := clean(h.Name)
		if info, err := u.root.Lstat(name); err != nil || !info.IsDir() {
			continue // a later entry replaced it
		}
		if err := u.root.Chtimes(name, time.Time{}, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}
