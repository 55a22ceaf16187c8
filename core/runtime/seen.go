package runtime

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klab-project/klab/core/runtime/shim"
	"github.com/klab-project/klab/core/step"
)

// Seer reads from the kernel what it has of pods: from /proc and the cgroup
// file system, not from what this package remembers. It takes from klab-rt
// only the numbers of the first processes. Between a SeePod and the next one
// the other methods look at the same containers. It is safe for concurrent use.
type Seer struct {
	c     *Client
	proc  string // /proc
	sysfs func() []mountLine

	mu   sync.Mutex
	pods map[string]*seenPod // by the sandbox's id
}

// seenPod is the first processes of a pod, the sandbox's in front, and the
// cgroups that they are in.
type seenPod struct {
	id    string
	procs []seenProc
	dirs  seenDirs // of the pod
}

type seenProc struct {
	name, id string // no name: the pause process
	pid      int
	dirs     seenDirs
}

// NewSeer returns a Seer of the pods that c runs.
func NewSeer(c *Client) *Seer {
	return &Seer{c: c, proc: "/proc", sysfs: func() []mountLine { return readMounts("/proc/self/mountinfo") }, pods: map[string]*seenPod{}}
}

// SeePod reads a pod's namespaces, mounts and limits. A pod of which nothing
// runs has none.
func (s *Seer) SeePod(ctx context.Context, sandboxID string) (*step.PodSeenDetail, error) {
	pod, err := s.find(ctx, sandboxID)
	if err != nil {
		return nil, err
	}
	d := &step.PodSeenDetail{ID: short(sandboxID), V2: s.c.v2}
	if len(pod.procs) == 0 {
		s.Forget(sandboxID)
		return d, nil
	}
	fs := newCgroupMounts(s.c.v2, s.sysfs())
	for i := range pod.procs {
		p := &pod.procs[i]
		p.dirs = fs.of(filepath.Join(s.proc, strconv.Itoa(p.pid)))
		if p.dirs.path == "" {
			continue // it has ended since
		}
		d.Containers = append(d.Containers, s.container(p))
		if pod.dirs.path == "" {
			pod.dirs = fs.parent(p.dirs)
		}
	}
	d.Namespaces = s.namespaces(pod)
	d.Cgroups = s.cgroups(fs, pod)
	s.mu.Lock()
	s.pods[sandboxID] = pod
	s.mu.Unlock()
	return d, nil
}

// Forget lets go of a pod that is gone.
func (s *Seer) Forget(sandboxID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, sandboxID)
}

func (s *Seer) seen(sandboxID string) *seenPod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[sandboxID]
}

// find asks klab-rt which processes are the pod's first ones.
func (s *Seer) find(ctx context.Context, sandboxID string) (*seenPod, error) {
	states, err := s.c.allStates(ctx)
	if err != nil {
		return nil, fmt.Errorf("see pod: %w", err)
	}
	pod := &seenPod{id: sandboxID}
	add := func(id, name string) {
		if st := states[id]; st != nil && st.Status == shim.Running && st.PID > 0 {
			pod.procs = append(pod.procs, seenProc{name: name, id: id, pid: st.PID})
		}
	}
	add(sandboxID, "")
	metas := s.c.metasOf(sandboxID)
	slices.SortFunc(metas, func(a, b *meta) int { return cmp.Compare(a.Created, b.Created) })
	for _, m := range metas {
		add(m.ID, m.container.GetMetadata().GetName())
	}
	return pod, nil
}

// namespaceKinds are the files of /proc/PID/ns, in the order in which they are shown.
var namespaceKinds = []string{"net", "ipc", "uts", "pid", "mnt", "user", "cgroup", "time"}

// namespaces lists who is in which namespace: the node's and the pod's, each once.
func (s *Seer) namespaces(pod *seenPod) []step.SeenNamespace {
	var out []step.SeenNamespace
	for _, kind := range namespaceKinds {
		first := len(out)
		if inode := namespaceInode(s.proc+"/self", kind); inode != 0 {
			out = append(out, step.SeenNamespace{Kind: kind, Inode: inode, Node: true})
		}
		for _, p := range pod.procs {
			inode := namespaceInode(filepath.Join(s.proc, strconv.Itoa(p.pid)), kind)
			if inode == 0 {
				continue
			}
			i := slices.IndexFunc(out[first:], func(n step.SeenNamespace) bool { return n.Inode == inode })
			if i < 0 {
				out = append(out, step.SeenNamespace{Kind: kind, Inode: inode})
				i = len(out) - 1 - first
			}
			n := &out[first+i]
			if p.name == "" {
				n.Pause = true
			} else {
				n.Containers = append(n.Containers, p.name)
			}
		}
	}
	return out
}

