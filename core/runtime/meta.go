package runtime

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// meta is what CRI says of a sandbox or a container, kept as meta.json in its
// bundle; klab-rt keeps the rest.
type meta struct {
	ID        string          `json:"id"`
	Created   int64           `json:"created"`
	Config    json.RawMessage `json:"config"`              // PodSandboxConfig or ContainerConfig
	SandboxID string          `json:"sandboxID,omitempty"` // of containers
	Cgroup    string          `json:"cgroup"`              // of the pod

	// Sandboxes only.
	Addresses []string `json:"addresses,omitempty"`
	Attached  bool     `json:"attached,omitempty"` // the network knows the pod
	Stopped   bool     `json:"stopped,omitempty"`
	Made      []string `json:"made,omitempty"` // directories of the pod's cgroup that were not there before

	// Containers only.
	ImageID    string   `json:"imageID,omitempty"`
	Layers     []string `json:"layers,omitempty"`
	StopSignal string   `json:"stopSignal,omitempty"`
	LogPath    string   `json:"logPath,omitempty"`

	User *cri.LinuxContainerUser `json:"user,omitempty"`

	sandbox   *cri.PodSandboxConfig
	container *cri.ContainerConfig
}

func newID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// newMeta is about a container if it has a sandbox.
func newMeta(config proto.Message, sandboxID string) (*meta, error) {
	data, err := protojson.Marshal(config)
	if err != nil {
		return nil, err
	}
	m := &meta{ID: newID(), Created: time.Now().UnixNano(), Config: data, SandboxID: sandboxID}
	return m, m.parse()
}

// parse reads Config; it is a copy of the caller's.
func (m *meta) parse() error {
	options := protojson.UnmarshalOptions{DiscardUnknown: true}
	if m.SandboxID != "" {
		m.container = &cri.ContainerConfig{}
		return options.Unmarshal(m.Config, m.container)
	}
	m.sandbox = &cri.PodSandboxConfig{}
	return options.Unmarshal(m.Config, m.sandbox)
}

// put writes m and makes it known.
func (c *Client) put(m *meta) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir(m.ID), "meta.json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.metas[m.ID] = m
	return nil
}

func (c *Client) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.metas, id)
}

// loadMetas reads what an earlier client left. A bundle without meta.json was
// not finished and is known to nobody: it goes.
func (c *Client) loadMetas() error {
	entries, err := os.ReadDir(filepath.Join(c.c.Root, "c"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(c.dir(e.Name()), "meta.json"))
		if errors.Is(err, fs.ErrNotExist) {
			os.RemoveAll(c.dir(e.Name()))
			continue
		}
		m := &meta{}
		if err == nil {
			err = json.Unmarshal(data, m)
		}
		if err == nil {
			err = m.parse()
		}
		if err != nil {
			return fmt.Errorf("container %s: %w", e.Name(), err)
		}
		c.metas[m.ID] = m
		c.states.loaded = append(c.states.loaded, m.ID)
	}
	return nil
}

func (c *Client) sandboxMeta(id string) (*meta, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.metas[id]; m != nil && m.sandbox != nil {
		return m, nil
	}
	return nil, fmt.Errorf("sandbox %q: %w", id, ErrNotFound)
}

func (c *Client) containerMeta(id string) (*meta, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.metas[id]; m != nil && m.container != nil {
		return m, nil
	}
	return nil, fmt.Errorf("container %q: %w", id, ErrNotFound)
}

// metasOf has the containers of a sandbox, or with an empty id all sandboxes.
func (c *Client) metasOf(sandboxID string) []*meta {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*meta
	for _, m := range c.metas {
		if m.SandboxID == sandboxID {
			found = append(found, m)
		}
	}
	return found
}
