package view

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Network is the nodes' links and addresses.
type Network struct{ Nodes []NetNode }

// NetNode is the network of a node.
type NetNode struct {
	Name  string
	Links []NetLink
	Peers []step.OverlayDetail
	Pods  []NetPod
}

// NetLink is a link with its addresses.
type NetLink struct {
	Name, Kind string
	Addresses  []string
	Up         bool
}

// NetPod is a pod's address.
type NetPod struct{ Name, Address string }

// NewNetwork lists what the nodes reported.
func NewNetwork(s *fold.State, m Mask) *Network {
	n := &Network{}
	hide := m.Field("pods", "spec.nodeName") || m.Field("pods", "status.podIP") || m.Actor("kubelet")
	for _, name := range sorted(s.Nodes) {
		seen := s.Nodes[name]
		row := NetNode{Name: name, Links: links(seen.Links), Peers: seen.Peers}
		if hide {
			row.Links = slices.DeleteFunc(row.Links, func(l NetLink) bool { return strings.HasPrefix(l.Name, "veth") })
			n.Nodes = append(n.Nodes, row)
			continue
		}
		for k, b := range seen.Pods {
			row.Pods = append(row.Pods, NetPod{KeyName(k), strings.Join(b.Addresses, " ")})
		}
		slices.SortFunc(row.Pods, func(a, b NetPod) int { return strings.Compare(a.Name, b.Name) })
		n.Nodes = append(n.Nodes, row)
	}
	return n
}

// links reads a "links" fact: a list of links, or an object that has one.
func links(raw json.RawMessage) []NetLink {
	var v any
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	if m, ok := v.(map[string]any); ok {
		v = m["links"]
	}
	list, _ := v.([]any)
	var out []NetLink
	for _, e := range list {
		l := NetLink{Name: anyOf(e, "name", "ifname", "link"), Kind: anyOf(e, "type", "kind"), Up: anyOf(e, "up", "state") != "false"}
		for _, key := range []string{"addresses", "addrs", "addr_info"} {
			addrs, _ := fold.Lookup(e, key).([]any)
			for _, a := range addrs {
				if s, ok := a.(string); ok {
					l.Addresses = append(l.Addresses, s)
				} else {
					l.Addresses = append(l.Addresses, anyOf(a, "address", "local"))
				}
			}
		}
		if l.Name != "" {
			out = append(out, l)
		}
	}
	return out
}

func anyOf(v any, keys ...string) string {
	for _, k := range keys {
		if s := fold.Scalar(fold.Lookup(v, k)); s != "" {
			return s
		}
	}
	return ""
}
