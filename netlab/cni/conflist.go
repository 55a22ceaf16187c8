package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
)

// NodeConfig is what a node's own conflist follows from.
type NodeConfig struct {
	Pods    netip.Prefix // the subnet of the node's pods; its first address is the bridge's
	Pods6   netip.Prefix // a subnet of the other family, where pods have an address of each
	DataDir string       // where addresses in use are remembered; empty: host-local's own place
	MTU     int          // of pods' links: the underlay's less 50 for VXLAN
	Routed  bool         // pods are routed, instead of bridged
}

// Conflist is the network configuration that nodes of the lab begin with. It is
// for two versions of the specification: the higher one is used while all its
// plugins have it.
func Conflist(c NodeConfig) []byte {
	ranges := [][]any{{map[string]any{"subnet": c.Pods}}}
	if c.Pods6.IsValid() {
		ranges = append(ranges, []any{map[string]any{"subnet": c.Pods6}})
	}
	ipam := map[string]any{"type": "host-local", "ranges": ranges}
	if c.DataDir != "" {
		ipam["dataDir"] = c.DataDir
	}
	first := map[string]any{
		"type": "bridge", "bridge": "cni0", "mtu": c.MTU,
		"isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
		"ipam": ipam,
	}
	if c.Routed {
		first = map[string]any{"type": "routed", "mtu": c.MTU, "ipam": ipam}
	}
	text, err := json.MarshalIndent(map[string]any{
		"cniVersion":  "1.0.0",
		"cniVersions": []string{"1.0.0", "1.1.0"},
		"name":        "klab",
		"plugins": []any{
			first,
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
	return writeWhole(path, Conflist(c), 0o644)
}

// SwitchConflist is WriteConflist, but it replaces the configuration that
// differs in Routed alone: one that was not edited.
func SwitchConflist(dir string, c NodeConfig) error {
	path, other := filepath.Join(dir, ConflistFile), c
	other.Routed = !c.Routed
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, Conflist(other)) {
		return writeWhole(path, Conflist(c), 0o644)
	}
	return WriteConflist(dir, c)
}

// writeWhole writes a file that is there whole or not at all; of several who do
// so at a time each has a file of its own until then.
func writeWhole(path string, text []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
