package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// podKernel is what the kernel has of a pod.
func (p Pen) podKernel(v *view.PodPage, w int) [][]seg {
	if v.Hides.Kernel {
		return append(p.veiled("podpage.namespaces"), p.veiled("podpage.cgroups")...)
	}
	if len(v.Holders) == 0 {
		return p.section("podpage.namespaces", "", [][]seg{{{p.L.T("podpage.nothing"), dim}}})
	}
	out := p.section("podpage.namespaces", p.L.T("podpage.namespaces.note"), p.namespaceLines(v, w))
	more := ""
	if v.More > 0 {
		more = p.L.T("cluster.more", "n", strconv.Itoa(v.More))
	}
	out = append(out, p.section("podpage.processes", more, p.processLines(v))...)
	version := "cgroup v1"
	if v.V2 {
		version = "cgroup v2"
	}
	out = append(out, p.section("podpage.cgroups", version, p.cgroupLines(v, w))...)
	return append(out, p.mountLines(v, w)...)
}

// namespaceLines is a row for each kind of namespace and a column for each
// holder; a line joins neighbours that are in the same one.
func (p Pen) namespaceLines(v *view.PodPage, w int) [][]seg {
	const kind = 8
	shown := len(v.Holders)
	cell := 14
	for ; cell > 8 && kind+shown*cell > w; cell-- {
	}
	more := ""
	if kind+shown*cell > w {
		shown = max(2, (w-kind-4)/cell)
		more = "+" + strconv.Itoa(len(v.Holders)-shown)
	}
	digits := 10
	if cell < 13 {
		digits = 5
	}
	head := []seg{{text.Pad("", kind), dim}}
	for i, h := range v.Holders[:shown] {
		name := p.clean(h)
		if i == 0 {
			name = p.L.T("podpage.node")
		}
		head = append(head, seg{text.Fit(text.Cut(name, cell-2), cell), dim})
	}
	out := [][]seg{append(head, seg{more, dim})}
	for _, row := range v.Namespaces {
		line := []seg{{text.Pad(row.Kind, kind), plain}}
		for i, inode := range row.Inodes[:shown] {
			joined := i+1 < shown && inode != 0 && row.Inodes[i+1] == inode
			line = append(line, p.inode(row, i, digits), seg{p.join(cell-digits, joined), joinStyle(row, i)})
		}
		if row.Whose != "" && kind+shown*cell+text.Width(p.L.T("podpage.whose."+row.Whose)) <= w {
			line = append(line, seg{p.L.T("podpage.whose." + row.Whose), dim})
		}
		out = append(out, line)
	}
	for _, m := range v.UIDMaps {
		out = append(out, []seg{{p.L.T("podpage.uidmap", "container", p.clean(m.Container), "inner", p.clean(m.Inner), "outer", p.clean(m.Outer), "n", p.clean(m.Count)), code}})
	}
	return out
}

// inode is a namespace's number: blue where it is shared in the pod, orange
// where it is the node's.
func (p Pen) inode(row view.NamespaceRow, i, digits int) seg {
	n := row.Inodes[i]
	if n == 0 {
		return seg{text.Pad("-", digits), dim}
	}
	s := strconv.FormatUint(n, 10)
	return seg{text.Pad(s[max(0, len(s)-digits):], digits), joinStyle(row, i)}
}

func joinStyle(row view.NamespaceRow, i int) canvas.Style {
	n, others := row.Inodes[i], 0
	for j, o := range row.Inodes {
		if j > 0 && o == n {
			others++
		}
	}
	switch {
	case n != 0 && n == row.Inodes[0] && others > 0:
		return held
	case i > 0 && others > 1:
		return good
	case i == 0:
		return dim
	}
	return plain
}

func (p Pen) join(w int, joined bool) string {
	if !joined || w < 3 {
		return strings.Repeat(" ", max(w, 0))
	}
	return " " + strings.Repeat(p.G.Line, w-2) + " "
}

