package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"

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
	// Path is CNI_PATH: where a plugin finds those that it delegates to.
	Path Finder
	// Capabilities are what a runtime has to say to plugins that declare to be
	// able to: each gets its part of it as runtimeConfig.
	Capabilities map[string]any
}

// The operations of the specification, as CNI_COMMAND has them.
const (
	add, del, check = "ADD", "DEL", "CHECK"
	status, gc      = "STATUS", "GC"
)

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

// Env is the call as a plugin's environment has it.
func (c *Call) Env(command string) []string {
	env := []string{"CNI_COMMAND=" + command}
	if command != status && command != gc {
		env = append(env, "CNI_CONTAINERID="+c.ContainerID, "CNI_NETNS="+c.NetNS, "CNI_IFNAME="+c.IfName, "CNI_ARGS="+c.Args)
	}
	var dirs []string
	if c.Path != nil {
		dirs = c.Path.Dirs()
	}
	return append(env, "CNI_PATH="+strings.Join(dirs, string(filepath.ListSeparator)))
}

func (c *Call) check() error {
	if err := utils.ValidateContainerID(c.ContainerID); err != nil {
		return err
	}
	if err := utils.ValidateInterfaceName(c.IfName); err != nil {
		return err
	}
	return nil
}

// pod opens the call's network namespace.
func (c *Call) pod(by link.By) (*link.Net, error) {
	if c.NetNS == "" {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, "required env variables [CNI_NETNS] missing", "the pod has no network namespace")
	}
	n, err := link.Open(c.NetNS, by)
	if err != nil {
		return nil, fmt.Errorf("failed to open netns %q: %w", c.NetNS, err)
	}
	return n, nil
}

// ends opens both ends of an attachment: the node's namespace, which is the
// process's own if path is empty, and the pod's. Close closes both.
func (c *Call) ends(path string, by link.By) (node, pod *link.Net, closes func(), err error) {
	if node, err = link.Open(path, by); err != nil {
		return nil, nil, nil, err
	}
	if pod, err = c.pod(by); err != nil {
		node.Close()
		return nil, nil, nil, err
	}
	return node, pod, func() { node.Close(); pod.Close() }, nil
}

// delegate finds a plugin that this one delegates to.
func (c *Call) delegate(kind string) (Plugin, error) {
	if c.Path == nil {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, "required env variables [CNI_PATH] missing", "")
	}
	return c.Path.Find(kind)
}

// netConf is what every plugin reads.
type netConf struct {
	CNIVersion       string          `json:"cniVersion"`
	Name             string          `json:"name"`
	RawPrevResult    json.RawMessage `json:"prevResult"`
	ValidAttachments []Owner         `json:"cni.dev/valid-attachments"`
}

// Owner is an attachment as GC names it.
type Owner struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// has says whether an attachment is still valid.
func (n *netConf) has(id, ifName string) bool {
	return slices.Contains(n.ValidAttachments, Owner{id, ifName})
}

// prev is the result of the plugin before; nil if there is none.
func (n *netConf) prev() (*Result, error) {
	if len(n.RawPrevResult) == 0 || string(n.RawPrevResult) == "null" {
		return nil, nil
	}
	r, err := result(n.CNIVersion, n.RawPrevResult)
	if err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "could not parse prevResult", err.Error())
	}
	return r, nil
}

// checked has IPAM do its part of CHECK, and returns the result of ADD.
func (n *netConf) checked(ctx context.Context, c Call, ipam Plugin) (*Result, error) {
	if err := ipam.Check(ctx, c); err != nil {
		return nil, err
	}
	prev, err := n.prev()
	if err == nil && prev == nil {
		err = types.NewError(types.ErrInvalidNetworkConfig, "Required prevResult missing", "CHECK needs the result of ADD")
	}
	return prev, err
}

// result reads a result of any version of the specification; one that does not
// say which has that of the configuration.
func result(configured string, text []byte) (*Result, error) {
	var said struct {
		CNIVersion string `json:"cniVersion"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, fmt.Errorf("failed to unmarshal raw result: %w", err)
	}
	if said.CNIVersion == "" {
		said.CNIVersion = configured
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
			fields = map[string]any{}
		}
		fields["cniVersion"] = configured
		text, _ = json.Marshal(fields) // it has just been read
	}
	r, err := create.Create(said.CNIVersion, text)
	if err != nil {
		return nil, err
	}
	return types100.NewResultFromResult(r)
}

// resultAs is a result in the words of a version of the specification.
func resultAs(r *Result, want string) (json.RawMessage, error) {
	if r.CNIVersion == "" {
		r.CNIVersion = types100.ImplementedSpecVersion
	}
	as, err := r.GetAsVersion(want)
	if err != nil {
		return nil, err
	}
	return json.Marshal(as)
}

// config lets decode reach what every plugin's configuration has.
type config interface{ common() *netConf }

func (n *netConf) common() *netConf { return n }

// decode reads a plugin's configuration.
func decode(c Call, into config) error {
	if err := json.Unmarshal(c.Config, into); err != nil {
		return types.NewError(types.ErrDecodingFailure, "error unmarshall network config: "+err.Error(), "")
	}
	n := into.common()
	if n.CNIVersion == "" {
		n.CNIVersion = "0.1.0"
	}
	if err := (&version.Reconciler{}).Check(n.CNIVersion, version.All); err != nil {
		return types.NewError(types.ErrIncompatibleCNIVersion, "incompatible CNI versions", err.Details())
	}
	if err := utils.ValidateNetworkName(n.Name); err != nil {
		return err
	}
	return nil
}

// missing says whether a call's namespace is gone.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
