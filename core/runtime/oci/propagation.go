package oci

import (
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// withPropagation makes the container's whole mount tree pass on what its
// volumes are to pass on: mount_namespaces(7), "Shared subtrees".
func withPropagation(spec *specs.Spec, mounts []*cri.Mount) error {
	for _, m := range mounts {
		switch m.Propagation {
		case cri.MountPropagation_PROPAGATION_BIDIRECTIONAL:
			if err := propagates(m.HostPath, "shared:"); err != nil {
				return fmt.Errorf("%w but it is not a shared mount", err)
			}
			spec.Linux.RootfsPropagation = "rshared"
		case cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
			if err := propagates(m.HostPath, "shared:", "master:"); err != nil {
				return fmt.Errorf("%w but it is not a shared or slave mount", err)
			}
			if spec.Linux.RootfsPropagation == "" {
				spec.Linux.RootfsPropagation = "rslave"
			}
		}
	}
	return nil
}

// propagates looks for one of the marks at the mount that path is on: the
// optional fields of /proc/PID/mountinfo.
func propagates(path string, marks ...string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var at string
	var fields []string
	for line := range strings.Lines(string(data)) {
		left, _, _ := strings.Cut(line, " - ")
		f := strings.Fields(left)
		if len(f) < 6 || !below(path, f[4]) || len(f[4]) < len(at) {
			continue
		}
		at, fields = f[4], f[6:]
	}
	for _, f := range fields {
		for _, mark := range marks {
			if strings.HasPrefix(f, mark) {
				return nil
			}
		}
	}
	return fmt.Errorf("path %q is mounted on %q", path, at)
}

func below(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
