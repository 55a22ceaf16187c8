package cm

import (
	"os"
	"path"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
)

const mountRoot = "/sys/fs/cgroup"

// unified says whether the node has cgroup v2 alone.
func unified() bool {
	_, err := os.Stat(mountRoot + "/cgroup.controllers")
	return err == nil
}

// mounts are the hierarchies that limits are in.
func (t *Tree) mounts() []string {
	if t.unified {
		return []string{mountRoot}
	}
	return []string{mountRoot + "/memory", mountRoot + "/cpu", mountRoot + "/pids"}
}

// found is in how many of the hierarchies the group exists.
func (t *Tree) found(group string) (n int) {
	for _, mount := range t.mounts() {
		if _, err := os.Stat(filepath.Join(mount, group)); err == nil {
			n++
		}
	}
	return n
}

// write makes a group in all hierarchies, if it is missing, and sets its
// numbers.
func (t *Tree) write(group string, s Settings) error {
	r := &cgroups.Resources{SkipDevices: true, Memory: s.Memory}
	if s.Pids != 0 {
		r.PidsLimit = &s.Pids
	}
	if s.Quota != 0 {
		r.CpuQuota, r.CpuPeriod = s.Quota, Period
	}
	if t.unified {
		r.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(s.Shares)
	} else {
		r.CpuShares = s.Shares
	}
	m, err := t.manager(group, r)
	if err != nil {
		return err
	}
	if err := m.Apply(-1); err != nil {
		return err
	}
	return m.Set(r)
}

func (t *Tree) manager(group string, r *cgroups.Resources) (cgroups.Manager, error) {
	config := &cgroups.Cgroup{Path: path.Clean(group), Resources: r}
	if t.unified {
		return fs2.NewManager(config, filepath.Join(mountRoot, group))
	}
	return fs.NewManager(config, nil)
}
