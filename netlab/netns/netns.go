package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Kind is a kind of namespace, by its clone(2) flag.
type Kind int

// The kinds that klab pins.
const (
	Net    Kind = unix.CLONE_NEWNET
	Mount  Kind = unix.CLONE_NEWNS
	UTS    Kind = unix.CLONE_NEWUTS
	Cgroup Kind = unix.CLONE_NEWCGROUP
)

// String is the kind's name in /proc/PID/ns.
func (k Kind) String() string {
	switch k {
	case Net:
		return "net"
	case Mount:
		return "mnt"
	case UTS:
		return "uts"
	case Cgroup:
		return "cgroup"
	}
	return fmt.Sprintf("namespace kind %#x", int(k))
}

// ErrNotNamespace is the error for a path that exists but pins no namespace
// of the kind that was asked for: what a creation that was cut short leaves.
var ErrNotNamespace = errors.New("not a namespace")

// Create makes a new network namespace and pins it at path; directories that
// are missing are made. It does nothing if a namespace is pinned there already,
// and completes a creation that was cut short. The loopback device of a new
// namespace is down.
func Create(path string) error {
	if Pinned(path, Net) {
		return nil
	}
	if err := Delete(path); err != nil {
		return err
	}
	return Isolate(func() error {
		ns, err := vns.New() // the thread's, which ends with this function
		if err != nil {
			return fmt.Errorf("create network namespace %s: %w", path, err)
		}
		defer ns.Close()
		return Pin(path, "/proc/thread-self/ns/net")
	})
}

// Pin keeps the namespace whose nsfs file is source alive at path.
func Pin(path, source string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("pin namespace: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return fmt.Errorf("pin namespace: %w", err)
	}
	f.Close()
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin namespace %s at %s: %w", source, path, err)
	}
	return nil
}

// Delete removes the pin at path, if there is one. The namespace itself ends
// with the last process, socket or pin that holds it.
func Delete(path string) error { return Unpin(path) }

// Unpin removes a pin of any kind, and what a creation that was cut short may
// have left in its place.
func Unpin(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue // a pin on a pin
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			break
		}
		return fmt.Errorf("remove pin %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin: %w", err)
	}
	return nil
}

// Pinned says whether a namespace of this kind is pinned at path.
func Pinned(path string, kind Kind) bool {
	f, err := OpenKind(path, kind)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Open opens the network namespace at path.
func Open(path string) (*os.File, error) { return OpenKind(path, Net) }

// OpenKind opens the namespace at path and makes sure that it is one of this
// kind: ErrNotNamespace if not, fs.ErrNotExist if nothing is there.
func OpenKind(path string, kind Kind) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s namespace: %w", kind, err)
	}
	got, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || Kind(got) != kind {
		f.Close()
		return nil, fmt.Errorf("open %s namespace %s: %w", kind, path, ErrNotNamespace)
	}
	return f, nil
}

// ID is a namespace's identity: two nsfs files with the same ID are the same
// namespace. An ID may be used again once its namespace is gone.
type ID struct{ Dev, Ino uint64 }

// Identify returns the identity of the namespace at path, of any kind. The
// calling process's own are at /proc/self/ns.
func Identify(path string) (ID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ID{}, fmt.Errorf("identify namespace %s: %w", path, err)
	}
	return ID{Dev: st.Dev, Ino: st.Ino}, nil
}
