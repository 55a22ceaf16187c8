package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Usage is what a volume takes of its file system.
type Usage struct {
	Bytes  int64 // blocks, not lengths: a sparse file takes what it has
	Inodes int64
}

// UsageOf adds up what lies in path, on its own file system only. A file with
// several names counts once. What vanishes meanwhile counts nothing.
func UsageOf(path string) (Usage, error) {
	if inMemory(path) {
		var s unix.Statfs_t
		err := unix.Statfs(path, &s)
		return Usage{Bytes: int64(s.Blocks-s.Bfree) * s.Bsize, Inodes: int64(s.Files - s.Ffree)}, err
	}
	var u Usage
	seen := map[uint64]bool{}
	var device uint64
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // it has vanished
		}
		st := info.Sys().(*syscall.Stat_t)
		if name == path {
			device = st.Dev
		}
		if st.Dev != device && d.IsDir() {
			return filepath.SkipDir
		}
		if st.Dev != device {
			return nil
		}
		if seen[st.Ino] {
			return nil
		}
		seen[st.Ino] = true
		u.Bytes += st.Blocks * 512
		u.Inodes++
		return nil
	})
	return u, err
}
