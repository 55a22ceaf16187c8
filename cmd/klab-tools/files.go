package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fileApplets ask about files and file systems.
func fileApplets() []applet {
	return []applet{
		{name: "stat", usage: "FILE ...", run: stat},
		{name: "readlink", usage: "[-f] FILE", run: readlink},
		{name: "ln", usage: "[-sf] TARGET LINK", run: ln},
		{name: "rmdir", usage: "DIR ...", run: rmdir},
		{name: "mount", usage: "    (lists what is mounted; mounting is for a pod's volumes)", run: mounts},
		{name: "df", usage: "[-h] [FILE ...]", run: df},
	}
}

func stat(c *call) int {
	code := 0
	for _, name := range c.args {
		var s unix.Stat_t
		if err := unix.Lstat(name, &s); err != nil {
			code = c.failf("%s: %v", name, err)
			continue
		}
		fi, err := os.Lstat(name)
		if err != nil {
			code = c.failf("%v", err)
			continue
		}
		fmt.Fprintf(c.out, "  File: %s\n  Size: %-12d Blocks: %-8d %v\n", name, s.Size, s.Blocks, fi.Mode().Type())
		fmt.Fprintf(c.out, "Device: %d,%d  Inode: %-10d Links: %d\n", unix.Major(s.Dev), unix.Minor(s.Dev), s.Ino, s.Nlink)
		fmt.Fprintf(c.out, "Access: (%04o/%s)  Uid: %s  Gid: %s\n", s.Mode&0o7777, fi.Mode(),
			withName("/etc/passwd", int(s.Uid)), withName("/etc/group", int(s.Gid)))
		fmt.Fprintf(c.out, "Modify: %s\nChange: %s\n", fi.ModTime().Format(time.RFC3339Nano),
			time.Unix(s.Ctim.Unix()).Format(time.RFC3339Nano))
	}
	return code
}

func readlink(c *call) int {
	o, rest, err := parse("f", c.args)
	if err != nil || len(rest) != 1 {
		return c.usage("one file")
	}
	read := os.Readlink
	if o.has("f") {
		read = filepath.EvalSymlinks
	}
	target, err := read(rest[0])
	if err != nil {
		return 1
	}
	fmt.Fprintln(c.out, target)
	return 0
}

func ln(c *call) int {
	o, rest, err := parse("s f", c.args)
	if err != nil || len(rest) != 2 {
		return c.usage("a target and a link")
	}
	if o.has("f") {
		if err := os.Remove(rest[1]); err != nil && !os.IsNotExist(err) {
			return c.failf("%v", err)
		}
	}
	link := os.Link
	if o.has("s") {
		link = os.Symlink
	}
	if err := link(rest[0], rest[1]); err != nil {
		return c.failf("%v", err)
	}
	return 0
}

func rmdir(c *call) int {
	code := 0
	for _, name := range c.args {
		if err := unix.Rmdir(name); err != nil {
			code = c.failf("%s: %v", name, err)
		}
	}
	return code
}

// mountRow is one line of /proc/self/mounts (fstab(5)).
type mountRow struct{ source, dir, kind, flags string }

func readMounts() ([]mountRow, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var rows []mountRow
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 4 {
			rows = append(rows, mountRow{f[0], strings.ReplaceAll(f[1], `\040`, " "), f[2], f[3]})
		}
	}
	return rows, nil
}

// nodeFromMounts tells the node's name where no variable does: a kubelet of
// klab mounts a pod's /etc/hosts from .../nodes/NODE/kubelet/..., and the
// kernel shows where a mount comes from (proc_pid_mountinfo(5), field 4).
func nodeFromMounts() string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	return nodeName(string(data))
}

func nodeName(mountinfo string) string {
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 || f[4] != "/etc/hosts" {
			continue
		}
		_, after, _ := strings.Cut(f[3], "/nodes/")
		if name, _, ok := strings.Cut(after, "/kubelet/"); ok && !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}

func mounts(c *call) int {
	if len(c.args) > 0 {
		return c.usage("this mount only lists")
	}
	rows, err := readMounts()
	if err != nil {
		return c.failf("%v", err)
	}
	for _, m := range rows {
		fmt.Fprintf(c.out, "%s on %s type %s (%s)\n", m.source, m.dir, m.kind, m.flags)
	}
	return 0
}

func df(c *call) int {
	o, files, err := parse("h", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	rows, err := readMounts()
	if err != nil {
		return c.failf("%v", err)
	}
	if len(files) > 0 {
		rows = rows[:0]
		for _, f := range files {
			rows = append(rows, mountRow{source: "-", dir: f})
		}
	}
	size := func(n uint64) string { return fmt.Sprint(n / 1024) }
	if o.has("h") {
		size = humanBytes
	}
	fmt.Fprintf(c.out, "%-20s %10s %10s %10s %5s %s\n", "Filesystem", "Size", "Used", "Available", "Use%", "Mounted on")
	for _, m := range rows {
		var s unix.Statfs_t
		if err := unix.Statfs(m.dir, &s); err != nil || s.Blocks == 0 {
			continue
		}
		unit := uint64(s.Bsize)
		used := s.Blocks - s.Bfree
		fmt.Fprintf(c.out, "%-20s %10s %10s %10s %4d%% %s\n", m.source, size(s.Blocks*unit), size(used*unit),
			size(s.Bavail*unit), used*100/max(used+s.Bavail, 1), m.dir)
	}
	return 0
}

// humanBytes is a size in the largest binary unit below it.
func humanBytes(n uint64) string {
	f, units := float64(n), "BKMGTP"
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%dB", n)
	}
	return fmt.Sprintf("%.1f%c", f, units[i])
}
