package stats

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// ownUse is what this process uses: the kubelet of the node.
func ownUse() Group {
	var r unix.Rusage
	g := Group{}
	if unix.Getrusage(unix.RUSAGE_SELF, &r) == nil {
		g.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	data, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(data)
	if err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
		g.RSS = pages * uint64(os.Getpagesize())
		g.Memory, g.WorkingSet = g.RSS, g.RSS
	}
	return g
}

// available is what the machine can still give, by proc(5)'s meminfo.
func available() (uint64, bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseUint(fields[1], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

// processes counts those of the machine: process ids are shared by its nodes.
func processes(at time.Time) *api.RlimitStats {
	limit, err := strconv.ParseInt(line("/proc/sys/kernel/pid_max"), 10, 64)
	fields := strings.Fields(line("/proc/loadavg"))
	if err != nil || len(fields) < 4 {
		return nil
	}
	_, all, _ := strings.Cut(fields[3], "/")
	running, err := strconv.ParseInt(all, 10, 64)
	if err != nil {
		return nil
	}
	return &api.RlimitStats{Time: metav1.NewTime(at), MaxPID: &limit, NumOfRunningProcesses: &running}
}

func line(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// fileSystem is what the file system of dir has.
func fileSystem(dir string, at time.Time) *api.FsStats {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return nil
	}
	size := uint64(s.Bsize)
	free, all, used := s.Bavail*size, s.Blocks*size, (s.Blocks-s.Bfree)*size
	inodes, inodesFree, inodesUsed := s.Files, s.Ffree, s.Files-s.Ffree
	return &api.FsStats{Time: metav1.NewTime(at), AvailableBytes: &free, CapacityBytes: &all, UsedBytes: &used,
		Inodes: &inodes, InodesFree: &inodesFree, InodesUsed: &inodesUsed}
}

// Usage is what the files below dir take on dir's file system.
func Usage(dir string) (size, inodes uint64) {
	var top unix.Stat_t
	if unix.Lstat(dir, &top) != nil {
		return 0, 0
	}
	linked := map[uint64]bool{}
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		switch {
		case err != nil || unix.Lstat(name, &st) != nil:
			return nil // it went meanwhile
		case st.Dev != top.Dev && d.IsDir():
			return fs.SkipDir
		case st.Dev != top.Dev || st.Nlink > 1 && !d.IsDir() && linked[st.Ino]:
			return nil
		}
		linked[st.Ino] = true
		size += uint64(st.Blocks) * 512
		inodes++
		return nil
	})
	return size, inodes
}
