package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ModeConfig is what the networks of single containers follow from, on one node.
type ModeConfig struct {
	Number   int          // of the node, from 1
	Uplink   string       // the node's link to the underlay: "eth0"
	Underlay netip.Prefix // its network; its first address is the way out
	IP       netip.Addr   // the node's address there
	Peers    []netip.Addr // all nodes' addresses
	MTU      int          // of the underlay
	DataDir  string       // where addresses in use are remembered
}

// Modes are the networks that docker has for a single container, besides that
// of the host.
var Modes = []string{"bridge", "none", "overlay", "macvlan", "ipvlan"}

// ModePrefix is before a mode in the name of its network: "docker-bridge".
const ModePrefix = "docker-"

// The networks of the modes. Every node has the same bridge network, which is
// its own; the overlay is one network over all nodes.
var (
	bridgeSubnet  = netip.MustParsePrefix("172.17.0.0/16")
	overlaySubnet = netip.MustParsePrefix("10.0.0.0/16")
)

const (
	overlayVNI  = 4097 // docker's first one
	overlayPort = 4789 // the port that IANA has for VXLAN
	// wireFirst is the last byte of the first address of the underlay that
	// containers get, and wireEach how many of them a node has.
	wireFirst, wireEach = 100, 3
)

// Mode is the network configuration of one of the Modes.
func Mode(mode string, c ModeConfig) (*List, error) {
	var plugins []any
	local := func(ranges map[string]any) map[string]any {
		return map[string]any{"type": "host-local", "dataDir": c.DataDir, "ranges": [][]any{{ranges}}}
	}
	switch mode {
	case "none":
		plugins = []any{map[string]any{"type": "loopback"}}
	case "bridge":
		plugins = []any{map[string]any{
			"type": "bridge", "bridge": "docker0", "mtu": c.MTU, "isGateway": true, "isDefaultGateway": true, "ipMasq": true,
			"ipam": local(map[string]any{"subnet": bridgeSubnet}),
		}, map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}}}
	case "overlay":
		ours := [4]byte{10, 0, byte(c.Number), 0}
		from, to := ours, ours
		from[3], to[3] = 2, 254
		plugins = []any{
			map[string]any{
				"type": "bridge", "bridge": "ov0", "mtu": c.MTU - vxlanBytes,
				"ipam": local(map[string]any{"subnet": overlaySubnet, "rangeStart": netip.AddrFrom4(from), "rangeEnd": netip.AddrFrom4(to)}),
			},
			map[string]any{
				"type": "vxlan-port", "bridge": "ov0", "device": "vxlan0", "vni": overlayVNI, "port": overlayPort,
				"master": c.Uplink, "local": c.IP, "peers": c.Peers, "mtu": c.MTU - vxlanBytes,
			},
		}
	case "macvlan", "ipvlan":
		first := c.Underlay.Masked().Addr().As4()
		last := first
		first[3] = byte(wireFirst + wireEach*(c.Number-1))
		last[3] = first[3] + wireEach - 1
		plugins = []any{map[string]any{
			"type": mode, "master": c.Uplink,
			"ipam": local(map[string]any{"subnet": c.Underlay, "rangeStart": netip.AddrFrom4(first), "rangeEnd": netip.AddrFrom4(last)}),
		}}
	default:
		return nil, fmt.Errorf("there is no network mode %q: use host, %s", mode, strings.Join(slices.Clone(Modes), ", "))
	}
	text, err := json.MarshalIndent(map[string]any{"cniVersion": "1.0.0", "name": ModePrefix + mode, "plugins": plugins}, "", "  ")
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// vxlanBytes is what VXLAN takes of each packet.
const vxlanBytes = 50
