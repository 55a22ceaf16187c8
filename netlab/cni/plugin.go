package cni

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/klab-project/klab/netlab/link"
)

// Plugin is one type of network plugin, with the operations of the
// specification but VERSION (see [Versioned]). What an error is as the
// specification has it, says [AsError].
type Plugin interface {
	Add(ctx context.Context, c Call) (*Result, error)
	Del(ctx context.Context, c Call) error
	Check(ctx context.Context, c Call) error
	// Status says whether ADD can be asked for; of the call it has only Config
	// and Path.
	Status(ctx context.Context, c Call) error
	// GC removes what belongs to none of the valid attachments of Config.
	GC(ctx context.Context, c Call) error
}

// Finder finds plugins by type, as the directories of CNI_PATH do.
type Finder interface {
	Find(kind string) (Plugin, error)
	Dirs() []string
}

// Plugins are plugins that are called in process, by type.
type Plugins map[string]Plugin

// Builtin returns the plugins of this package for a node whose network
// namespace is at path; an empty path is the process's own.
func Builtin(path string, by link.By) Plugins {
	return Plugins{
		"host-local": &HostLocal{},
		"loopback":   &Loopback{By: by},
		"bridge":     &Bridge{NetNS: path, By: by},
		"routed":     &Routed{NetNS: path, By: by},
		"macvlan":    &Child{Kind: "macvlan", NetNS: path, By: by},
		"ipvlan":     &Child{Kind: "ipvlan", NetNS: path, By: by},
		"vxlan-port": &VXLANPort{NetNS: path, By: by},
		"portmap":    &PortMap{NetNS: path, By: by},
		"bandwidth":  &Bandwidth{NetNS: path, By: by},
		"flannel":    &Flannel{},
	}
}

// Find implements [Finder].
func (p Plugins) Find(kind string) (Plugin, error) {
	if plugin, ok := p[kind]; ok {
		return plugin, nil
	}
	return nil, notFound(kind, nil)
}

// Dirs implements [Finder]: in process there are none.
func (p Plugins) Dirs() []string { return nil }

// notFound is upstream's error for a plugin that is nowhere.
func notFound(kind string, dirs []string) error {
	return fmt.Errorf("failed to find plugin %q in path %s", kind, dirs)
}

// AsError is an error as the specification wants it printed: one that says no
// code is an internal one.
func AsError(err error) *types.Error {
	var e *types.Error
	if errors.As(err, &e) {
		return e
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}

// ready has the operations of plugins that keep nothing and are always able.
type ready struct{}

func (ready) Status(context.Context, Call) error { return nil }
func (ready) GC(context.Context, Call) error     { return nil }

// hostLink is the name of the node's end of a pod's link. It follows from the
// attachment alone, so DEL finds it without the pod's namespace.
func hostLink(id, ifName string) string {
	sum := sha256.Sum256([]byte(id + "/" + ifName))
	return "veth" + hex.EncodeToString(sum[:4])
}
