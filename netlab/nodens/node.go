package nodens

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Config says what a node's namespaces are to be.
type Config struct {
	// Dir holds the pins. One directory is one node.
	Dir string `json:"-"`
	// Hostname is set in the node's uts namespace.
	Hostname string `json:"hostname"`
	// Cgroup is the node's control group as an absolute path in the hierarchy,
	// such as "/klab-lab/node-1". On cgroup v2 it is made if it is missing and
	// becomes the root of the node's cgroup namespace; if empty there is none.
	Cgroup string `json:"cgroup,omitempty"`
}

// Node is a set of pinned namespaces.
type Node struct{ Config }

// record is what a node's directory has besides the pins.
type record struct {
	Config
	Mount netns.ID `json:"mount"` // by which the node's own processes know that they are inside
}

const recordFile = "node.json"

func (n *Node) write(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := filepath.Join(n.Dir, recordFile+".tmp")
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(n.Dir, recordFile))
}

func read(dir string) (record, error) {
	r := record{Config: Config{Dir: dir}}
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	r.Dir = dir
	return r, err
}

// kinds in the order in which a process enters them: paths are looked up in
// the caller's mount namespace, so all are opened before the first is entered.
func (n *Node) kinds() []netns.Kind {
	kinds := []netns.Kind{netns.UTS, netns.Net}
	if n.ownCgroup() {
		kinds = append(kinds, netns.Cgroup)
	}
	return append(kinds, netns.Mount) // pinned last: its pin says that all is done
}

// Pin is the path of one of the node's namespaces.
func (n *Node) Pin(kind netns.Kind) string { return filepath.Join(n.Dir, kind.String()) }

// NetNS is the path of the node's network namespace.
func (n *Node) NetNS() string { return n.Pin(netns.Net) }

// CgroupPath is the node's control group as processes inside the node name
// it: "/" where the node has a cgroup namespace, and Config.Cgroup elsewhere.
func (n *Node) CgroupPath() string {
	if n.ownCgroup() {
		return "/"
	}
	return n.Cgroup
}

func (n *Node) ownCgroup() bool { return n.Cgroup != "" && Unified() }

// Unified says whether the machine has cgroup v2 alone.
func Unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

const cgroupRoot = "/sys/fs/cgroup"

// Open finds a node that was made before: fs.ErrNotExist if there is none, or
// if its creation was cut short. A process of the node itself may open it, too,
// to learn about it; it sees no pins and cannot start others.
func Open(dir string) (*Node, error) {
	r, err := read(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open node %s: %w", dir, err)
	}
	n := &Node{r.Config}
	if here, err := netns.Identify("/proc/thread-self/ns/mnt"); err == nil && here == r.Mount {
		return n, nil
	}
	for _, kind := range n.kinds() {
		if !netns.Pinned(n.Pin(kind), kind) {
			return nil, fmt.Errorf("open node %s: its %s namespace is missing: %w", dir, kind, fs.ErrNotExist)
		}
	}
	return n, nil
}

// Processes lists the processes that are in the node's network, mount or uts
// namespace. Containers that have their own are not among them.
func (n *Node) Processes() ([]int, error) {
	own := map[netns.ID]bool{}
	kinds := []netns.Kind{netns.Net, netns.Mount, netns.UTS}
	for _, kind := range kinds {
		if id, err := netns.Identify(n.Pin(kind)); err == nil && netns.Pinned(n.Pin(kind), kind) {
			own[id] = true
		}
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		inside := slices.ContainsFunc(kinds, func(kind netns.Kind) bool {
			id, err := netns.Identify(filepath.Join(dir, "ns", kind.String()))
			return err == nil && own[id]
		})
		if err == nil && inside {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Delete removes a node's pins and its directory, and on cgroup v2 its group,
// also after a creation that was cut short. It is no error if nothing is there.
// Processes of the node must have ended, or else they keep the namespaces, and
// on cgroup v2 Delete fails before anything is removed.
func Delete(dir string) error {
	r, err := read(dir)
	n := &Node{r.Config}
	if err == nil && n.ownCgroup() {
		if err := removeGroup(filepath.Join(cgroupRoot, n.Cgroup)); err != nil {
			return fmt.Errorf("delete node: %w", err)
		}
	}
	var errs []error
	for _, kind := range []netns.Kind{netns.Mount, netns.Cgroup, netns.Net, netns.UTS} {
		errs = append(errs, netns.Unpin(n.Pin(kind)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete node: %w", err)
	}
	for _, name := range []string{recordFile, recordFile + ".tmp"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete node: %w", err)
		}
	}
	if err := releasePins(dir); err != nil {
		return fmt.Errorf("delete node: %w", err)
	}
	err = os.Remove(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("delete node: %w", err)
	}
	return nil
}
