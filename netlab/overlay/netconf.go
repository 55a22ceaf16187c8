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
type NetConf struct {
	Network netip.Prefix
	Backend BackendConf
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

// ParseNetConf reads net-conf.json of a cluster whose pods are in network.
// What is wrong is told in a sentence.
func ParseNetConf(text string, network netip.Prefix) (NetConf, error) {
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
	case b.VNI != 0 && (b.Type != VXLAN || b.VNI != 1):
		return c, fmt.Errorf("net-conf.json has the Backend.VNI %d; the backend vxlan has 1 here, the others have none", b.VNI)
	case b.Port != 0 && b.Port != ports[b.Type]:
		return c, fmt.Errorf("net-conf.json has the Backend.Port %d; vxlan has 8472 here, udp 8285, the others none", b.Port)
	}
	return c, nil
}

// Text is the configuration as net-conf.json has it.
func (c NetConf) Text() string {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return string(text) + "\n"
}
