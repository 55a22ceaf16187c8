package oci

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mounts are the specification's default file systems, the pod's own files,
// and what the pod asks for, parents before children.
func mounts(in Input) ([]specs.Mount, error) {
	sec := in.Config.GetLinux().GetSecurityContext()
	access := "ro"
	if sec.GetPrivileged() {
		access = "rw"
	}
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	if in.Pod.Shm != "" {
		all = append(all, bind(in.Pod.Shm, "/dev/shm", "rw"))
	}
	for destination, file := range in.Pod.Files {
		if !sec.GetReadonlyRootfs() {
			all = append(all, bind(file, destination, "rw"))
		} else {
			all = append(all, bind(file, destination, "ro"))
		}
	}
	for _, m := range in.Config.Mounts {
		mount, err := volume(m)
		if err != nil {
			return nil, err
		}
		all = append(all, mount)
	}
	return ordered(all), nil
}

func bind(from, to, access string) specs.Mount {
	return specs.Mount{Destination: to, Type: "bind", Source: from, Options: []string{"rbind", "rprivate", access}}
}

// volume is a mount that the kubelet asks for.
func volume(m *cri.Mount) (specs.Mount, error) {
	if m.Image != nil {
		return specs.Mount{}, fmt.Errorf("mount %s: image volumes are not supported", m.ContainerPath)
	}
	source, err := filepath.EvalSymlinks(m.HostPath)
	if os.IsNotExist(err) {
		source = m.HostPath
		err = os.MkdirAll(source, 0o755)
	}
	if err != nil {
		return specs.Mount{}, fmt.Errorf("mount %s: %w", m.ContainerPath, err)
	}
	access := "rw"
	if m.Readonly {
		access = "ro"
		if m.RecursiveReadOnly {
			access = "rro"
		}
	}
	mount := bind(source, m.ContainerPath, access)
	switch m.Propagation {
	case cri.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		mount.Options[1] = "rshared"
	case cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		mount.Options[1] = "rslave"
	}
	mount.UIDMappings, mount.GIDMappings = idMappings(m.UidMappings), idMappings(m.GidMappings)
	return mount, nil
}

// ordered puts parents before children; of two mounts at one place the later
// one stays.
func ordered(all []specs.Mount) []specs.Mount {
	last := map[string]int{}
	for i := range all {
		all[i].Destination = path.Clean("/" + all[i].Destination)
		last[all[i].Destination] = i
	}
	var kept []specs.Mount
	for i, m := range all {
		if last[m.Destination] == i {
			kept = append(kept, m)
		}
	}
	slices.SortStableFunc(kept, func(a, b specs.Mount) int {
		return cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/"))
	})
	return kept
}
