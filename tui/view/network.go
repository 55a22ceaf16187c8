package view

import (
	"cmp"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Network is the nodes' links, addresses and routes.
type Network struct{ Nodes []NetNode }

// NetNode is the network of a node.
type NetNode struct {
	Name    string
	Backend string // of the overlay: what leads to other nodes
	Links   []NetLink
	Peers   []NetPeer
	Routes  []step.NodeRoute
	Pods    []NetPod // those that no link of the node is known to lead to
	Faults  []FaultRow
}

// NetPeer is another node to which the overlay leads; Carried are the packets
// that the backend's forwarder took there and back, if it counts them.
type NetPeer struct {
	step.OverlayDetail
	Carried *step.CarriedPeer
}

func netPeers(seen *fold.Node) (list []NetPeer) {
	for _, d := range seen.Peers {
		p := NetPeer{OverlayDetail: d}
		for i, c := range seen.Carried.Peers {
			if c.Peer == d.Peer && seen.Carried.Backend == d.Backend {
				p.Carried = &seen.Carried.Peers[i]
			}
		}
		list = append(list, p)
	}
	return list
}

// NetLink is a link with its addresses.
type NetLink struct {
	step.NodeLink
	Lead  *NetPod // the pod that it leads to
	Port  bool    // of the bridge above it
	Fault *FaultRow
}

// NetPod is a pod's address.
type NetPod struct{ Name, Address string }

// NewNetwork lists what the nodes reported.
func NewNetwork(s *fold.State, m Mask) *Network {
	n := &Network{}
	hide := m.Field("pods", "spec.nodeName") || m.Field("pods", "status.podIP") || m.Actor("kubelet")
	for _, name := range sorted(s.Nodes) {
		row := netNode(s.Nodes[name], hide)
		row.broken(s, m)
		n.Nodes = append(n.Nodes, row)
	}
	return n
}

func netNode(seen *fold.Node, hide bool) NetNode {
	row := NetNode{Name: seen.Name, Backend: seen.Backend, Peers: netPeers(seen), Routes: slices.Clone(seen.Net.Routes)}
	led := map[fold.Key]bool{}
	for _, l := range seen.Net.Links {
		link := NetLink{NodeLink: l, Port: l.Master != ""}
		if hide && (l.Pod != "" || strings.HasPrefix(l.Name, "veth")) || l.Type == "loopback" || l.Name == "lo" {
			continue
		}
		if namespace, name, ok := strings.Cut(l.Pod, "/"); ok {
			key := fold.Key{Resource: "pods", Namespace: namespace, Name: name}
			led[key] = true
			link.Lead = &NetPod{Name: KeyName(key)}
			if b := seen.Pods[key]; b != nil {
				link.Lead.Address = strings.Join(b.Addresses, " ")
			}
		}
		row.Links = append(row.Links, link)
	}
	arrange(row.Links)
	if hide {
		return row
	}
	for k, b := range seen.Pods {
		if !led[k] {
			row.Pods = append(row.Pods, NetPod{KeyName(k), strings.Join(b.Addresses, " ")})
		}
	}
	slices.SortFunc(row.Pods, func(a, b NetPod) int { return strings.Compare(a.Name, b.Name) })
	return row
}

// broken marks the links that are broken on purpose; what is at no link stands
// by itself.
func (n *NetNode) broken(s *fold.State, m Mask) {
	for _, f := range s.Faults {
		if f.Node != n.Name || m.Step("", step.Break) {
			continue
		}
		row := &FaultRow{f.ID, f.Card, f.Node, f.Target}
		at := slices.IndexFunc(n.Links, func(l NetLink) bool {
			return l.Pod != "" && l.Pod == f.Target || brokenAt(f.FaultDetail, &Station{Name: l.Name})
		})
		if at < 0 {
			n.Faults = append(n.Faults, *row)
			continue
		}
		n.Links[at].Fault = row
	}
}

// arrange sorts links from the outside in: the uplink, bridges with their
// ports, the overlay.
func arrange(links []NetLink) {
	rank := func(l NetLink) int {
		switch l.Type {
		case "bridge":
			return 1
		case "vxlan", "tuntap":
			return 3
		}
		if l.Port || l.Lead != nil {
			return 2
		}
		return 0
	}
	slices.SortStableFunc(links, func(a, b NetLink) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(leadName(a), leadName(b)), strings.Compare(a.Name, b.Name))
	})
}

func leadName(l NetLink) string {
	if l.Lead == nil {
		return ""
	}
	return l.Lead.Name
}
