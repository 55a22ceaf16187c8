package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klab-project/klab/core/runtime/image"
	"github.com/klab-project/klab/core/runtime/oci"
	"github.com/klab-project/klab/core/runtime/shim"
)

// overlay has the mounts that make a container's root file system. overlayfs
// cannot be mounted with mapped ids, but its layers can: in a pod with a user
// namespace each layer is, and the upper directory is the pod's root's.
func (c *Client) overlay(m, pod *meta, pause int, img *image.Image) ([]shim.Mount, error) {
	dir := c.dir(m.ID)
	for _, name := range []string{"up", "work", "fs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	lower := c.images.Lower(img)
	if len(lower) == 0 { // an image without layers
		lower = []string{filepath.Join(dir, "fs")}
	}
	users, err := oci.UserNamespace(namespaces(pod.sandbox))
	if err != nil {
		return nil, err
	}
	var mounts []shim.Mount
	userns := ""
	if users.On() {
		userns = fmt.Sprintf("/proc/%d/ns/user", pause)
		uid, gid := users.Root()
		if err := os.Chown(filepath.Join(dir, "up"), uid, gid); err != nil {
			return nil, err
		}
		for i, layer := range lower {
			lower[i] = filepath.Join(dir, fmt.Sprint("l", i))
			mounts = append(mounts, shim.Mount{Type: "bind", Source: layer, Target: lower[i], UserNS: userns})
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s/up,workdir=%s/work", strings.Join(lower, ":"), dir, dir)
	if len(data) >= os.Getpagesize() {
		return nil, fmt.Errorf("the image has too many layers (%d) for the state directory's path: use a shorter one than %s", len(lower), c.c.Root)
	}
	return append(mounts, shim.Mount{Type: "overlay", Source: "overlay", Target: filepath.Join(dir, "fs"), Data: data, UserNS: userns}), nil
}
