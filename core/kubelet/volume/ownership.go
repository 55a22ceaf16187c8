package volume

import (
	"os"
	"path/filepath"
)

// Bits that a volume's group gets: ("Configure volume permission and ownership
// change policy for Pods").
const (
	groupWrite = 0o660 // of volumes that pods write
	groupRead  = 0o440 // of volumes that show the API
	groupEnter = 0o110 // of directories
)

// own gives everything below dir to the group, children before parents. New
// files in its directories belong to the group as well.
func own(dir string, group int64, readOnly bool) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := own(filepath.Join(dir, e.Name()), group, readOnly); err != nil {
				return err
			}
		}
	}
	if err := os.Lchown(dir, -1, int(group)); err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink != 0 { // chmod would change what it leads to
		return nil
	}
	mode := info.Mode() | groupWrite
	if readOnly {
		mode = info.Mode() | groupRead
	}
	if info.IsDir() {
		mode |= os.ModeSetgid | groupEnter
	}
	return os.Chmod(dir, mode)
}
