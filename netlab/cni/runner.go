package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Runner takes calls through lists of plugins. It remembers each attachment's
// configuration and result, so that DEL and CHECK see what ADD saw.
type Runner struct {
	Plugins Plugins
	Cache   string // a directory
}

// Attachment is what a Runner remembers of an ADD.
type Attachment struct {
	Kind        string          `json:"kind"`
	ContainerID string          `json:"containerId"`
	IfName      string          `json:"ifName"`
	NetNS       string          `json:"netns,omitempty"`
	Args        string          `json:"args,omitempty"`
	NetworkName string          `json:"networkName"`
	Config      json.RawMessage `json:"config"`
	Result      *Result         `json:"result"`
	// Capabilities are those of the call.
	Capabilities map[string]any `json:"capabilityArgs,omitempty"`
}

const cacheKind = "klab.cni.v1"

func (r *Runner) path(l *List, c Call) string {
	return filepath.Join(r.Cache, l.Name+"-"+c.ContainerID+"-"+c.IfName)
}

// Add calls ADD of every plugin in order, each with the result of the one
// before. If one fails, all are called with DEL.
func (r *Runner) Add(ctx context.Context, l *List, c Call) (*Result, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var result *Result
	for i := range l.Plugins {
		next, err := r.add(ctx, l, i, c, result)
		if err != nil {
			kind, _ := l.kind(i)
			err = fmt.Errorf("network %s: %s: %w", l.Name, kind, err)
			return nil, errors.Join(err, r.Del(context.WithoutCancel(ctx), l, c))
		}
		result = next
	}
	result.CNIVersion = l.CNIVersion
	text, err := json.Marshal(Attachment{Kind: cacheKind, ContainerID: c.ContainerID, IfName: c.IfName, NetNS: c.NetNS,
		Args: c.Args, NetworkName: l.Name, Config: l.raw, Result: result, Capabilities: c.Capabilities})
	if err == nil {
		err = writeWhole(r.path(l, c), text)
	}
	if err != nil {
		err = fmt.Errorf("remember attachment: %w", err)
		return nil, errors.Join(err, r.Del(context.WithoutCancel(ctx), l, c))
	}
	return result, nil
}

func (r *Runner) add(ctx context.Context, l *List, i int, c Call, prev *Result) (*Result, error) {
	p, c, err := r.prepare(l, i, c, prev)
	if err != nil {
		return nil, err
	}
	return p.Add(ctx, c)
}

// Del calls DEL of every plugin, the last first, and forgets the attachment
// once all have succeeded.
func (r *Runner) Del(ctx context.Context, l *List, c Call) error {
	if err := c.check(); err != nil {
		return err
	}
	var prev *Result
	if a, err := read(r.path(l, c)); err == nil {
		prev, c.Capabilities = a.Result, a.Capabilities
	}
	for i := len(l.Plugins) - 1; i >= 0; i-- {
		p, call, err := r.prepare(l, i, c, prev)
		if err == nil {
			err = p.Del(ctx, call)
		}
		if err != nil {
			kind, _ := l.kind(i)
			return fmt.Errorf("network %s: %s: %w", l.Name, kind, err)
		}
	}
	if err := os.Remove(r.path(l, c)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget attachment: %w", err)
	}
	return nil
}

// Check calls CHECK of every plugin: is all as ADD left it?
func (r *Runner) Check(ctx context.Context, l *List, c Call) error {
	if l.DisableCheck {
		return nil
	}
	a, err := read(r.path(l, c))
	if err != nil {
		return fmt.Errorf("network %s: %s has no attachment %s: %w", l.Name, c.ContainerID, c.IfName, err)
	}
	c.Capabilities = a.Capabilities
	for i := range l.Plugins {
		p, call, err := r.prepare(l, i, c, a.Result)
		if err == nil {
			err = p.Check(ctx, call)
		}
		if err != nil {
			kind, _ := l.kind(i)
			return fmt.Errorf("network %s: %s: %w", l.Name, kind, err)
		}
	}
	return nil
}

func (r *Runner) prepare(l *List, i int, c Call, prev *Result) (Plugin, Call, error) {
	kind, err := l.kind(i)
	if err != nil {
		return nil, c, err
	}
	p, err := r.Plugins.find(kind)
	if err != nil {
		return nil, c, err
	}
	c.Config, err = l.stdin(i, prev, c.Capabilities)
	return p, c, err
}

// Attachments lists what is remembered of a container, or of all containers
// if containerID is empty. What cannot be read is left out: it was cut short.
func (r *Runner) Attachments(containerID string) ([]Attachment, error) {
	files, err := os.ReadDir(r.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attachments: %w", err)
	}
	var list []Attachment
	for _, f := range files {
		if !strings.Contains(f.Name(), containerID) || strings.HasSuffix(f.Name(), ".tmp") {
			continue
		}
		a, err := read(filepath.Join(r.Cache, f.Name()))
		if err == nil && (containerID == "" || a.ContainerID == containerID) {
			list = append(list, a)
		}
	}
	return slices.Clip(list), nil
}

func read(path string) (Attachment, error) {
	var a Attachment
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	return a, err
}