// namespaceInode reads a link such as "net:[4026532179]".
func namespaceInode(dir, kind string) uint64 {
	link, err := os.Readlink(filepath.Join(dir, "ns", kind))
	if err != nil {
		return 0
	}
	_, number, _ := strings.Cut(strings.TrimSuffix(link, "]"), ":[")
	n, _ := strconv.ParseUint(number, 10, 64)
	return n
}

// container reads what one first process has.
func (s *Seer) container(p *seenProc) step.SeenContainer {
	c := step.SeenContainer{Name: p.name, ID: short(p.id), PID: p.pid}
	dir := filepath.Join(s.proc, strconv.Itoa(p.pid))
	if data, err := os.ReadFile(dir + "/uid_map"); err == nil {
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] != f[1] && len(c.UIDMap) < 8 {
				c.UIDMap = append(c.UIDMap, strings.Join(f, " "))
			}
		}
	}
	if p.name != "" {
		c.Root, c.Mounts, c.More = describeMounts(readMounts(dir+"/mountinfo"), s.sysfs(), s.c.c.Root)
	}
	return c
}

// SeeProcesses reads the processes of a pod, at most 64.
func (s *Seer) SeeProcesses(sandboxID string) *step.ProcessesDetail {
	pod := s.seen(sandboxID)
	if pod == nil {
		return &step.ProcessesDetail{}
	}
	d := &step.ProcessesDetail{}
	for _, p := range pod.procs {
		for _, pid := range p.dirs.processes() {
			if len(d.Processes) >= processesSeen {
				d.More++
				continue
			}
			if proc, ok := readProcess(filepath.Join(s.proc, strconv.Itoa(pid))); ok {
				proc.PID, proc.Container = pid, p.name
				d.Processes = append(d.Processes, proc)
			}
		}
	}
	return d
}

const (
	processesSeen = 64
	commandSeen   = 120
)

// readProcess reads /proc/PID/status and cmdline.
func readProcess(dir string) (step.SeenProcess, bool) {
	data, err := os.ReadFile(dir + "/status")
	if err != nil {
		return step.SeenProcess{}, false
	}
	var p step.SeenProcess
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		f := strings.Fields(value)
		if len(f) == 0 {
			continue
		}
		switch key {
		case "Name":
			p.Comm = strings.TrimSpace(value)
		case "State":
			if f[0] != "R" && f[0] != "S" && f[0] != "D" && f[0] != "I" {
				p.State = f[0]
			}
		case "PPid":
			p.Parent, _ = strconv.Atoi(f[0])
		case "Uid":
			uid, _ := strconv.ParseUint(f[0], 10, 32)
			p.UID = uint32(uid)
		case "NSpid":
			p.Inner, _ = strconv.Atoi(f[len(f)-1])
		case "Threads":
			p.Threads, _ = strconv.Atoi(f[0])
		}
	}
	if line, err := os.ReadFile(dir + "/cmdline"); err == nil {
		words := strings.TrimRight(strings.ReplaceAll(string(line), "\x00", " "), " ")
		p.Command = strings.ToValidUTF8(words[:min(len(words), commandSeen)], "")
	}
	return p, true
}

// SeeUsage reads the counters of a pod's cgroups.
func (s *Seer) SeeUsage(sandboxID string) *step.UsageDetail {
	pod := s.seen(sandboxID)
	if pod == nil {
		return nil
	}
	d := &step.UsageDetail{Pod: pod.dirs.usage(), Containers: map[string]step.CgroupUsage{}}
	kills := int64(0)
	for _, p := range pod.procs {
		if p.name == "" || !p.dirs.there() {
			continue
		}
		u := p.dirs.usage()
		d.Containers[p.name] = u
		kills += u.OOMKills
	}
	d.Pod.OOMKills = max(d.Pod.OOMKills, kills) // version 1 does not add them up
	return d
}

// CPU is the CPU time of a pod so far: it tells cheaply whether anything of it
// has run. It is 0 for a pod that was not seen.
func (s *Seer) CPU(sandboxID string) time.Duration {
	if pod := s.seen(sandboxID); pod != nil {
		return pod.dirs.cpu()
	}
	return 0
}
