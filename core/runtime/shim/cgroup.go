package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// On a machine that is busy with other things what was killed takes a while to
// die, and the threads of what is dead another one to leave their cgroup.
const dying, leaving = time.Minute, 10 * time.Second

// KillCgroup kills every process in a cgroup and below, in all hierarchies of
// cgroups(7), and waits until they are gone. The caller itself is spared. A
// cgroup that does not exist is no error.
func KillCgroup(path string) error {
	if path == "" || filepath.Clean(path) == "/" {
		return errors.New("refusing to kill the root cgroup")
	}
	deadline := time.Now().Add(dying)
	for {
		pids := 0
		for _, dir := range hierarchies() {
			pids += killTree(filepath.Join(dir, path))
		}
		if pids == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("processes in cgroup " + path + " do not die")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// killTree kills and counts the processes that were there.
func killTree(root string) int {
	count := 0
	_ = filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		// One of the two, by the version of cgroups; else the kill waits for the thaw.
		_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0)
		_ = os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("0"), 0)
		data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, field := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid <= 0 || pid == os.Getpid() {
				continue
			}
			if zombie(pid) { // its parent's to reap; it does not hold the cgroup
				continue
			}
			count++
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		return nil
	})
	return count
}

func zombie(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	after := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	return len(after) > 0 && (after[0] == "Z" || after[0] == "X")
}

// RemoveCgroup removes an empty cgroup and all below it from all hierarchies.
// A cgroup that does not exist is no error.
func RemoveCgroup(path string) error {
	if path == "" || filepath.Clean(path) == "/" {
		return errors.New("refusing to remove the root cgroup")
	}
	var failed error
	until := time.Now().Add(leaving)
	for _, dir := range hierarchies() {
		failed = errors.Join(failed, removeTree(filepath.Join(dir, path), until))
	}
	return failed
}

// MissingCgroup has the directories of a cgroup, one in each hierarchy, that
// do not exist.
func MissingCgroup(path string) []string {
	var missing []string
	for _, dir := range hierarchies() {
		if _, err := os.Stat(filepath.Join(dir, path)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, filepath.Join(dir, path))
		}
	}
	return missing
}

// RemoveDirs removes directories that MissingCgroup found and that were made
// since. One that is not there, or has something in it again, is no error.
func RemoveDirs(dirs []string) error {
	var failed error
	for _, dir := range dirs {
		err := removeTree(dir, time.Now().Add(time.Second))
		if errors.Is(err, unix.EBUSY) {
			err = nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// removeTree tries until then what the kernel calls busy.
func removeTree(root string, until time.Time) error {
	var dirs []string
	_ = filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, dir)
		}
		return nil
	})
	var failed error
	for _, dir := range slices.Backward(dirs) {
		err := unix.Rmdir(dir)
		for wait := time.Millisecond; err == unix.EBUSY && time.Now().Before(until); wait = min(2*wait, 100*time.Millisecond) {
			time.Sleep(wait) // the kernel is still taking a process out
			err = unix.Rmdir(dir)
		}
		if err != nil && err != unix.ENOENT {
			failed = errors.Join(failed, &os.PathError{Op: "rmdir", Path: dir, Err: err})
		}
	}
	return failed
}

// hierarchies are the mount points of all cgroup file systems.
func hierarchies() []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var dirs []string
	for line := range strings.Lines(string(data)) {
		left, right, ok := strings.Cut(line, " - ")
		fields := strings.Fields(left)
		if ok && strings.HasPrefix(right, "cgroup") && len(fields) > 4 && !slices.Contains(dirs, fields[4]) {
			dirs = append(dirs, fields[4])
		}
	}
	return dirs
}
