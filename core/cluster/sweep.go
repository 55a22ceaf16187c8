package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/nodens"
	"github.com/klab-project/klab/netlab/topology"
)

// Sweep removes everything that a cluster has on the machine: processes,
// mounts, cgroups, namespaces and, unless keep, its directory. It looks at the
// machine and not at what anybody remembers, so that it works after a crash,
// and it may be repeated.
func Sweep(ctx context.Context, d Dir, keep bool) error {
	if err := d.kill(ctx, func(string) bool { return true }); err != nil {
		return err
	}
	var errs []error
	for _, name := range d.nodeNames() {
		errs = append(errs, d.sweepNode(ctx, name, keep))
	}
	errs = append(errs, topology.Destroy(d.net()), unlinkNames(d), removeCgroups(d),
		removePlaces(cniConfDir, cniBinDir, cniStateDir, filepath.Dir(cni.SubnetFile)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w; \"klab --cluster %s down\" tries again", err, d.Name)
	}
	if keep {
		return nil
	}
	if err := os.RemoveAll(d.Path); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	_ = os.Remove(filepath.Dir(d.Path)) // only if no other cluster is there
	return nil
}

// nodeNames lists the nodes that have a directory.
func (d Dir) nodeNames() []string {
	entries, err := os.ReadDir(filepath.Join(d.Path, "nodes"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (d Dir) sweepNode(ctx context.Context, name string, keep bool) error {
	// The runtime's mounts are in the node's mount namespace, and go with it;
	// what Clean does outside of it is end processes and remove cgroups.
	if err := runtime.Clean(ctx, runtime.CleanOptions{Root: d.nodeRT(name), CgroupParent: d.cgroup(name), KeepImages: keep}); err != nil {
		return fmt.Errorf("runtime of %s: %w", name, err)
	}
	if err := nodens.Delete(d.nodeNS(name)); err != nil {
		return err
	}
	return d.forgetPods(name)
}

// removeCgroups removes the empty cgroups that are left, in all hierarchies.
func removeCgroups(d Dir) error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + d.ID())
	if err != nil {
		return err
	}
	roots = append(roots, "/sys/fs/cgroup/"+d.ID())
	var errs []error
	for _, root := range roots {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		errs = append(errs, err)
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := unix.Rmdir(dirs[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dirs[i], err))
			}
		}
	}
	return errors.Join(errs...)
}

// namedDir is where "ip netns" looks for names.
const namedDir = "/run/netns"

// linkNames makes the lab's network namespaces known to "ip netns", by
// symbolic links: "ip netns exec klab-lab-node-1 ip route".
func linkNames(d Dir, pins map[string]string) error {
	if err := os.MkdirAll(namedDir, 0o755); err != nil {
		return err
	}
	for name, pin := range pins {
		link := filepath.Join(namedDir, d.ID()+"-"+name)
		if old, err := os.Readlink(link); err == nil && old == pin {
			continue
		}
		_ = os.Remove(link)
		if err := os.Symlink(pin, link); err != nil {
			return err
		}
	}
	return nil
}

func unlinkName(d Dir, name string) error {
	err := os.Remove(filepath.Join(namedDir, d.ID()+"-"+name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// unlinkNames removes the names, and their directory if klab made it.
func unlinkNames(d Dir) error {
	entries, err := os.ReadDir(namedDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	left := 0
	for _, e := range entries {
		link := filepath.Join(namedDir, e.Name())
		pin, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(pin, d.Path+string(filepath.Separator)) {
			left++
			continue
		}
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	if left == 0 {
		_ = os.Remove(namedDir) // a mount point, as iproute2 makes it, stays
	}
	return nil
}
