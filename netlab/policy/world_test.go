package policy_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/klab-project/klab/netlab/policy"
)

// The world of random tests: six pods of three namespaces on two nodes, and a
// host outside. What varies is labels, the names of ports, and policies.
var (
	homes = []struct{ namespace, name, node string }{
		{"a", "p1", "node-1"}, {"a", "p2", "node-1"}, {"b", "p3", "node-1"},
		{"a", "p4", "node-2"}, {"b", "p5", "node-2"}, {"c", "p6", "node-2"},
	}
	outside = netip.MustParseAddr("192.0.2.10")
	ports   = []int{80, 81, 82, 443, 8080}
)

// nodeAddrs are a node's own addresses: in the underlay, of cni0, of flannel.1.
func nodeAddrs(n int) []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr(fmt.Sprintf("172.30.0.1%d", n)),
		netip.MustParseAddr(fmt.Sprintf("10.244.%d.1", n)),
		netip.MustParseAddr(fmt.Sprintf("10.244.%d.0", n)),
	}
}

// podAddr is where pod i of homes is.
func podAddr(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("10.244.%s.%d", homes[i].node[5:], 2+i%3))
}

func labelsOf(t *rapid.T, what string) map[string]string {
	labels := map[string]string{}
	for _, k := range []string{"app", "tier"} {
		if v := rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, what+"-"+k); v != "" {
			labels[k] = v
		}
	}
	return labels
}

func selectorOf(t *rapid.T, what string) policy.Selector {
	var s policy.Selector
	switch rapid.IntRange(0, 3).Draw(t, what) {
	case 0: // all
	case 1, 2:
		s.Labels = labelsOf(t, what)
		maps.DeleteFunc(s.Labels, func(k, _ string) bool { return k == "tier" && len(s.Labels) > 1 })
	case 3:
		e := policy.Expression{
			Key:      rapid.SampledFrom([]string{"app", "tier"}).Draw(t, what+"-key"),
			Operator: rapid.SampledFrom([]string{"In", "NotIn", "Exists", "DoesNotExist"}).Draw(t, what+"-operator"),
		}
		if e.Operator == "In" || e.Operator == "NotIn" {
			e.Values = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", "z"}), 1, 2).Draw(t, what+"-values")
		}
		s.Expressions = append(s.Expressions, e)
	}
	return s
}

func peerOf(t *rapid.T) (p policy.Peer) {
	switch rapid.IntRange(0, 3).Draw(t, "peer") {
	case 0:
		s := selectorOf(t, "pods")
		p.Pods = &s
	case 1:
		s := selectorOf(t, "namespaces")
		p.Namespaces = &s
	case 2:
		s, n := selectorOf(t, "pods"), selectorOf(t, "namespaces")
		p.Pods, p.Namespaces = &s, &n
	case 3:
		blocks := map[string][]string{
			"0.0.0.0/0": {"10.244.0.0/16", "192.0.2.0/28", "10.244.1.2/32"}, "10.244.0.0/16": {"10.244.1.0/24", "10.244.2.3/32"},
			"192.0.2.0/24": {"192.0.2.0/25"}, "172.30.0.0/24": {"172.30.0.12/32"}, "10.244.2.0/24": {"10.244.2.0/30"},
		}
		cidr := rapid.SampledFrom(slices.Sorted(maps.Keys(blocks))).Draw(t, "cidr")
		p.Block = &policy.Block{CIDR: netip.MustParsePrefix(cidr)}
		for _, e := range rapid.SliceOfNDistinct(rapid.SampledFrom(blocks[cidr]), 0, 1, rapid.ID[string]).Draw(t, "except") {
			p.Block.Except = append(p.Block.Except, netip.MustParsePrefix(e))
		}
	}
	return p
}

func portOf(t *rapid.T) (p policy.Port) {
	p.Protocol = rapid.SampledFrom([]string{"TCP", "TCP", "UDP", "SCTP"}).Draw(t, "protocol")
	switch rapid.IntRange(0, 4).Draw(t, "port") {
	case 0: // all
	case 1, 2:
		p.Number = rapid.SampledFrom(ports).Draw(t, "number")
	case 3:
		p.Number = rapid.SampledFrom(ports).Draw(t, "number")
		p.End = rapid.SampledFrom([]int{p.Number, p.Number + 1, 443, 65535}).Draw(t, "end")
		p.End = max(p.End, p.Number)
	case 4:
		p.Name = rapid.SampledFrom([]string{"http", "dns"}).Draw(t, "name")
	}
	return p
}

