package overlay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NetConf is net-conf.json of the ConfigMap kube-flannel-cfg, as flannel has
// it: the network of all pods, and how packets get from node to node.
//
// A cluster has IPv6 or not from its beginning: the two fields about it say so,
// may be left out, and change nothing.
type NetConf struct {
	Network     netip.Prefix
	EnableIPv6  *bool         `json:",omitempty"`
	IPv6Network *netip.Prefix `json:",omitempty"`
	Backend     BackendConf
}

// NewNetConf is the configuration of a cluster whose pods are in network, and
// in network6 if that is valid.
func NewNetConf(network, network6 netip.Prefix, backend string) NetConf {
	c := NetConf{Network: network, Backend: BackendConf{Type: backend}}
	if network6.IsValid() {
		yes := true
		c.EnableIPv6, c.IPv6Network = &yes, &network6
	}
	return c
}

// BackendConf names the backend. What flannel can be told beside the type is
// refused unless it is what klab does anyway.
type BackendConf struct {
	Type string
	VNI  int `json:",omitempty"`
	Port int `json:",omitempty"`
}

// ports are the UDP ports of backends.
var ports = map[string]int{VXLAN: 8472, UDP: 8285}

// ParseNetConf reads net-conf.json of a cluster whose pods are in network, and
// in network6 if that is valid. What is wrong is told in a sentence.
func ParseNetConf(text string, network, network6 netip.Prefix) (NetConf, error) {
	var c NetConf
	if strings.TrimSpace(text) == "" {
		return c, errors.New("net-conf.json is missing or empty")
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("net-conf.json cannot be read: %w", err)
	}
	b := c.Backend
	switch {
	case !slices.Contains(Types, b.Type):
		return c, fmt.Errorf("net-conf.json has the Backend.Type %q; there are %s", b.Type, strings.Join(Types, ", "))
	case c.Network.Masked() != network:
		return c, fmt.Errorf("net-conf.json has the Network %s, but the pods of this cluster are in %s, and that cannot change while it runs", c.Network, network)
	case c.EnableIPv6 != nil && *c.EnableIPv6 != network6.IsValid():
		return c, fmt.Errorf("net-conf.json has EnableIPv6 %t, but this cluster was made %s, and that cannot change while it runs", *c.EnableIPv6, withIPv6(network6.IsValid()))
	case c.IPv6Network != nil && network6.IsValid() && c.IPv6Network.Masked() != network6:
		return c, fmt.Errorf("net-conf.json has the IPv6Network %s, but the pods of this cluster are in %s, and that cannot change while it runs", c.IPv6Network, network6)
	case b.VNI != 0 && (b.Type != VXLAN || b.VNI != 1):
		return c, fmt.Errorf("net-conf.json has the Backend.VNI %d; the backend vxlan has 1 here, the others have none", b.VNI)
	case b.Port != 0 && b.Port != ports[b.Type]:
		return c, fmt.Errorf("net-conf.json has the Backend.Port %d; vxlan has 8472 here, udp 8285, the others none", b.Port)
	}
	return c, nil
}

func withIPv6(has bool) string {
	if has {
		return "with IPv6 (--dual-stack)"
	}
	return "without IPv6"
}

// Text is the configuration as net-conf.json has it.
func (c NetConf) Text() string {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return string(text) + "\n"
}