func (p Pen) processLines(v *view.PodPage) [][]seg {
	if len(v.Processes) == 0 {
		return nil
	}
	who, user := max(6, text.Width(p.L.T("podpage.container"))+1), 6
	for _, d := range v.Processes {
		who = max(who, min(text.Width(p.clean(d.Container))+1, 14))
		user = max(user, len(strconv.FormatUint(uint64(d.UID), 10))+2)
	}
	out := [][]seg{{{text.Left(p.L.T("podpage.pid"), 7) + text.Left(p.L.T("podpage.inner"), 7) + text.Left("uid", user) + "  " + text.Pad(p.L.T("podpage.container"), who) + p.L.T("podpage.command"), dim}}}
	for _, d := range v.Processes {
		name, st := p.clean(d.Container), plain
		if d.Pause {
			name, st = "pause", dim
		}
		branch := ""
		if d.Depth > 0 {
			branch = strings.Repeat("  ", min(d.Depth, 8)-1) + p.G.Last + " "
		}
		command := p.clean(d.Command)
		if command == "" {
			command = "[" + p.clean(d.Comm) + "]"
		}
		line := []seg{{text.Left(strconv.Itoa(d.PID), 7), code}, {text.Left(strconv.Itoa(d.Inner), 7), plain}, {text.Left(strconv.FormatUint(uint64(d.UID), 10), user), dim},
			{"  " + text.Fit(name, who), st}, {branch, dim}, {command, st}}
		if d.State != "" {
			line = append(line, seg{"  " + p.clean(d.State), bad})
		}
		out = append(out, line)
	}
	return out
}

// troubles is the width of the column that says where a limit was felt.
const troubles = 12

// cgroupLines is the tree of cgroups from the node's down, with limits and use.
func (p Pen) cgroupLines(v *view.PodPage, w int) [][]seg {
	if len(v.Cgroups) == 0 {
		return nil
	}
	bars := 0
	if w >= 76 {
		bars = 7
	}
	name := max(10, w-11-2*bars-13-10-troubles)
	name = min(name, 26)
	cells := func(cpu, cpuBar, memory, memoryBar, pids, cut string) string {
		return text.Left(cpu, 11) + pre(cpuBar) + text.Left(memory, 13) + pre(memoryBar) + text.Left(pids, 10) + text.Left(cut, troubles)
	}
	space := strings.Repeat(" ", bars)
	if bars > 0 {
		space = space[1:]
	}
	out := [][]seg{{{text.Pad("", name) + cells("cpu", space, p.L.T("podpage.memory"), space, "pids", p.L.T("podpage.throttled")), dim}}}
	for _, r := range v.Cgroups {
		lead := strings.Repeat("  ", max(0, r.Depth-1))
		if r.Depth > 0 {
			lead += p.G.Last + " "
		}
		label := p.clean(r.Name)
		st := dim
		if r.Of == "pod" || r.Of == "container" {
			st = strong
		}
		line := []seg{{lead, dim}, {text.Fit(text.Middle(label, max(4, name-text.Width(lead)-1)), max(4, name-text.Width(lead))), st}}
		out = append(out, append(line, p.useSegs(r, bars)...))
		if words := p.files(r); (r.Of == "container" || r.Of == "pod") && w >= 50 {
			indent := strings.Repeat("  ", r.Depth) + "  "
			for i, l := range gather(words, w-len(indent)) {
				if i < 2 {
					out = append(out, []seg{{indent + l, dim}})
				}
			}
		}
	}
	return out
}

