package nodens

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Create makes a node's namespaces and pins them. A node that is there already
// with the same configuration is left alone, with all that runs in it; the
// remains of a creation that was cut short are replaced.
func Create(c Config) (*Node, error) {
	if c.Hostname == "" || !filepath.IsAbs(c.Dir) || (c.Cgroup != "" && !filepath.IsAbs(c.Cgroup)) {
		return nil, fmt.Errorf("create node: want a host name and absolute paths, got %+v", c)
	}
	if n, err := Open(c.Dir); err == nil {
		if n.Config != c {
			return nil, fmt.Errorf("create node %s: it exists as %q with cgroup %q; delete it first", c.Dir, n.Hostname, n.Cgroup)
		}
		return n, nil
	}
	if err := Delete(c.Dir); err != nil {
		return nil, err
	}
	n := &Node{c}
	if err := n.create(); err != nil {
		return nil, errors.Join(fmt.Errorf("create node %s: %w", c.Hostname, err), Delete(c.Dir))
	}
	return n, nil
}

func (n *Node) create() error {
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return err
	}
	if err := preparePins(n.Dir); err != nil {
		return err
	}
	r := record{Config: n.Config}
	if err := n.write(r); err != nil { // first, so that Delete knows of the group
		return err
	}
	var group *os.File
	var err error
	if n.ownCgroup() {
		if group, err = cgroupNamespace(filepath.Join(cgroupRoot, n.Cgroup)); err != nil {
			return err
		}
		defer group.Close()
	}

	// The builder's thread has the namespaces; this one pins them, for a mount
	// namespace cannot be pinned from within itself.
	built, pinned := make(chan int, 1), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- netns.Isolate(func() error {
			if err := n.build(group); err != nil {
				return err
			}
			built <- unix.Gettid()
			<-pinned
			return nil
		})
	}()
	select {
	case err := <-result:
		return err
	case tid := <-built:
		if r.Mount, err = netns.Identify(fmt.Sprintf("/proc/self/task/%d/ns/mnt", tid)); err == nil {
			err = n.write(r)
		}
		for _, kind := range n.kinds() {
			if err == nil {
				err = netns.Pin(n.Pin(kind), fmt.Sprintf("/proc/self/task/%d/ns/%s", tid, kind))
			}
		}
		close(pinned)
		return errors.Join(err, <-result)
	}
}

// build gives the calling thread all of the node's namespaces and furnishes them.
func (n *Node) build(group *os.File) error {
	if group != nil {
		if err := unix.Setns(int(group.Fd()), unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("enter cgroup namespace: %w", err)
		}
	}
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("create namespaces: %w (this needs root or CAP_SYS_ADMIN)", err)
	}
	if err := unix.Sethostname([]byte(n.Hostname)); err != nil {
		return fmt.Errorf("set host name %q: %w", n.Hostname, err)
	}
	return furnish(group != nil)
}
