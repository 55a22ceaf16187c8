package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"
)

// Flannel is the plugin "flannel", which delegates all of its work: it writes
// another plugin's configuration from what the node's overlay says in a file.
// Source: https://github.com/flannel-io/cni-plugin
type Flannel struct{}

// flannelDataDir is where flannel's plugin keeps what it delegated, by default.
const flannelDataDir = "/var/lib/cni/flannel"

type flannelConfig struct {
	netConf
	IPAM          map[string]any `json:"ipam"`
	SubnetFile    string         `json:"subnetFile"`
	DataDir       string         `json:"dataDir"`
	Delegate      map[string]any `json:"delegate"`
	RuntimeConfig map[string]any `json:"runtimeConfig"`
}

func (*Flannel) config(c Call) (*flannelConfig, error) {
	conf := &flannelConfig{SubnetFile: SubnetFile, DataDir: flannelDataDir}
	if err := decode(c, conf); err != nil {
		return nil, err
	}
	wrong := ""
	if kind, ok := conf.Delegate["type"]; ok {
		if _, text := kind.(string); !text {
			wrong = "'delegate' dictionary, if present, must have (string) 'type' field"
		}
	}
	for _, field := range []string{"name", "ipam"} {
		if _, ok := conf.Delegate[field]; ok {
			wrong = fmt.Sprintf("'delegate' dictionary must not have '%s' field, it'll be set by flannel", field)
		}
	}
	if wrong != "" {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, wrong, "")
	}
	return conf, nil
}

func (conf *flannelConfig) env() (SubnetEnv, error) {
	e, err := ReadSubnetEnv(conf.SubnetFile)
	if err != nil {
		return e, types.NewError(errNotAvailable, fmt.Sprintf("failed to load flannel 'subnet.env' file: %v. Check the flannel pod log for this node.", err), "")
	}
	return e, nil
}

// delegate is the configuration of the plugin that does the work.
func (conf *flannelConfig) delegate(e SubnetEnv) (map[string]any, error) {
	d := map[string]any{"type": "bridge", "ipMasq": !e.IPMasq, "mtu": e.MTU}
	for k, v := range conf.Delegate {
		d[k] = v
	}
	if _, ok := d["isGateway"]; !ok && d["type"] == "bridge" {
		d["isGateway"] = true
	}
	d["name"], d["cniVersion"] = conf.Name, conf.CNIVersion
	if conf.RuntimeConfig != nil {
		d["runtimeConfig"] = conf.RuntimeConfig
	}
	ipam := map[string]any{"type": "host-local"}
	for k, v := range conf.IPAM {
		ipam[k] = v
	}
	var ranges [][]any
	for _, p := range e.Subnets {
		ranges = append(ranges, []any{map[string]any{"subnet": p}})
	}
	routes, ok := ipam["routes"].([]any)
	if ipam["routes"] != nil && !ok {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "failed to parse ipam.routes", "")
	}
	for _, p := range e.Networks {
		routes = append(routes, map[string]any{"dst": p})
	}
	ipam["ranges"], ipam["routes"] = ranges, routes
	d["ipam"] = ipam
	return d, nil
}

// Add implements [Plugin]. What is delegated is kept in a file: the overlay may
// say something else when DEL comes.
func (f *Flannel) Add(ctx context.Context, c Call) (*Result, error) {
	conf, err := f.config(c)
	if err != nil {
		return nil, err
	}
	e, err := conf.env()
	if err != nil {
		return nil, err
	}
	d, err := conf.delegate(e)
	if err != nil {
		return nil, err
	}
	next, err := c.delegate(fmt.Sprint(d["type"]))
	if err != nil {
		return nil, err
	}
	if c.Config, err = json.Marshal(d); err != nil {
		return nil, err
	}
	if err := writeWhole(filepath.Join(conf.DataDir, c.ContainerID), c.Config, 0o600); err != nil {
		return nil, types.NewError(types.ErrIOFailure, err.Error(), "")
	}
	r, err := next.Add(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("failed to delegate add: %w", err)
	}
	return r, nil
}

// kept finds what was delegated for an attachment; nil if nothing was.
func (f *Flannel) kept(c *Call) (next Plugin, forget func() error, err error) {
	conf, err := f.config(*c)
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(conf.DataDir, c.ContainerID)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, types.NewError(types.ErrIOFailure, err.Error(), "")
	}
	forget = func() error { return os.Remove(path) }
	var d map[string]any
	if json.Unmarshal(text, &d) != nil {
		return nil, forget, nil // it was cut short: nothing was delegated
	}
	if d["cniVersion"] = conf.CNIVersion; len(conf.RawPrevResult) > 0 {
		d["prevResult"] = conf.RawPrevResult
	}
	if c.Config, err = json.Marshal(d); err != nil {
		return nil, nil, err
	}
	next, err = c.delegate(fmt.Sprint(d["type"]))
	return next, forget, err
}

// Del implements [Plugin].
func (f *Flannel) Del(ctx context.Context, c Call) error {
	next, forget, err := f.kept(&c)
	if err != nil || forget == nil {
		return err
	}
	if next != nil {
		if err := next.Del(ctx, c); err != nil {
			return err
		}
	}
	return forget()
}

// Check implements [Plugin].
func (f *Flannel) Check(ctx context.Context, c Call) error {
	next, _, err := f.kept(&c)
	if err == nil && next == nil {
		err = types.NewError(types.ErrUnknownContainer, "flannel has delegated nothing for container "+c.ContainerID, "")
	}
	if err != nil {
		return err
	}
	return next.Check(ctx, c)
}

// now is the plugin that would be delegated to, with its configuration in c.
func (f *Flannel) now(c *Call) (*flannelConfig, Plugin, error) {
	conf, err := f.config(*c)
	if err != nil {
		return nil, nil, err
	}
	e, err := conf.env()
	if err != nil {
		return nil, nil, err
	}
	d, err := conf.delegate(e)
	if err != nil {
		return nil, nil, err
	}
	if conf.ValidAttachments != nil {
		d["cni.dev/valid-attachments"], d["cni.dev/attachments"] = conf.ValidAttachments, conf.ValidAttachments
	}
	if c.Config, err = json.Marshal(d); err != nil {
		return nil, nil, err
	}
	next, err := c.delegate(fmt.Sprint(d["type"]))
	return conf, next, err
}

// Status implements [Plugin]: without the overlay's file there is no network.
func (f *Flannel) Status(ctx context.Context, c Call) error {
	_, next, err := f.now(&c)
	if err != nil {
		return err
	}
	return next.Status(ctx, c)
}

// GC implements [Plugin].
func (f *Flannel) GC(ctx context.Context, c Call) error {
	conf, next, err := f.now(&c)
	if err != nil {
		return err
	}
	files, err := os.ReadDir(conf.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	valid := map[string]bool{}
	for _, o := range conf.ValidAttachments {
		valid[o.ContainerID] = true
	}
	for _, file := range files {
		if !valid[file.Name()] {
			if err := os.Remove(filepath.Join(conf.DataDir, file.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return next.GC(ctx, c)
}
