package cni

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/link"
)

// Result is what ADD returns, in the specification's words.
type Result = types100.Result

// Call is one invocation of a plugin.
type Call struct {
	ContainerID string          // CNI_CONTAINERID
	NetNS       string          // CNI_NETNS; may be empty for DEL
	IfName      string          // CNI_IFNAME
	Args        string          // CNI_ARGS: "KEY=VALUE;KEY=VALUE"
	Config      json.RawMessage // standard input
	// Capabilities are what a runtime has to say to plugins that declare to be
	// able to: each gets its part of it as runtimeConfig.
	Capabilities map[string]any
}

// Arg returns one of the call's arguments.
func (c *Call) Arg(key string) string {
	for pair := range strings.SplitSeq(c.Args, ";") {
		if k, v, ok := strings.Cut(pair, "="); ok && k == key {
			return v
		}
	}
	return ""
}

// Pod is the call's pod as NAMESPACE/NAME, if a kubelet's runtime makes it.
func (c *Call) Pod() (namespace, name string) {
	return c.Arg("K8S_POD_NAMESPACE"), c.Arg("K8S_POD_NAME")
}

func (c *Call) check() error {
	if c.ContainerID == "" || c.IfName == "" || len(c.IfName) > 15 || strings.ContainsAny(c.IfName, "/: \t\n") {
		return types.NewError(types.ErrInvalidEnvironmentVariables,
			fmt.Sprintf("bad container %q or interface %q", c.ContainerID, c.IfName), "")
	}
	return nil
}

// pod opens the call's network namespace.
func (c *Call) pod(by link.By) (*link.Net, error) {
	if c.NetNS == "" {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, "the pod has no network namespace", "CNI_NETNS is empty")
	}
	n, err := link.Open(c.NetNS, by)
	if err != nil {
		return nil, fmt.Errorf("the pod's namespace: %w", err)
	}
	return n, nil
}

// Plugin is one type of network plugin.
type Plugin interface {
	Add(ctx context.Context, c Call) (*Result, error)
	Del(ctx context.Context, c Call) error
	Check(ctx context.Context, c Call) error
}

// Plugins are the plugins that can be called, by type.
type Plugins map[string]Plugin

// Builtin returns the plugins of this package for a node whose network
// namespace is at path; an empty path is the process's own.
func Builtin(path string, by link.By) Plugins {
	ipam := &HostLocal{}
	return Plugins{
		"host-local": ipam,
		"loopback":   &Loopback{By: by},
		"bridge":     &Bridge{NetNS: path, By: by, IPAM: Plugins{"host-local": ipam}},
		"macvlan":    &Child{Kind: "macvlan", NetNS: path, By: by, IPAM: Plugins{"host-local": ipam}},
		"ipvlan":     &Child{Kind: "ipvlan", NetNS: path, By: by, IPAM: Plugins{"host-local": ipam}},
		"vxlan-port": &VXLANPort{NetNS: path, By: by},
		"portmap":    &PortMap{NetNS: path, By: by},
	}
}

func (p Plugins) find(kind string) (Plugin, error) {
	if plugin, ok := p[kind]; ok {
		return plugin, nil
	}
	return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("there is no network plugin %q", kind), "")
}

// decode reads a plugin's configuration.
func decode(c Call, into any) error {
	if err := json.Unmarshal(c.Config, into); err != nil {
		return types.NewError(types.ErrDecodingFailure, "the network configuration is no valid JSON for this plugin", err.Error())
	}
	return nil
}

// hostLink is the name of the node's end of a pod's link. It follows from the
// attachment alone, so DEL finds it without the pod's namespace.
func hostLink(c Call) string {
	sum := sha256.Sum256([]byte(c.ContainerID + "/" + c.IfName))
	return "veth" + hex.EncodeToString(sum[:4])
}
