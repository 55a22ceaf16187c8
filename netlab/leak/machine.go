package leak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mounts takes the mounts whose mount point or source has one of the names.
// Pins of namespaces are mounts.
func mounts(_ context.Context, s Snapshot, names []string) error {
	return mountsOf("/proc/thread-self/mountinfo", s, names)
}

func mountsOf(path string, s Snapshot, names []string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // overlay mounts have long lines
	for lines.Scan() {
		if named(lines.Text(), names) {
			// Without the ids, which are handed out anew.
			fields := strings.SplitN(lines.Text(), " ", 4)
			s["mount"] = append(s["mount"], fields[len(fields)-1])
		}
	}
	return lines.Err()
}

// cgroups takes the control groups, of all hierarchies, whose path has one of
// the names.
func cgroups(_ context.Context, s Snapshot, names []string) error {
	if len(names) == 0 {
		return nil
	}
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
			return nil
		case err != nil:
			return err
		case d.IsDir() && named(path, names):
			s["cgroup"] = append(s["cgroup"], path)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// processes takes the processes that have one of the names in their command
// line or control group, and are not this one.
func processes(_ context.Context, s Snapshot, names []string) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(dir + "/cmdline")
		groups, _ := os.ReadFile(dir + "/cgroup")
		if err != nil || (!named(string(line), names) && !named(string(groups), names)) {
			continue
		}
		comm, _ := os.ReadFile(dir + "/comm")
		args := strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
		s["process"] = append(s["process"], fmt.Sprintf("%d %s: %.200s", pid, strings.TrimSpace(string(comm)), args))
	}
	return nil
}
