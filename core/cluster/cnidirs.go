package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/cni"
)

// Where the parts of a network meet on every node in the world.
const (
	cniConfDir  = "/etc/cni/net.d"
	cniBinDir   = "/opt/cni/bin"
	cniStateDir = "/var/lib/cni"
)

// cniPlaces are the directories of this node, by the path at which the node has
// them. Only the node does: on the machine they are empty.
func (a *agent) cniPlaces() map[string]string {
	return map[string]string{
		cniConfDir:                   filepath.Join(a.cniDir(a.name), "net.d"),
		cniBinDir:                    filepath.Join(a.cniDir(a.name), "bin"),
		cniStateDir:                  a.cniState(a.name),
		filepath.Dir(cni.SubnetFile): filepath.Join(a.cniDir(a.name), "flannel"),
	}
}

// mountCNI mounts them in the node's own mount namespace, in which the agent
// was born. A mount that an earlier agent left stays, unless its directory is
// another one by now.
func (a *agent) mountCNI() error {
	for place, dir := range a.cniPlaces() {
		if err := errors.Join(os.MkdirAll(dir, 0o755), makePlace(place)); err != nil {
			return fmt.Errorf("a node has its network plugins at %s, for which the machine needs an empty directory: %w", place, err)
		}
		there, err := os.Stat(place)
		if err != nil {
			return err
		}
		ours, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if os.SameFile(there, ours) {
			continue
		}
		if err := unix.Mount(dir, place, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s at the node's %s: %w", dir, place, err)
		}
	}
	return nil
}

// writeSubnetEnv says what flannel's plugin reads, unless somebody has. It is the
// same under every backend of the overlay: pods' MTU does not depend on it.
func (a *agent) writeSubnetEnv(e cni.SubnetEnv) error {
	_, err := os.Stat(cni.SubnetFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(cni.SubnetFile, e.Text(), 0o644)
}