func pre(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

func (p Pen) useSegs(r view.CgroupRow, bars int) []seg {
	var cpu, memory, pids, limCPU, limMemory, limPids string
	var useCPU, useMemory int64
	throttled, oom := "", ""
	if u := r.Use; u != nil {
		useCPU, useMemory = u.Milli, u.Memory
		cpu, memory, pids = cores(u.Milli), size(u.Memory), strconv.FormatInt(u.Pids, 10)
		if u.Periods > 0 && u.Throttled > 0 {
			throttled = strconv.FormatInt((u.Throttled*100+u.Periods/2)/u.Periods, 10) + " %"
		}
		if u.OOMKills > 0 {
			oom = " oom " + strconv.FormatInt(u.OOMKills, 10)
		}
	}
	if r.Milli > 0 {
		limCPU = cores(r.Milli)
	}
	if r.Memory > 0 {
		limMemory = size(r.Memory)
	}
	if r.Pids > 0 {
		limPids = strconv.FormatInt(r.Pids, 10)
	}
	bar := func(use, limit int64) []seg {
		if bars == 0 || r.Use == nil {
			return []seg{{strings.Repeat(" ", bars), dim}}
		}
		st := good
		if limit > 0 && use*10 >= limit*9 {
			st = bad
		}
		return []seg{{" " + p.bar(use, limit, bars-1), st}}
	}
	line := []seg{{text.Left(of(cpu, limCPU), 11), code}}
	line = append(line, bar(useCPU, r.Milli)...)
	line = append(line, seg{text.Left(of(memory, limMemory), 13), code})
	line = append(line, bar(useMemory, r.Memory)...)
	line = append(line, seg{text.Left(of(pids, limPids), 10), plain}, seg{text.Left(throttled, troubles-text.Width(oom)), held}, seg{oom, bad})
	return line
}

// files are a cgroup's limits in the kernel's own words.
func (p Pen) files(r view.CgroupRow) []string {
	words := make([]string, 0, len(r.Files))
	for _, f := range r.Files {
		words = append(words, p.clean(f.Name)+" "+p.clean(f.Value))
	}
	return words
}

// gather sets words in lines of at most w cells, two spaces apart.
func gather(words []string, w int) []string {
	var out []string
	for _, s := range words {
		if last := len(out) - 1; last >= 0 && text.Width(out[last])+2+text.Width(s) <= w {
			out[last] += "  " + s
			continue
		}
		out = append(out, text.Cut(s, w))
	}
	return out
}

func (p Pen) mountLines(v *view.PodPage, w int) [][]seg {
	var out [][]seg
	for _, t := range v.Mounts {
		var lines [][]seg
		what, target := 16, 10
		for _, m := range t.Volumes {
			target = min(max(target, text.Width(p.clean(m.Target))+1), 24)
			what = min(max(what, text.Width(p.clean(m.Volume)+p.clean(m.What))+4), 28)
		}
		if root := t.Root; root != nil {
			lines = append(lines, p.mountLine(target, what, "/", root.Type, mode(root.ReadOnly), p.L.T("podpage.merged", "dir", p.clean(root.Merged))))
			lines = append(lines, []seg{{"  " + p.G.Last + " " + p.L.T("podpage.upper") + " ", dim}, {p.clean(root.Upper), code}})
			for i, l := range root.Lower {
				lines = append(lines, []seg{{"  " + p.G.Last + " " + p.L.T("podpage.layer", "n", strconv.Itoa(len(root.Lower)-i)) + " ", dim}, {p.clean(l), code}})
			}
		}
		for _, m := range t.Volumes {
			name := p.clean(m.Volume)
			if m.What != "" {
				name += " (" + p.clean(m.What) + ")"
			}
			source := p.clean(m.Source)
			if m.Propagation != "" {
				source = p.clean(m.Propagation) + "  " + source
			}
			if strings.HasPrefix(m.Source, "pods/") {
				source = m.Type
			}
			lines = append(lines, p.mountLine(target, what, p.clean(m.Target), name, mode(m.ReadOnly), source))
		}
		var files []string
		for _, m := range t.Files {
			files = append(files, p.clean(m.Target))
		}
		lines = append(lines, p.listed(p.L.T("podpage.files"), files, w)...)
		lines = append(lines, p.listed(p.L.T("podpage.system", "n", strconv.Itoa(t.Covered)), t.System, w)...)
		out = append(out, p.section("podpage.mounts", p.clean(t.Container)+"  "+p.clean(t.Image), lines)...)
	}
	return out
}

func mode(readOnly bool) string {
	if readOnly {
		return "ro"
	}
	return "rw"
}

func (p Pen) mountLine(target, what int, at, name, mode, source string) []seg {
	st := plain
	if mode == "ro" {
		st = held
	}
	return []seg{{text.Fit(text.Middle(at, target-1), target) + " ", strong}, {text.Fit(name, what) + " ", plain}, {mode + "  ", st}, {source, dim}}
}

// listed is a dim list of names after what they are, wrapped.
func (p Pen) listed(what string, names []string, w int) [][]seg {
	if len(names) == 0 {
		return nil
	}
	var out [][]seg
	words := []string{what + ":"}
	for _, n := range names {
		words = append(words, p.clean(n))
	}
	for i, l := range gather(words, max(10, w-2)) {
		lead := ""
		if i > 0 {
			lead = "  "
		}
		out = append(out, []seg{{lead + l, dim}})
	}
	return out
}