func rulesOf(t *rapid.T) []policy.Rule {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) (r policy.Rule) {
		r.Peers = rapid.SliceOfN(rapid.Custom(peerOf), 0, 3).Draw(t, "peers")
		r.Ports = rapid.SliceOfN(rapid.Custom(portOf), 0, 3).Draw(t, "ports")
		return r
	}), 0, 3).Draw(t, "rules")
}

// snapshotOf draws a world.
func snapshotOf(t *rapid.T) (s policy.Snapshot) {
	for _, ns := range []string{"a", "b", "c"} {
		s.Namespaces = append(s.Namespaces, policy.Namespace{Name: ns, Labels: labelsOf(t, "namespace-"+ns)})
	}
	for n := 1; n <= 2; n++ {
		s.Nodes = append(s.Nodes, policy.Node{Name: fmt.Sprint("node-", n), IPs: nodeAddrs(n)})
	}
	for i, h := range homes {
		pod := policy.Pod{Namespace: h.namespace, Name: h.name, Node: h.node, Labels: labelsOf(t, h.name), IPs: []netip.Addr{podAddr(i)}}
		for _, name := range []string{"http", "dns"} {
			if n := rapid.SampledFrom(append([]int{0}, ports...)).Draw(t, h.name+"-"+name); n > 0 {
				protocol := rapid.SampledFrom([]string{"TCP", "UDP"}).Draw(t, h.name+"-"+name+"-protocol")
				pod.Ports = append(pod.Ports, policy.NamedPort{Name: name, Protocol: protocol, Number: n})
			}
		}
		s.Pods = append(s.Pods, pod)
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "policies") {
		p := policy.Policy{Namespace: rapid.SampledFrom([]string{"a", "a", "b", "c"}).Draw(t, "namespace"), Name: fmt.Sprint("policy-", i)}
		p.Pods = selectorOf(t, "selector")
		p.Isolates = rapid.SampledFrom([]policy.Directions{{Ingress: true}, {Egress: true}, {Ingress: true, Egress: true}}).Draw(t, "types")
		if p.Isolates.Ingress {
			p.Ingress = rulesOf(t)
		}
		if p.Isolates.Egress {
			p.Egress = rulesOf(t)
		}
		s.Policies = append(s.Policies, p)
	}
	return s
}

// end is where a packet begins or goes: the outside, a node (from 1), or a pod.
type end struct{ node, pod int }

func ends() []end {
	all := []end{{pod: -1}, {node: 1, pod: -1}, {node: 2, pod: -1}}
	for i := range homes {
		all = append(all, end{pod: i})
	}
	return all
}

func (e end) String() string {
	switch {
	case e.pod >= 0:
		return homes[e.pod].namespace + "/" + homes[e.pod].name
	case e.node > 0:
		return fmt.Sprint("node-", e.node)
	}
	return "outside"
}

// at is the node where an end is; empty outside.
func (e end) at() string {
	switch {
	case e.pod >= 0:
		return homes[e.pod].node
	case e.node > 0:
		return fmt.Sprint("node-", e.node)
	}
	return ""
}

// shot is a packet from one end to another.
type shot struct {
	from, to end
	policy.Packet
}

func (s shot) String() string {
	return fmt.Sprintf("%s (%s) → %s (%s) %s %d", s.from, s.From, s.to, s.To, s.Protocol, s.Port)
}

// GoString is how rapid prints it.
func (s shot) GoString() string { return s.String() }

// addr is where an end is for others.
func (e end) addr() netip.Addr {
	switch {
	case e.pod >= 0:
		return podAddr(e.pod)
	case e.node > 0:
		return nodeAddrs(e.node)[0]
	}
	return outside
}

// addrTo is the source that the kernel gives a packet of this end to another.
func (e end) addrTo(other end) netip.Addr {
	switch {
	case e.node == 0 || other.pod < 0:
		return e.addr()
	case other.at() == e.at():
		return nodeAddrs(e.node)[1]
	}
	return nodeAddrs(e.node)[2]
}

// shotOf draws a packet with the source that the kernel would give it.
func shotOf(t *rapid.T) (s shot) {
	s.from, s.to = rapid.SampledFrom(ends()).Draw(t, "from"), rapid.SampledFrom(ends()).Draw(t, "to")
	s.Protocol = rapid.SampledFrom([]string{"TCP", "TCP", "UDP", "UDP", "SCTP", "ICMP"}).Draw(t, "packet")
	if s.Protocol != "ICMP" {
		s.Port = rapid.SampledFrom(ports).Draw(t, "port")
	}
	s.From, s.To = s.from.addrTo(s.to), s.to.addr()
	return s
}
