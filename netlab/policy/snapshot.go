package policy

import (
	"net/netip"
	"slices"
)

// Snapshot is what a verdict follows from.
type Snapshot struct {
	Policies   []Policy
	Pods       []Pod // that have not finished
	Namespaces []Namespace
	Nodes      []Node
}

// Policy is a NetworkPolicy. Ingress and Egress are its rules; they mean
// something only if it isolates in that direction.
type Policy struct {
	Namespace, Name string
	Pods            Selector
	Isolates        Directions
	Ingress, Egress []Rule
}

// Directions are the policyTypes.
type Directions struct{ Ingress, Egress bool }

// Rule allows what one of its peers and one of its ports match. No peers are
// all peers, no ports are all ports, and all protocols.
type Rule struct {
	Peers []Peer
	Ports []Port
}

// Peer is a Block, or pods: those of the policy's own namespace that Pods
// matches, or, if Namespaces is not nil, of the namespaces that it matches; all
// of these if Pods is nil.
type Peer struct {
	Pods, Namespaces *Selector
	Block            *Block
}

// Block is a network, less others in it.
type Block struct {
	CIDR   netip.Prefix
	Except []netip.Prefix
}

// Port is a port of the destination. Protocol is the API's word: "TCP", "UDP",
// "SCTP". It is one of: all ports (Number 0, Name empty), one, those from Number
// to End, or the one that the destination's pod calls Name.
type Port struct {
	Protocol    string
	Number, End int
	Name        string
}

// Pod is a pod with its addresses. A pod in its node's network has no
// addresses of its own: it is the node, to policies.
type Pod struct {
	Namespace, Name, Node string
	Labels                map[string]string
	IPs                   []netip.Addr
	Ports                 []NamedPort
	HostNetwork           bool
}

// NamedPort is a container's port that has a name.
type NamedPort struct {
	Name, Protocol string
	Number         int
}

// Namespace is a namespace with its labels.
type Namespace struct {
	Name   string
	Labels map[string]string
}

// Node is a node with all its own addresses.
type Node struct {
	Name string
	IPs  []netip.Addr
}

// String is how comments and people name it: "default/web".
func (p *Policy) String() string { return p.Namespace + "/" + p.Name }

// String is how comments and people name it: "default/web".
func (p *Pod) String() string { return p.Namespace + "/" + p.Name }

// ingress and egress are the two directions, seen from the isolated pod.
type direction string

const (
	ingress direction = "ingress"
	egress  direction = "egress"
)

// side is the field of a rule that has its peers.
func (d direction) side() string {
	if d == ingress {
		return "from"
	}
	return "to"
}

func (p *Policy) isolates(d direction) bool {
	return d == ingress && p.Isolates.Ingress || d == egress && p.Isolates.Egress
}

func (p *Policy) rules(d direction) []Rule {
	if d == ingress {
		return p.Ingress
	}
	return p.Egress
}

// selects tells whether the policy is about a pod.
func (p *Policy) selects(pod *Pod) bool {
	return !pod.HostNetwork && pod.Namespace == p.Namespace && p.Pods.Matches(pod.Labels)
}

// pod is the one that has an address as its own, or nil.
func (s *Snapshot) pod(addr netip.Addr) *Pod {
	for i := range s.Pods {
		if p := &s.Pods[i]; !p.HostNetwork && slices.Contains(p.IPs, addr) {
			return p
		}
	}
	return nil
}

// on tells whether an address is a node's own.
func (s *Snapshot) on(node string, addr netip.Addr) bool {
	return slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Name == node && slices.Contains(n.IPs, addr) })
}

func (s *Snapshot) labels(namespace string) map[string]string {
	for _, n := range s.Namespaces {
		if n.Name == namespace {
			return n.Labels
		}
	}
	return nil
}

// isolating are the policies that isolate a pod in a direction, in the order of
// their names.
func (s *Snapshot) isolating(pod *Pod, d direction) (list []*Policy) {
	for i := range s.Policies {
		if p := &s.Policies[i]; p.isolates(d) && p.selects(pod) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, byName)
	return list
}

// includes tells whether a peer of a policy's rule is this pod, by selectors.
func (s *Snapshot) includes(p *Policy, peer Peer, pod *Pod) bool {
	switch {
	case pod.HostNetwork, peer.Block != nil:
		return false
	case peer.Namespaces == nil && pod.Namespace != p.Namespace:
		return false
	case peer.Namespaces != nil && !peer.Namespaces.Matches(s.labels(pod.Namespace)):
		return false
	}
	return peer.Pods == nil || peer.Pods.Matches(pod.Labels)
}

func (b *Block) contains(addr netip.Addr) bool {
	return b.CIDR.Contains(addr) && !slices.ContainsFunc(b.Except, func(e netip.Prefix) bool { return e.Contains(addr) })
}
