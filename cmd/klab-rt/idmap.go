//go:build linux && cgo

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime/shim"
)

// mountMapped binds a directory so that its files are those of a user
// namespace: mount_setattr(2), MOUNT_ATTR_IDMAP. The file system must be able
// to; if it is not, mapped is false and the mount is an ordinary one.
func mountMapped(m shim.Mount) (mapped bool, err error) {
	userns, err := unix.Open(m.UserNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, &os.PathError{Op: "open", Path: m.UserNS, Err: err}
	}
	defer unix.Close(userns)
	tree, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return false, &os.PathError{Op: "open_tree", Path: m.Source, Err: err}
	}
	defer unix.Close(tree)
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY, Userns_fd: uint64(userns)}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr)
	if err != nil && err != unix.EINVAL && err != unix.ENOSYS {
		return false, os.NewSyscallError("mount_setattr", err)
	}
	mapped = err == nil
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, m.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return false, os.NewSyscallError("move_mount", err)
	}
	return mapped, nil
}

// giveTo makes all files below root those of a user namespace, where its layers
// could not be mounted so: each file is copied into the upper directory.
func giveTo(userns, root string) error {
	process := filepath.Dir(filepath.Dir(userns))
	uids, err := readMap(filepath.Join(process, "uid_map"))
	if err != nil {
		return err
	}
	gids, err := readMap(filepath.Join(process, "gid_map"))
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err != nil {
			return err
		}
		if path == root { // the upper directory's own, which is right already
			return nil
		}
		if err := unix.Lchown(path, uids.host(st.Uid), gids.host(st.Gid)); err != nil {
			return &os.PathError{Op: "chown", Path: path, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK { // chown took setuid away
			return unix.Chmod(path, st.Mode&0o7777)
		}
		return nil
	})
}

// idMap is uid_map or gid_map of user_namespaces(7).
type idMap []struct{ inside, outside, length uint32 }

func readMap(path string) (idMap, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m idMap
	for line := range bytes.Lines(data) {
		m = append(m, struct{ inside, outside, length uint32 }{})
		row := &m[len(m)-1]
		if _, err := fmt.Sscan(string(line), &row.inside, &row.outside, &row.length); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return m, nil
}

// host is an id's number on the node; one that the namespace has not stays.
func (m idMap) host(id uint32) int {
	for _, row := range m {
		if id >= row.inside && id-row.inside < row.length {
			return int(row.outside + id - row.inside)
		}
	}
	return int(id)
}
