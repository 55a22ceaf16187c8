package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// withDevices gives the container the device nodes that it asks for, or all if
// it is privileged.
func withDevices(spec *specs.Spec, config *cri.ContainerConfig) error {
	if len(config.CDIDevices) > 0 {
		return fmt.Errorf("device %s: CDI devices are not supported", config.CDIDevices[0].GetName())
	}
	if config.GetLinux().GetSecurityContext().GetPrivileged() {
		spec.Linux.Devices = hostDevices("/dev", "/dev")
	}
	for _, d := range config.Devices {
		found, err := devicesAt(d.HostPath, d.ContainerPath)
		if err != nil {
			return err
		}
		access := first(d.Permissions, "rwm")
		if strings.Trim(access, "rwm") != "" {
			return fmt.Errorf("device %s: permissions %q are not of r, w and m", d.HostPath, access)
		}
		for _, one := range found {
			spec.Linux.Devices = slices.DeleteFunc(spec.Linux.Devices, func(have specs.LinuxDevice) bool { return have.Path == one.Path })
			spec.Linux.Devices = append(spec.Linux.Devices, one)
			spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
				Allow: true, Type: one.Type, Major: &one.Major, Minor: &one.Minor, Access: access,
			})
		}
	}
	return nil
}

// devicesAt is one device, or all below a directory.
func devicesAt(path, as string) ([]specs.LinuxDevice, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("device: %w", err)
	}
	if info, err := os.Stat(real); err == nil && info.IsDir() {
		return hostDevices(real, as), nil
	}
	d, ok := device(real, as)
	if !ok {
		return nil, fmt.Errorf("device %s: not a device node", path)
	}
	return []specs.LinuxDevice{d}, nil
}

// hostDevices are the device nodes below a directory of the node.
func hostDevices(dir, as string) []specs.LinuxDevice {
	skip := []string{"pts", "shm", "mqueue", "fd", "console", ".udev", ".lxc"}
	var found []specs.LinuxDevice
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name, to := filepath.Join(dir, e.Name()), filepath.Join(as, e.Name())
		switch {
		case slices.Contains(skip, e.Name()):
		case e.IsDir():
			found = append(found, hostDevices(name, to)...)
		case e.Type()&os.ModeDevice != 0:
			if d, ok := device(name, to); ok {
				found = append(found, d)
			}
		}
	}
	return found
}

func device(path, as string) (specs.LinuxDevice, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return specs.LinuxDevice{}, false
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, false
	}
	mode, uid, gid := os.FileMode(st.Mode&0o777), st.Uid, st.Gid
	return specs.LinuxDevice{
		Path: as, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &uid, GID: &gid,
	}, true
}
