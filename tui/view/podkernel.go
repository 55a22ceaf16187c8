package view

import (
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// NamespaceRow is one kind of namespace: which one each holder is in.
type NamespaceRow struct {
	Kind   string   `json:"kind"`
	Inodes []uint64 `json:"inodes"` // by holder; 0 is unknown
	// Whose it is: "node" where all share the node's, "pod" where the
	// containers share the pause process's, "own" where each has its own.
	Whose string `json:"whose"`
}

// UIDMap is what the user numbers of a container are on the node.
type UIDMap struct {
	Container string `json:"container"`
	Inner     string `json:"inner"`
	Outer     string `json:"outer"`
	Count     string `json:"count"`
}

// Process is a process with its place in the tree.
type Process struct {
	step.SeenProcess
	Depth int  `json:"depth"`
	Pause bool `json:"pause,omitempty"`
}

// CgroupRow is a level of the tree of cgroups: what it may use and what it
// does. A limit of 0 is none.
type CgroupRow struct {
	Name   string            `json:"name"`
	Path   string            `json:"path"`
	Of     string            `json:"of"` // node, qos, pod, container
	Depth  int               `json:"depth"`
	Files  []Pair            `json:"files,omitempty"` // the kernel's own words
	Use    *step.CgroupUsage `json:"use,omitempty"`
	Milli  int64             `json:"cpuLimitMilli,omitempty"`
	Weight int64             `json:"cpuWeight,omitempty"` // shares in version 1
	Memory int64             `json:"memoryLimit,omitempty"`
	Pids   int64             `json:"pidsLimit,omitempty"`
}

// Pair is a file and what is in it.
type Pair struct{ Name, Value string }

// MountTable is what a container sees as its files.
type MountTable struct {
	Container string         `json:"container"`
	Image     string         `json:"image,omitempty"`
	Root      *step.SeenRoot `json:"root,omitempty"`
	Volumes   []MountRow     `json:"volumes,omitempty"`
	Files     []MountRow     `json:"files,omitempty"`  // which the kubelet makes: /etc/hosts
	System    []string       `json:"system,omitempty"` // the kernel's own file systems
	Covered   int            `json:"covered,omitempty"`
}

// MountRow is a mount and the volume that it shows.
type MountRow struct {
	step.SeenMount
	What string `json:"what,omitempty"` // kind of the volume, in the API's words
}

func (p *PodPage) kernel(o *fold.Object, g *fold.Sight) {
	p.V2 = g.Seen.V2
	p.namespaces(g.Seen)
	if g.Processes != nil {
		p.Processes, p.More = tree(g.Processes.Processes), g.Processes.More
	}
	if !p.Hides.Usage {
		p.Uses = g.Uses
	}
	p.cgroups(g)
	for _, c := range g.Seen.Containers {
		if c.Name != "" {
			p.Mounts = append(p.Mounts, mountTable(o, c))
		}
	}
}

func (p *PodPage) namespaces(d *step.PodSeenDetail) {
	if len(d.Containers) == 0 {
		return
	}
	p.Holders = []string{"node"}
	column := map[string]int{}
	for _, c := range d.Containers {
		name := c.Name
		if name == "" {
			name = "pause"
		}
		column[c.Name] = len(p.Holders)
		p.Holders = append(p.Holders, name)
		for _, line := range c.UIDMap {
			if f := strings.Fields(line); len(f) == 3 {
				p.mapping(name, f)
			}
		}
	}
	for _, n := range d.Namespaces {
		i := slices.IndexFunc(p.Namespaces, func(r NamespaceRow) bool { return r.Kind == n.Kind })
		if i < 0 {
			p.Namespaces = append(p.Namespaces, NamespaceRow{Kind: n.Kind, Inodes: make([]uint64, len(p.Holders))})
			i = len(p.Namespaces) - 1
		}
		set := p.Namespaces[i].Inodes
		if n.Node {
			set[0] = n.Inode
		}
		if at, ok := column[""]; ok && n.Pause {
			set[at] = n.Inode
		}
		for _, c := range n.Containers {
			if at, ok := column[c]; ok {
				set[at] = n.Inode
			}
		}
	}
	for i := range p.Namespaces {
		p.Namespaces[i].Whose = whose(p.Namespaces[i].Inodes)
	}
}

// mapping notes a line of a container's uid_map; those alike share a row.
func (p *PodPage) mapping(name string, f []string) {
	for i, m := range p.UIDMaps {
		if m.Inner == f[0] && m.Outer == f[1] && m.Count == f[2] {
			p.UIDMaps[i].Container += ", " + name
			return
		}
	}
	p.UIDMaps = append(p.UIDMaps, UIDMap{name, f[0], f[1], f[2]})
}

// whose says in a word how a kind of namespace is shared.
func whose(inodes []uint64) string {
	mine := inodes[1:]
	same := func(v uint64) bool {
		return !slices.ContainsFunc(mine, func(i uint64) bool { return i != v && i != 0 })
	}
	switch {
	case len(mine) == 0:
		return ""
	case inodes[0] != 0 && same(inodes[0]):
		return "node"
	case same(mine[0]):
		return "pod"
	case slices.Contains(mine, inodes[0]):
		return "mixed"
	}
	return "own"
}

// tree puts processes below their parents.
func tree(list []step.SeenProcess) []Process {
	here := map[int]bool{}
	for _, p := range list {
		here[p.PID] = true
	}
	var out []Process
	var below func(parent, depth int)
	below = func(parent, depth int) {
		for _, p := range list {
			if p.Parent == parent && depth < len(list) {
				out = append(out, Process{SeenProcess: p, Depth: depth, Pause: p.Container == ""})
				below(p.PID, depth+1)
			}
		}
	}
	for _, p := range list {
		if !here[p.Parent] {
			out = append(out, Process{SeenProcess: p, Pause: p.Container == ""})
			below(p.PID, 1)
		}
	}
	return out
}

func (p *PodPage) cgroups(g *fold.Sight) {
	depth := 0
	for i, c := range g.Seen.Cgroups {
		r := CgroupRow{Path: c.Path, Name: c.Path, Of: "qos"}
		switch {
		case c.Container != "":
			r.Of, r.Name = "container", c.Container
		case c.Pod:
			r.Of = "pod"
		case i == 0:
			r.Of = "node"
		}
		if p.Hides.QoS && c.Container == "" {
			continue // the way to the pod tells its class
		}
		if r.Of != "container" {
			if parts := strings.Split(c.Path, "/"); i > 0 {
				r.Name = parts[len(parts)-1]
			} else {
				r.Name = strings.Join(parts[max(0, len(parts)-2):], "/")
			}
			r.Depth, depth = depth, depth+1
		} else {
			r.Depth = depth
		}
		r.limits(c.Limits)
		if u := g.Usage; u != nil && !p.Hides.Usage {
			switch use, ok := u.Containers[c.Container]; {
			case r.Of == "pod":
				r.Use = &u.Pod
			case r.Of == "container" && ok:
				r.Use = &use
			}
		}
		p.Cgroups = append(p.Cgroups, r)
	}
}

// limits reads the kernel's words of either version.
func (r *CgroupRow) limits(files map[string]string) {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(files[name], 10, 64)
		return n
	}
	names := sorted(files)
	slices.SortStableFunc(names, func(a, b string) int { return told(a) - told(b) })
	for _, name := range names {
		value := files[name]
		if name == "cpu.cfs_period_us" {
			continue // stands behind the quota
		}
		if name == "cpu.cfs_quota_us" {
			value += "/" + files["cpu.cfs_period_us"]
		}
		r.Files = append(r.Files, Pair{name, value})
	}
	r.Weight = max(number("cpu.shares"), number("cpu.weight"))
	r.Memory = max(number("memory.limit_in_bytes"), number("memory.max"))
	r.Pids = number("pids.max")
	quota, period := number("cpu.cfs_quota_us"), number("cpu.cfs_period_us")
	if f := strings.Fields(files["cpu.max"]); len(f) == 2 {
		quota, _ = strconv.ParseInt(f[0], 10, 64)
		period, _ = strconv.ParseInt(f[1], 10, 64)
	}
	if quota > 0 && period > 0 {
		r.Milli = quota * 1000 / period
	}
}

