package volume

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Files of the API lie in a directory of their own, named by the time; the
// link ..data names it, and each name at the top of the volume leads through
// ..data. Changing that one link, which is atomic, changes all files at once:
// readers see all of the old ones or all of the new ones.
const (
	dataLink = "..data"
	nextLink = "..data_tmp"
)

const (
	maxPath = 4096
	maxName = 255
)

// upToDate tells whether the volume in dir shows exactly the files.
func upToDate(dir string, files map[string]File) bool {
	now, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil {
		return false
	}
	count := 0
	base := filepath.Join(dir, now)
	err = filepath.WalkDir(base, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		count++
		name, _ := filepath.Rel(base, path)
		data, err := os.ReadFile(path)
		if f, ok := files[name]; err != nil || !ok || !bytes.Equal(f.Data, data) {
			return errors.New("differs")
		}
		top, _, _ := strings.Cut(name, "/")
		_, err = os.Lstat(filepath.Join(dir, top))
		return err
	})
	return err == nil && count == len(clean(files))
}

// clean gives each file its shortest path.
func clean(files map[string]File) map[string]File {
	out := make(map[string]File, len(files))
	for path, f := range files {
		out[filepath.Clean(path)] = f
	}
	return out
}

// writeAtomically makes the volume in dir show exactly the files. Own is
// called before they can be seen. It returns the directory that has them.
func writeAtomically(dir string, files map[string]File, now time.Time, own func() error) (string, error) {
	for path := range files {
		if err := validPath(path); err != nil {
			return "", err
		}
	}
	files = clean(files)
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := removeUnused(dir, old); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(dir, now.UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return "", err
	}
	err = fill(fresh, files)
	if err == nil && own != nil {
		err = own()
	}
	if err == nil {
		err = os.Symlink(filepath.Base(fresh), filepath.Join(dir, nextLink))
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, nextLink), filepath.Join(dir, dataLink))
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(fresh))
	}
	if err := show(dir, files); err != nil {
		return "", err
	}
	return filepath.Base(fresh), removeUnused(dir, filepath.Base(fresh))
}

// validPath refuses paths that are not upstream's AtomicWriter's.
func validPath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("invalid path: must not be empty: %q", path)
	case filepath.IsAbs(path):
		return fmt.Errorf("invalid path: must be relative path: %s", path)
	case len(path) > maxPath:
		return fmt.Errorf("invalid path: must be less than or equal to %d characters", maxPath)
	}
	parts := strings.Split(path, "/")
	for _, part := range parts {
		if part == ".." {
			return fmt.Errorf("invalid path: must not contain '..': %s", path)
		}
		if len(part) > maxName {
			return fmt.Errorf("invalid path: filenames must be less than or equal to %d characters", maxName)
		}
	}
	if strings.HasPrefix(parts[0], "..") {
		return fmt.Errorf("invalid path: must not start with '..': %s", path)
	}
	return nil
}

// fill writes the files; modes do not depend on the process' umask.
func fill(dir string, files map[string]File) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for path, f := range files {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o777); err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(full, f.Data, f.Mode), os.Chmod(full, f.Mode)); err != nil {
			return err
		}
		if f.User != nil {
			if err := os.Lchown(full, int(*f.User), -1); err != nil {
				return err
			}
		}
	}
	return nil
}

// show makes the volume's top level name what ..data has, and nothing else but
// directories, which are mount points.
func show(dir string, files map[string]File) error {
	tops := map[string]*int64{}
	for path, f := range files {
		top, _, _ := strings.Cut(path, "/")
		tops[top] = f.User
	}
	for top, user := range tops {
		link := filepath.Join(dir, top)
		err := os.Symlink(filepath.Join(dataLink, top), link)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err == nil && user != nil {
			err = os.Lchown(link, int(*user), -1)
		}
		if err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		_, wanted := tops[e.Name()]
		if !wanted && e.Type()&os.ModeSymlink != 0 && e.Name() != dataLink {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// removeUnused removes the directories of earlier versions, and what a kubelet
// that was killed in the middle of an update left.
func removeUnused(dir, used string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "..") && name != dataLink && name != used {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return err
}
