package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// List is a network configuration list: plugins that are called in order.
type List struct {
	CNIVersion   string            `json:"cniVersion"`
	Name         string            `json:"name"`
	DisableCheck bool              `json:"disableCheck,omitempty"`
	Plugins      []json.RawMessage `json:"plugins"`

	raw json.RawMessage
}

// Raw is the text that the list was parsed from.
func (l *List) Raw() json.RawMessage { return l.raw }

var versions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// Parse reads a conflist. What is wrong with it is told in a sentence.
func Parse(text []byte) (*List, error) {
	l := &List{raw: slices.Clone(text)}
	if err := json.Unmarshal(text, l); err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	switch {
	case l.Name == "":
		return nil, errors.New("network configuration: it has no name")
	case !slices.Contains(versions, l.CNIVersion):
		return nil, fmt.Errorf("network configuration %s: cniVersion %q is not one of %v", l.Name, l.CNIVersion, versions)
	case len(l.Plugins) == 0:
		return nil, fmt.Errorf("network configuration %s: it lists no plugins", l.Name)
	}
	for i := range l.Plugins {
		if kind, err := l.kind(i); err != nil || kind == "" {
			return nil, fmt.Errorf("network configuration %s: plugin %d has no type", l.Name, i+1)
		}
	}
	return l, nil
}

func (l *List) kind(i int) (string, error) {
	var p struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(l.Plugins[i], &p)
	return p.Type, err
}

// stdin is what plugin i gets to read: its own configuration and what the
// specification adds to it.
func (l *List) stdin(i int, prev *Result, said map[string]any) (json.RawMessage, error) {
	conf := map[string]any{}
	if err := json.Unmarshal(l.Plugins[i], &conf); err != nil {
		return nil, err
	}
	able, _ := conf["capabilities"].(map[string]any)
	delete(conf, "capabilities")
	runtime := map[string]any{}
	for name, value := range said {
		if able[name] == true {
			runtime[name] = value
		}
	}
	if len(runtime) > 0 {
		conf["runtimeConfig"] = runtime
	}
	conf["name"], conf["cniVersion"] = l.Name, l.CNIVersion
	if prev != nil {
		conf["prevResult"] = prev
	}
	return json.Marshal(conf)
}

// ErrNoNetwork is the error for a directory without a network configuration.
var ErrNoNetwork = errors.New("no network configuration")

// Load reads the first conflist of a directory, by name, as kubelets' runtimes
// read /etc/cni/net.d.
func Load(dir string) (*List, error) {
	files, err := os.ReadDir(dir) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) == ".conflist" && !f.IsDir() {
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				return nil, fmt.Errorf("network configuration: %w", err)
			}
			l, err := Parse(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name(), err)
			}
			return l, nil
		}
	}
	return nil, fmt.Errorf("%w: %s has no .conflist file", ErrNoNetwork, dir)
}

// NodeConfig is what a node's own conflist follows from.
type NodeConfig struct {
	Pods    netip.Prefix // the subnet of the node's pods; its first address is the bridge's
	DataDir string       // where addresses in use are remembered
	MTU     int          // of pods' links: the underlay's less 50 for VXLAN
}

// Conflist is the network configuration that nodes of the lab begin with.
func Conflist(c NodeConfig) []byte {
	text, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0",
		"name":       "klab",
		"plugins": []any{
			map[string]any{
				"type": "bridge", "bridge": "cni0", "mtu": c.MTU,
				"isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
				"ipam": map[string]any{
					"type": "host-local", "dataDir": c.DataDir,
					"ranges": [][]any{{map[string]any{"subnet": c.Pods}}},
				},
			},
			map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}},
		},
	}, "", "  ")
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return append(text, '\n')
}

// ConflistFile is the name of that configuration's file.
const ConflistFile = "10-klab.conflist"

// WriteConflist puts a node's configuration into dir, whole or not at all. One
// that is there already stays: it may have been edited.
func WriteConflist(dir string, c NodeConfig) error {
	path := filepath.Join(dir, ConflistFile)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return writeWhole(path, Conflist(c))
}

func writeWhole(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
