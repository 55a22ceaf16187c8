package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// List is a network configuration list: plugins that are called in order.
type List struct {
	// CNIVersion is the highest version of the specification that the
	// configuration is for; Versions are all, the lowest first.
	CNIVersion   string
	Versions     []string
	Name         string
	DisableCheck bool
	DisableGC    bool
	Plugins      []json.RawMessage

	raw json.RawMessage
}

// Raw is the text that the list was parsed from.
func (l *List) Raw() json.RawMessage { return l.raw }

// listFile is a conflist as it is written.
type listFile struct {
	CNIVersion   string            `json:"cniVersion"`
	CNIVersions  []string          `json:"cniVersions"`
	Name         *string           `json:"name"`
	DisableCheck flag              `json:"disableCheck"`
	DisableGC    flag              `json:"disableGC"`
	Plugins      []json.RawMessage `json:"plugins"`
}

// flag is a truth value that may be written as a word.
type flag bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *flag) UnmarshalJSON(text []byte) error {
	switch strings.ToLower(strings.Trim(string(text), `"`)) {
	case "true":
		*f = true
	case "false", "null":
	default:
		return fmt.Errorf("invalid value %s", text)
	}
	return nil
}

// Parse reads a conflist. What is wrong with it is told in upstream's words.
func Parse(text []byte) (*List, error) {
	var f listFile
	err := json.Unmarshal(text, &f)
	switch {
	case err != nil:
	case f.Name == nil:
		err = errors.New("no name")
	case f.Plugins == nil:
		err = errors.New("no plugins in list: there is no 'plugins' key")
	case len(f.Plugins) == 0:
		err = errors.New("no plugins in list")
	}
	if err != nil {
		return nil, fmt.Errorf("error parsing configuration list: %w", err)
	}
	l := &List{Name: *f.Name, DisableCheck: bool(f.DisableCheck), DisableGC: bool(f.DisableGC), Plugins: f.Plugins, raw: slices.Clone(text)}
	if err := utils.ValidateNetworkName(l.Name); err != nil {
		return nil, fmt.Errorf("error parsing configuration list: %w", err)
	}
	if err := l.choose(f); err != nil {
		return nil, fmt.Errorf("error parsing configuration list %s: %w", l.Name, err)
	}
	for i := range l.Plugins {
		if kind, err := l.kind(i); err != nil || kind == "" {
			return nil, fmt.Errorf("failed to parse plugin config %d: %w", i, errors.Join(err, errors.New("error parsing configuration: missing 'type'")))
		}
	}
	return l, nil
}

// choose sorts out the versions of the specification.
func (l *List) choose(f listFile) error {
	ours := version.All.SupportedVersions() // the lowest first
	if f.CNIVersion == "" && len(f.CNIVersions) == 0 {
		f.CNIVersion = "0.1.0"
	}
	for _, v := range ours {
		if v == f.CNIVersion || slices.Contains(f.CNIVersions, v) {
			l.Versions = append(l.Versions, v)
		}
	}
	if len(l.Versions) == 0 {
		said := slices.DeleteFunc(append([]string{f.CNIVersion}, f.CNIVersions...), func(v string) bool { return v == "" })
		return fmt.Errorf("cniVersion %q is not one of %q", strings.Join(said, ", "), ours)
	}
	l.CNIVersion = l.Versions[len(l.Versions)-1]
	return nil
}

func (l *List) kind(i int) (string, error) {
	var p struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(l.Plugins[i], &p)
	return p.Type, err
}

// kinds are the types of all plugins, with those that they delegate to as far
// as the configuration names them: in "ipam" and in "delegate".
func (l *List) kinds() (all []string) {
	for _, text := range l.Plugins {
		type typed struct {
			Type string `json:"type"`
		}
		var p struct {
			typed
			IPAM     typed `json:"ipam"`
			Delegate typed `json:"delegate"`
		}
		if json.Unmarshal(text, &p) != nil {
			continue
		}
		for _, kind := range []string{p.Type, p.IPAM.Type, p.Delegate.Type} {
			if kind != "" && !slices.Contains(all, kind) {
				all = append(all, kind)
			}
		}
	}
	return all
}

// stdin is what plugin i gets to read: its own configuration and what the
// specification adds to it.
func (l *List) stdin(i int, version string, prev *Result, said map[string]any, valid []Owner) (json.RawMessage, error) {
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
	conf["name"], conf["cniVersion"] = l.Name, version
	if prev != nil {
		text, err := resultAs(prev, version)
		if err != nil {
			return nil, err
		}
		conf["prevResult"] = text
	}
	if valid != nil {
		// Runtimes say both: the specification's first text had the second word.
		conf["cni.dev/valid-attachments"], conf["cni.dev/attachments"] = valid, valid
	}
	return json.Marshal(conf)
}