// told is the order in which people ask for limits.
func told(file string) int {
	return slices.IndexFunc([]string{"memory.limit", "memory.max", "cpu.cfs_quota", "cpu.max", "cpu.", "memory.", "pids.", ""}, func(p string) bool { return strings.HasPrefix(file, p) })
}

// mountTable sorts a container's mounts by who made them.
func mountTable(o *fold.Object, c step.SeenContainer) MountTable {
	t := MountTable{Container: c.Name, Root: c.Root, Covered: c.More}
	volumes, spec := map[string]string{}, map[string]any(nil)
	for _, list := range []string{"spec.containers", "spec.initContainers", "spec.ephemeralContainers"} {
		all, _ := o.Get(list).([]any)
		for _, e := range all {
			if m, ok := e.(map[string]any); ok && fold.Scalar(m["name"]) == c.Name {
				spec = m
			}
		}
	}
	t.Image = fold.Scalar(spec["image"])
	mounts, _ := spec["volumeMounts"].([]any)
	for _, v := range mounts {
		volumes[fold.Scalar(fold.Lookup(v, "mountPath"))] = fold.Scalar(fold.Lookup(v, "name"))
	}
	for _, m := range c.Mounts {
		row := MountRow{SeenMount: m}
		name, ok := volumes[m.Target]
		switch {
		case !ok && inside(m.Target, volumes):
			t.Covered++ // what a host path has brought along
		case ok || m.Volume != "":
			if ok {
				row.Volume = name
			}
			if row.What = volumeKind(o, row.Volume); row.What == "" {
				row.What = m.Kind
			}
			t.Volumes = append(t.Volumes, row)
		case strings.HasPrefix(m.Source, "pods/"), strings.HasPrefix(m.Source, "c/"):
			t.Files = append(t.Files, row)
		case m.Source != m.Type && strings.HasPrefix(m.Source, "/") && !strings.HasPrefix(m.Target, "/dev/"):
			t.Volumes = append(t.Volumes, row)
		default:
			t.System = append(t.System, m.Target)
		}
	}
	return t
}

// inside tells whether a path is below one of the volumes'.
func inside(path string, volumes map[string]string) bool {
	for at := range volumes {
		if strings.HasPrefix(path, strings.TrimSuffix(at, "/")+"/") {
			return true
		}
	}
	return false
}

// volumeKind is the key of a volume's source: "configMap".
func volumeKind(o *fold.Object, name string) string {
	v, _ := o.Get("spec.volumes[" + name + "]").(map[string]any)
	for _, k := range sorted(v) {
		if k != "name" {
			return k
		}
	}
	return ""
}
