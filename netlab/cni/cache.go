package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Attachment is what a Runner remembers of an ADD, in the layout of libcni, so
// that its tools find it.
type Attachment struct {
	Kind        string          `json:"kind"`
	ContainerID string          `json:"containerId"`
	Config      []byte          `json:"config"`
	IfName      string          `json:"ifName"`
	NetworkName string          `json:"networkName"`
	NetNS       string          `json:"netns,omitempty"`
	Args        [][2]string     `json:"cniArgs,omitempty"`
	Said        map[string]any  `json:"capabilityArgs,omitempty"`
	RawResult   json.RawMessage `json:"result,omitempty"`
}

const cacheKind = "cniCacheV1"

// Result is the result of the ADD.
func (a *Attachment) Result() (*Result, error) { return result("", a.RawResult) }

func (r *Runner) path(l *List, c Call) string {
	return filepath.Join(r.Cache, l.Name+"-"+c.ContainerID+"-"+c.IfName)
}

func (r *Runner) remember(l *List, c Call, result *Result, version string) error {
	a := Attachment{Kind: cacheKind, ContainerID: c.ContainerID, Config: l.raw, IfName: c.IfName, NetworkName: l.Name,
		NetNS: c.NetNS, Said: c.Capabilities}
	for pair := range strings.SplitSeq(c.Args, ";") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			a.Args = append(a.Args, [2]string{k, v})
		}
	}
	var err error
	if a.RawResult, err = resultAs(result, version); err != nil {
		return err
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := writeWhole(r.path(l, c), text, 0o600); err != nil {
		return fmt.Errorf("remember attachment: %w", err)
	}
	return nil
}

// recall finds what is remembered of a call.
func (r *Runner) recall(l *List, c Call) (*Attachment, error) { return readAttachment(r.path(l, c)) }

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
		a, err := readAttachment(filepath.Join(r.Cache, f.Name()))
		if err == nil && (containerID == "" || a.ContainerID == containerID) {
			list = append(list, *a)
		}
	}
	return list, nil
}

func readAttachment(path string) (*Attachment, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	a := &Attachment{}
	if err := json.Unmarshal(text, a); err != nil {
		return nil, err
	}
	if a.Kind != cacheKind {
		return nil, fmt.Errorf("%s is no attachment: kind %q", path, a.Kind)
	}
	return a, nil
}
