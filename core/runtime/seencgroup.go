package runtime

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
)

// cgroupMounts is where the cgroup hierarchies are mounted: by controller for
// version 1, under "" for version 2. Mounts of a part have it as their root.
type cgroupMounts struct {
	v2     bool
	mounts map[string]mountLine
}

func newCgroupMounts(v2 bool, mounts []mountLine) *cgroupMounts {
	f := &cgroupMounts{v2: v2, mounts: map[string]mountLine{}}
	for _, m := range mounts {
		switch {
		case v2 && m.fs == "cgroup2":
			f.mounts[""] = m
		case !v2 && m.fs == "cgroup":
			for _, controller := range strings.Split(m.super, ",") {
				f.mounts[controller] = m
			}
		}
	}
	return f
}

// seenDirs is one cgroup: its path, and its directory by controller.
type seenDirs struct {
	path string
	v2   bool
	dirs map[string]string
}

// of reads /proc/PID/cgroup.
func (f *cgroupMounts) of(proc string) seenDirs {
	d := seenDirs{v2: f.v2, dirs: map[string]string{}}
	data, _ := os.ReadFile(proc + "/cgroup")
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || f.v2 != (parts[0] == "0") {
			continue
		}
		for _, controller := range strings.Split(parts[1], ",") {
			m, ok := f.mounts[controller]
			if !ok {
				continue
			}
			if d.path == "" || controller == "memory" {
				d.path = parts[2]
			}
			d.dirs[controller] = filepath.Join(m.target, strings.TrimPrefix(parts[2], strings.TrimSuffix(m.root, "/")))
		}
	}
	return d
}

// parent is the cgroup above d.
func (f *cgroupMounts) parent(d seenDirs) seenDirs {
	up := seenDirs{path: path.Dir(d.path), v2: d.v2, dirs: map[string]string{}}
	for controller, dir := range d.dirs {
		up.dirs[controller] = filepath.Dir(dir)
	}
	return up
}

func (d seenDirs) dir(controller string) string {
	if d.v2 {
		return d.dirs[""]
	}
	return d.dirs[controller]
}

func (d seenDirs) there() bool {
	_, err := os.Stat(d.dir("cpu"))
	return err == nil && d.dir("cpu") != ""
}

// read is the content of one of a controller's files, "" if there is none.
func (d seenDirs) read(controller, file string) string {
	dir := d.dir(controller)
	if dir == "" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (d seenDirs) number(controller, file string) int64 {
	n, _ := strconv.ParseInt(d.read(controller, file), 10, 64)
	return n
}

// field reads a line such as "nr_throttled 7".
func (d seenDirs) fields(controller, file string) map[string]int64 {
	out := map[string]int64{}
	for line := range strings.Lines(d.read(controller, file)) {
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]], _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	return out
}

// processes are the numbers of the processes in the cgroup.
func (d seenDirs) processes() []int {
	var out []int
	for _, f := range strings.Fields(d.read("cpu", "cgroup.procs")) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

func (d seenDirs) cpu() time.Duration {
	if d.v2 {
		return time.Duration(d.fields("cpu", "cpu.stat")["usage_usec"]) * time.Microsecond
	}
	return time.Duration(d.number("cpuacct", "cpuacct.usage"))
}

// usage reads the counters, of cgroups(7) by version.
func (d seenDirs) usage() step.CgroupUsage {
	stat := d.fields("cpu", "cpu.stat")
	u := step.CgroupUsage{
		CPU: step.Seconds(d.cpu().Round(time.Microsecond)), Pids: d.number("pids", "pids.current"),
		Periods: stat["nr_periods"], Throttled: stat["nr_throttled"],
	}
	if d.v2 {
		u.Memory = d.number("", "memory.current")
		u.Waited = step.Seconds(time.Duration(stat["throttled_usec"]) * time.Microsecond)
		u.OOMKills = d.fields("", "memory.events")["oom_kill"]
		return u
	}
	u.Memory = d.number("memory", "memory.usage_in_bytes")
	u.Waited = step.Seconds(time.Duration(stat["throttled_time"]).Round(time.Microsecond))
	u.OOMKills = d.fields("memory", "memory.oom_control")["oom_kill"]
	return u
}

// limitFile is a file that limits something, and the value that limits nothing.
type limitFile struct{ controller, name, none string }

var (
	limitsV1 = []limitFile{
		{"cpu", "cpu.shares", ""}, {"cpu", "cpu.cfs_quota_us", "-1"}, {"cpu", "cpu.cfs_period_us", ""}, {"memory", "memory.limit_in_bytes", ""},
		{"pids", "pids.max", "max"}, {"cpuset", "cpuset.cpus", ""},
	}
	limitsV2 = []limitFile{
		{"", "cpu.weight", ""}, {"", "cpu.max", "max 100000"}, {"", "memory.min", "0"}, {"", "memory.low", "0"}, {"", "memory.high", "max"}, {"", "memory.max", "max"},
		{"", "pids.max", "max"}, {"", "cpuset.cpus", ""}, {"", "io.max", ""},
	}
)

// limits reads what the cgroup limits.
func (d seenDirs) limits() map[string]string {
	list := limitsV1
	if d.v2 {
		list = limitsV2
	}
	out := map[string]string{}
	for _, f := range list {
		v := d.read(f.controller, f.name)
		if v == "" || v == f.none {
			continue
		}
		if f.name == "memory.limit_in_bytes" {
			if n, err := strconv.ParseInt(v, 10, 64); err != nil || n >= 1<<60 {
				continue // as good as none, in pages
			}
		}
		out[f.name] = v[:min(len(v), 100)]
	}
	if _, quota := out["cpu.cfs_quota_us"]; !quota {
		delete(out, "cpu.cfs_period_us")
	}
	return out
}

// cgroups reads the levels from the node's down to the pod's, and the containers'.
func (s *Seer) cgroups(fs *cgroupMounts, pod *seenPod) []step.SeenCgroup {
	var out []step.SeenCgroup
	for level := pod.dirs; ; level = fs.parent(level) {
		out = append(out, step.SeenCgroup{Path: level.path, Pod: level.path == pod.dirs.path, Limits: level.limits()})
		if level.path == s.c.c.CgroupParent || len(level.path) < 2 || len(out) > 8 {
			break
		}
	}
	slices.Reverse(out)
	for _, p := range pod.procs {
		if p.name != "" && p.dirs.path != "" {
			out = append(out, step.SeenCgroup{Path: p.dirs.path, Container: p.name, Limits: p.dirs.limits()})
		}
	}
	for i := 1; i < len(out); i++ { // a set of CPUs says something where it is another than the pod's
		if cpus := out[i].Limits["cpuset.cpus"]; cpus != "" && cpus == out[0].Limits["cpuset.cpus"] {
			out[i].Limits = maps.Clone(out[i].Limits)
			delete(out[i].Limits, "cpuset.cpus")
		}
	}
	return out
}
