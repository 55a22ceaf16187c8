package runtime

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupFS is where the controllers of cgroups(7) are mounted: on version 2
// all at one place.
type cgroupFS struct {
	v2   bool
	dirs map[string]string
}

const unified = "/sys/fs/cgroup"

func findCgroups(v2 bool) (cgroupFS, error) {
	fs := cgroupFS{v2: v2, dirs: map[string]string{}}
	if v2 {
		return fs, nil
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fs, err
	}
	for line := range strings.Lines(string(data)) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		at, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(at) < 5 || len(kind) < 3 || kind[0] != "cgroup" {
			continue
		}
		for option := range strings.SplitSeq(kind[2], ",") {
			fs.dirs[option] = unescape(at[4])
		}
	}
	if fs.dirs["memory"] == "" {
		return fs, errors.New("no cgroup controllers are mounted: mount cgroup v2 at /sys/fs/cgroup, or all v1 controllers")
	}
	return fs, nil
}

func (fs cgroupFS) file(controller, group, name string) string {
	if fs.v2 {
		return filepath.Join(unified, group, name)
	}
	return filepath.Join(fs.dirs[controller], group, name)
}

// number reads a file with one number; "max" is the greatest one.
func (fs cgroupFS) number(controller, group, name string) (uint64, bool) {
	data, err := os.ReadFile(fs.file(controller, group, name))
	if err != nil {
		return 0, false
	}
	text := strings.TrimSpace(string(data))
	if text == "max" {
		return math.MaxUint64, true
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// table reads a file with a name and a number in each line.
func (fs cgroupFS) table(controller, group, name string) map[string]uint64 {
	data, err := os.ReadFile(fs.file(controller, group, name))
	if err != nil {
		return nil
	}
	values := map[string]uint64{}
	for line := range strings.Lines(string(data)) {
		key, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			values[key] = n
		}
	}
	return values
}
