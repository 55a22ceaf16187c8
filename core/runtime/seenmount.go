package runtime

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// mountLine is a line of /proc/PID/mountinfo, see proc_pid_mountinfo(5).
type mountLine struct {
	device, root, target, options, fs, source, super string
	propagation                                      string
}

func readMounts(file string) []mountLine {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var out []mountLine
	for line := range strings.Lines(string(data)) {
		if m, ok := parseMount(line); ok {
			out = append(out, m)
		}
	}
	return out
}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func parseMount(line string) (m mountLine, ok bool) {
	left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
	a, b := strings.Fields(left), strings.Fields(right)
	if !ok || len(a) < 6 || len(b) < 2 {
		return m, false
	}
	m = mountLine{
		device: a[2], root: unescapeMount.Replace(a[3]), target: unescapeMount.Replace(a[4]), options: a[5],
		fs: b[0], source: unescapeMount.Replace(b[1]),
	}
	if len(b) > 2 {
		m.super = b[2]
	}
	for _, tag := range a[6:] {
		if strings.HasPrefix(tag, "shared:") || strings.HasPrefix(tag, "master:") {
			m.propagation = strings.TrimSpace(m.propagation + " " + tag)
		}
	}
	return m, true
}

func (m mountLine) readOnly() bool {
	return m.options == "ro" || strings.HasPrefix(m.options, "ro,") || strings.HasSuffix(m.options, ",ro")
}

const (
	mountsSeen = 32
	pathSeen   = 160
)

// describeMounts tells a container's root from its other mounts. What the
// runtime covers under /proc and /sys is only counted. Paths of the runtime's
// begin at root, those of the kubelet's at its "pods".
func describeMounts(lines, node []mountLine, root string) (r *step.SeenRoot, mounts []step.SeenMount, more int) {
	for _, l := range lines {
		switch {
		case l.target == "/":
			r = describeRoot(l, node, root)
		case strings.HasPrefix(l.target, "/proc/"), strings.HasPrefix(l.target, "/sys/"), len(mounts) >= mountsSeen:
			more++
		default:
			mounts = append(mounts, describeMount(l, root))
		}
	}
	return r, mounts, more
}

func describeRoot(l mountLine, node []mountLine, root string) *step.SeenRoot {
	r := &step.SeenRoot{Type: l.fs, ReadOnly: l.readOnly()}
	for _, o := range strings.Split(l.super, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "lowerdir", "lowerdir+":
			for _, dir := range strings.Split(value, ":") {
				if dir != "" && len(r.Lower) < mountsSeen {
					r.Lower = append(r.Lower, cut(below(dir, root)))
				}
			}
		case "upperdir":
			r.Upper = cut(below(value, root))
		case "workdir":
			r.Work = cut(below(value, root))
		}
	}
	for _, m := range node {
		if m.device == l.device && m.fs == l.fs {
			r.Merged = cut(below(m.target, root))
		}
	}
	return r
}

// below is a path as seen from root, if it is in there, with ids cut short.
func below(path, root string) string {
	if rest, err := filepath.Rel(root, path); err == nil && !strings.HasPrefix(rest, "..") {
		parts := strings.Split(rest, "/")
		for i, p := range parts {
			if len(p) == 64 {
				parts[i] = short(p)
			}
		}
		path = strings.Join(parts, "/")
	}
	return path
}

func cut(path string) string { return path[:min(len(path), pathSeen)] }

func describeMount(l mountLine, root string) step.SeenMount {
	m := step.SeenMount{Target: cut(l.target), Type: l.fs, Source: l.source, ReadOnly: l.readOnly(), Propagation: l.propagation}
	if l.root != "/" { // a bind mount: which part of its file system it shows says more
		m.Source = below(l.root, root)
	}
	if _, rest, ok := strings.Cut(l.root, "/pods/"); ok && m.Source == l.root {
		m.Source = "pods/" + rest
	}
	m.Source = cut(m.Source)
	if _, rest, ok := strings.Cut(m.Source, "/volumes/kubernetes.io~"); ok {
		kind, name, _ := strings.Cut(rest, "/")
		m.Kind = kind
		m.Volume, _, _ = strings.Cut(name, "/")
	}
	return m
}
