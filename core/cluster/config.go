package cluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Config is what was chosen for a cluster when it was made.
type Config struct {
	Nodes   int       `json:"nodes"` // the highest number of a node
	Port    int       `json:"port"`  // of the API server on loopback
	Began   time.Time `json:"began"`
	Seed    uint64    `json:"seed"`
	EtcdURL []string  `json:"etcdServers,omitempty"` // an existing cluster instead of the built-in one
	// Removed are the numbers, below Nodes, of nodes that were removed; Asked is
	// how many the cluster was to have when that was last said.
	Removed []int `json:"removedNodes,omitempty"`
	Asked   int   `json:"askedNodes,omitempty"`
	// RuntimeEndpoint is another container runtime that the kubelets drive,
	// instead of klab's own; NodePlaceholder in it stands for the node's name.
	RuntimeEndpoint string `json:"containerRuntimeEndpoint,omitempty"`
	// DualStack gives nodes, pods and Services that ask for it addresses of both
	// families.
	DualStack bool `json:"dualStack,omitempty"`
	// NoHistory keeps events in memory only: the newest, and no recording.
	NoHistory bool `json:"noHistory,omitempty"`
	// KubeletArgs are what all kubelets are told, as upstream's flags.
	KubeletArgs []string `json:"kubeletArgs,omitempty"`
	// With are the optional add-ons that the cluster gets.
	With []string `json:"with,omitempty"`
	// Without are the add-ons that the cluster does not get.
	Without []string `json:"without,omitempty"`
	// SigningDuration is how long certificates of nodes, and others that are
	// asked for, are good; 0 means a year.
	SigningDuration time.Duration `json:"clusterSigningDuration,omitempty"`
}

func (c Config) signingDuration() time.Duration { return cmp.Or(c.SigningDuration, signingDuration) }

// MaxNodes bounds a cluster: node n has the pod network 10.244.n.0/24.
const MaxNodes = 50

// The addresses of every lab. They exist only in namespaces of its own.
var (
	podNet      = netip.MustParsePrefix("10.244.0.0/16")
	gatewayAddr = netip.MustParseAddr("172.30.0.1")
	controlAddr = netip.MustParseAddr("172.30.0.2") // API server, registry and proxy, for the nodes
	serviceIP   = netip.MustParseAddr("10.96.0.1")  // of default/kubernetes
	underlayNet = netip.MustParsePrefix("172.30.0.0/24")

	serviceNet6 = netip.MustParsePrefix("fd00:10:96::/112")
)

const (
	controlPort  = 6443
	registryPort = 5000
	proxyPort    = 3128
	kubeletPort  = 10250
)

func nodeName(n int) string { return fmt.Sprintf("node-%d", n) }

func nodeAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{172, 30, 0, byte(10 + n)}) }

func nodePodNet(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(n), 0}), 24)
}

// serviceNet6 is where Services get addresses of IPv6; invalid if there are none.
func (c Config) serviceNet6() netip.Prefix {
	if c.DualStack {
		return serviceNet6
	}
	return netip.Prefix{}
}

// LoadConfig reads a cluster's configuration; fs.ErrNotExist if there is none.
func (d Dir) LoadConfig() (Config, error) {
	var c Config
	data, err := os.ReadFile(d.configFile())
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s is damaged: %w; \"klab --cluster %s down\" removes the cluster", d.configFile(), err, d.Name)
	}
	return c, nil
}

func (d Dir) saveConfig(c Config) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(d.configFile(), append(data, '\n'), 0o644)
}

// writeFile replaces a file at once, so that a kill leaves the old or the new one.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}
