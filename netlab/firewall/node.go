package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// Node returns the rules that a node has before any Service: packets of its
// pods that leave the cluster get the node's address, as flannel's masquerade
// rules do it, and VXLAN packets are not tracked: each would be a connection
// of its own.
func Node(pods, cluster netip.Prefix, vxlanPort int) Rules {
	multicast := "224.0.0.0/4"
	if pods.Addr().Is6() {
		multicast = "ff00::/8"
	}
	udp := fmt.Sprintf("-p udp -m udp --dport %d -j NOTRACK", vxlanPort)
	return Rules{
		{
			Name:   "raw",
			Chains: []Chain{{Name: "KLAB-NOTRACK", Rules: []string{udp}}},
			Jumps: []Jump{
				{Chain: "PREROUTING", Rule: "-j KLAB-NOTRACK"},
				{Chain: "OUTPUT", Rule: "-j KLAB-NOTRACK"},
			},
		},
		{
			Name: "nat",
			Chains: []Chain{{Name: "FLANNEL-POSTRTG", Rules: []string{
				fmt.Sprintf(`-s %s -d %s -m comment --comment "pod to pod keeps its address" -j RETURN`, pods, cluster),
				fmt.Sprintf(`-s %s -d %s -m comment --comment "multicast too" -j RETURN`, pods, multicast),
				fmt.Sprintf(`-s %s -m comment --comment "pod to elsewhere leaves as the node" -j MASQUERADE --random-fully`, pods),
			}}},
			Jumps: []Jump{{Chain: "POSTROUTING", Rule: `-m comment --comment "klab node" -j FLANNEL-POSTRTG`}},
		},
	}
}

// Masquerade returns the rules of a network whose packets, when they leave it,
// get the node's address, as the CNI plugin bridge makes them for ipMasq.
func Masquerade(network string, subnet netip.Prefix) Rules {
	chain := "CNI-" + strings.ToUpper(network)
	return Rules{{
		Name: "nat",
		Chains: []Chain{{Name: chain, Rules: []string{
			fmt.Sprintf("-d %s -j ACCEPT", subnet),
			"! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
		}}},
		Jumps: []Jump{{Chain: "POSTROUTING", Rule: fmt.Sprintf("-s %s -m comment --comment %s -j %s", subnet, network, chain)}},
	}}
}
