package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNoNetwork is the error for a directory without a network configuration,
// in the words of container runtimes.
var ErrNoNetwork = errors.New("cni plugin not initialized")

// ErrInvalid is the error for a network configuration that cannot be used.
var ErrInvalid = errors.New("invalid cni config")

// Load reads the first network configuration of a directory, by name, as
// container runtimes read /etc/cni/net.d: .conflist files, and .conf and .json
// files, each of which is the configuration of a single plugin.
func Load(dir string) (*List, error) {
	files, err := os.ReadDir(dir) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		path := filepath.Join(dir, f.Name())
		switch filepath.Ext(path) {
		case ".conflist":
			l, err := read(path, Parse)
			if err != nil {
				return nil, fmt.Errorf("failed to load CNI config list file %s: %w: %w", path, err, ErrInvalid)
			}
			return l, nil
		case ".conf", ".json":
			l, err := read(path, parseOne)
			if err != nil {
				return nil, fmt.Errorf("failed to load CNI config file %s: %w: %w", path, err, ErrInvalid)
			}
			return l, nil
		}
	}
	return nil, fmt.Errorf("no network config found in %s: %w", dir, ErrNoNetwork)
}

func read(path string, parse func([]byte) (*List, error)) (*List, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("error reading %s: %w", path, err)
	}
	return parse(text)
}

// parseOne reads the configuration of a single plugin as a list of one.
func parseOne(text []byte) (*List, error) {
	var conf struct {
		CNIVersion string `json:"cniVersion"`
		Name       string `json:"name"`
		Type       string `json:"type"`
	}
	if err := json.Unmarshal(text, &conf); err != nil {
		return nil, fmt.Errorf("error parsing configuration: %w", err)
	}
	if conf.Type == "" {
		return nil, errors.New("error parsing configuration: missing 'type'")
	}
	list, err := json.Marshal(map[string]any{"cniVersion": conf.CNIVersion, "name": conf.Name, "plugins": []json.RawMessage{text}})
	if err != nil {
		return nil, err
	}
	return Parse(list)
}
