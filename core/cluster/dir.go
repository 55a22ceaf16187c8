package cluster

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// DefaultRoot is where clusters live unless KLAB_ROOT says otherwise.
const DefaultRoot = "/var/lib/klab"

// DefaultName is the cluster that is meant if none is named.
const DefaultName = "lab"

// Root is the directory that holds all clusters.
func Root() string { return cmp.Or(os.Getenv("KLAB_ROOT"), DefaultRoot) }

// Dir is a cluster's directory: all of its state is below it.
type Dir struct {
	Name string
	Path string
}

var nameRule = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,22}[a-z0-9])?$`)

// NewDir names the directory of a cluster; it need not exist.
func NewDir(root, name string) (Dir, error) {
	if !nameRule.MatchString(name) {
		return Dir{}, fmt.Errorf("%q cannot be a cluster's name: use 1 to 24 lower-case letters, digits and hyphens, such as %q", name, DefaultName)
	}
	root, err := filepath.Abs(root)
	return Dir{Name: name, Path: filepath.Join(root, name)}, err
}

// List names the clusters that have a directory below root.
func List(root string) ([]Dir, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var dirs []Dir
	for _, e := range entries {
		if d, err := NewDir(root, e.Name()); err == nil && e.IsDir() && d.Exists() {
			dirs = append(dirs, d)
		}
	}
	slices.SortFunc(dirs, func(a, b Dir) int { return cmp.Compare(a.Name, b.Name) })
	return dirs, err
}

// Exists tells whether the cluster has state.
func (d Dir) Exists() bool {
	_, err := os.Stat(d.configFile())
	return err == nil
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (d Dir) Kubeconfig() string { return filepath.Join(d.Path, "kubeconfig") }

// DaemonLog is the path of the daemon's log.
func (d Dir) DaemonLog() string { return filepath.Join(d.Path, "logs", "daemon.log") }

func (d Dir) configFile() string { return filepath.Join(d.Path, "cluster.json") }
func (d Dir) addonsFile() string { return filepath.Join(d.Path, "addons") }
func (d Dir) lockFile() string   { return filepath.Join(d.Path, "lock") }
func (d Dir) pki() string        { return filepath.Join(d.Path, "pki") }
func (d Dir) etcd() string       { return filepath.Join(d.Path, "etcd") }
func (d Dir) journal() string    { return filepath.Join(d.Path, "journal") }
func (d Dir) usedFile() string   { return filepath.Join(d.Path, "journal", "used-step-ids") }
func (d Dir) net() string        { return filepath.Join(d.Path, "net") }
func (d Dir) registry() string   { return filepath.Join(d.Path, "registry") }
func (d Dir) rtBinary() string   { return filepath.Join(d.Path, "bin", "klab-rt") }

func (d Dir) log(name string) string { return filepath.Join(d.Path, "logs", name+".log") }

// node is where everything of one node is.
func (d Dir) node(name string) string { return filepath.Join(d.Path, "nodes", name) }

// Manifests is where the files of a node's static pods are.
func (d Dir) Manifests(node string) string { return filepath.Join(d.node(node), "manifests") }

// nodeNS holds the pins of a node's namespaces.
func (d Dir) nodeNS(name string) string { return filepath.Join(d.node(name), "ns") }

// nodeRT is the state of a node's container runtime.
func (d Dir) nodeRT(name string) string { return filepath.Join(d.node(name), "rt") }

// ID names the cluster on the machine, where clusters of other roots may have
// the same name: "klab-lab", or "klab-lab-1f3a" away from the default root.
func (d Dir) ID() string {
	if filepath.Dir(d.Path) == DefaultRoot {
		return "klab-" + d.Name
	}
	sum := sha256.Sum256([]byte(d.Path))
	return fmt.Sprintf("klab-%s-%x", d.Name, sum[:2])
}

// cgroup is a node's control group, as an absolute path in the hierarchy.
func (d Dir) cgroup(node string) string { return "/" + d.ID() + "/" + node }
