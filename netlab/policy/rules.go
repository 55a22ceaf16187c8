package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/firewall"
)

const (
	allow  = "-j MARK --set-xmark " + allowedMark + "/" + allowedMark
	reject = "-m mark ! --mark " + allowedMark + "/" + allowedMark + " -j REJECT --reject-with "
	forget = "-j MARK --set-xmark 0x0/" + allowedMark
)

// Family is IPv4 or IPv6: each has a firewall of its own.
type Family struct {
	V6 bool
}

// Rules are what the firewall of a node must be for a Snapshot, as
// iptables-save or ip6tables-save writes them; none if no pod of the node is
// isolated.
func Rules(node string, f Family, s Snapshot) firewall.Rules {
	w := newWriter(node, f, s)
	pods := w.isolated()
	if len(pods) == 0 {
		return nil
	}
	// Where the pod is the source comes first, as it does on the packet's way.
	for _, d := range []direction{egress, ingress} {
		for _, pod := range pods {
			w.pod(pod, d)
		}
	}
	first := firewall.Chain{Name: First, Rules: append(f.always(), w.first...)}
	rules := frame()
	rules[0].Chains = append([]firewall.Chain{first}, w.chains...)
	return rules
}

// always are the rules for what no policy is asked about. That neighbours find
// each other is a matter of ICMP in IPv6, and not of connections.
func (f Family) always() []string {
	rules := []string{comment("what belongs to a connection that was allowed") + "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"}
	if f.V6 {
		for _, kind := range []string{"135", "136"} {
			rules = append(rules, "-p ipv6-icmp "+comment("neighbours find each other")+"-m icmp6 --icmpv6-type "+kind+" -j RETURN")
		}
	}
	return rules
}

// has tells whether an address is of the family.
func (f Family) has(a netip.Addr) bool { return a.Is6() == f.V6 }

// only is the network that is one address.
func only(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() + " " }

func (f Family) rejectWith() string {
	if f.V6 {
		return "icmp6-port-unreachable"
	}
	return "icmp-port-unreachable"
}

// frame is what there is on every node that has isolated pods: all jumps, and
// the prefixes of all chains. Packets that IPVS sends on leave by OUTPUT,
// although they come from elsewhere; what the node itself sends to its pods is
// never kept from them.
func frame() firewall.Rules {
	return firewall.Rules{{
		Name: "filter",
		Jumps: []firewall.Jump{
			{Chain: "FORWARD", First: true, Rule: comment("pods that NetworkPolicies isolate") + "-j " + First},
			{Chain: "OUTPUT", First: true, Rule: comment("pods that NetworkPolicies isolate, by way of IPVS") + "-m addrtype ! --src-type LOCAL -j " + First},
		},
		Prefixes: []string{First, podPrefix, policyPrefix, sourcePrefix, destPrefix},
	}}
}

// writer collects the chains of a node's pods.
type writer struct {
	Snapshot
	Family
	node   string
	first  []string // the rules of the first chain
	chains []firewall.Chain
	done   map[string]bool // chains by name
}

func newWriter(node string, f Family, s Snapshot) *writer {
	return &writer{Snapshot: s, Family: f, node: node, done: map[string]bool{}}
}

// isolated are the node's pods that some policy isolates, by name.
func (w *writer) isolated() (pods []*Pod) {
	for i := range w.Pods {
		p := &w.Pods[i]
		if p.Node == w.node && w.ipOf(p).IsValid() && len(w.isolating(p, ingress))+len(w.isolating(p, egress)) > 0 {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b *Pod) int { return strings.Compare(a.String(), b.String()) })
	return pods
}

// ipOf is a pod's own address of the family, or none.
func (f Family) ipOf(p *Pod) netip.Addr {
	if !p.HostNetwork {
		for _, ip := range p.IPs {
			if f.has(ip) {
				return ip
			}
		}
	}
	return netip.Addr{}
}

func (w *writer) chain(name string, rules []string) {
	if !w.done[name] {
		w.done[name] = true
		w.chains = append(w.chains, firewall.Chain{Name: name, Rules: rules})
	}
}

// pod writes the chain of a pod in a direction, if a policy isolates it.
func (w *writer) pod(pod *Pod, d direction) {
	policies := w.isolating(pod, d)
	if len(policies) == 0 {
		return
	}
	own, name := only(w.ipOf(pod)), podChain(pod, d)
	here, there := "-s ", "-d "
	if d == ingress {
		here, there = there, here
	}
	w.first = append(w.first, here+own+comment(fmt.Sprintf("%s of pod %s", d, pod))+"-j "+name)
	rules := []string{there + own + comment(fmt.Sprintf("pod %s always reaches itself", pod)) + "-j RETURN"}
	for _, p := range policies {
		rules = append(rules, comment(named(p))+"-j "+policyChain(p, d))
	}
	rules = append(rules, comment(fmt.Sprintf("pod %s is isolated: no NetworkPolicy allows this %s", pod, d))+reject+w.rejectWith(), forget)
	w.chain(name, rules)
	for _, p := range policies {
		w.policy(p, d)
	}
}

// policy writes the chain of a policy in a direction.
func (w *writer) policy(p *Policy, d direction) {
	name := policyChain(p, d)
	if w.done[name] {
		return
	}
	var rules []string
	var peers []firewall.Chain
	for i, rule := range p.rules(d) {
		path := fmt.Sprintf("spec.%s[%d]", d, i)
		if len(rule.Peers) == 0 {
			rules = append(rules, w.ports(p, rule, d, path, allow, nil)...)
		}
		for j, peer := range rule.Peers {
			path := fmt.Sprintf("%s.%s[%d]", path, d.side(), j)
			addresses := firewall.Chain{Name: peerChain(p, d, path), Rules: w.peer(p, peer, d, path)}
			rules = append(rules, w.ports(p, rule, d, path, "-j "+addresses.Name, &peer)...)
			peers = append(peers, addresses)
		}
	}
	w.chain(name, rules)
	for _, c := range peers {
		if slices.ContainsFunc(rules, func(r string) bool { return strings.HasSuffix(r, "-j "+c.Name) }) {
			w.chain(c.Name, c.Rules)
		}
	}
}

// peer are the rules that allow the addresses of a peer.
func (w *writer) peer(p *Policy, peer Peer, d direction, path string) (rules []string) {
	said := func(what string) string { return comment(named(p) + " " + path + ": " + what) }
	match := "-s "
	if d == egress {
		match = "-d "
	}
	if b := peer.Block; b != nil {
		if !w.has(b.CIDR.Addr()) {
			return nil
		}
		for _, e := range b.Except {
			rules = append(rules, match+e.Masked().String()+" "+said("except")+"-j RETURN")
		}
		if b.CIDR.Bits() == 0 {
			return append(rules, said("everybody")+allow) // iptables-save does not say 0.0.0.0/0 or ::/0
		}
		return append(rules, match+b.CIDR.Masked().String()+" "+said("ipBlock")+allow)
	}
	for _, pod := range w.sorted() {
		if w.includes(p, peer, pod) {
			rules = append(rules, match+only(w.ipOf(pod))+said("pod "+pod.String())+allow)
		}
	}
	return rules
}

// ports are the rules of a policy that lead what goes to a rule's ports to
// target. What a port's name stands for is a matter of each destination.
func (w *writer) ports(p *Policy, rule Rule, d direction, path, target string, peer *Peer) (rules []string) {
	if len(rule.Ports) == 0 {
		return []string{comment(named(p)+" "+path) + target}
	}
	for k, port := range rule.Ports {
		said := comment(fmt.Sprintf("%s %s, ports[%d]", named(p), path, k))
		if port.Name == "" {
			rules = append(rules, protocol(port.Protocol, said)+numbers(port)+target)
			continue
		}
		for _, to := range w.sorted() {
			if d == ingress && (to.Node != w.node || !p.selects(to)) {
				continue
			}
			action := target
			if d == egress && peer != nil {
				// These rules name addresses themselves.
				if !w.includes(p, *peer, to) && (peer.Block == nil || !peer.Block.contains(w.ipOf(to))) {
					continue
				}
				action = allow
			}
			for _, n := range port.of(to) {
				one := Port{Protocol: port.Protocol, Number: n}
				rules = append(rules, "-d "+only(w.ipOf(to))+protocol(port.Protocol, said)+numbers(one)+action)
			}
		}
	}
	return rules
}

// sorted are the pods with an address, by name.
func (w *writer) sorted() (pods []*Pod) {
	for i := range w.Pods {
		if w.ipOf(&w.Pods[i]).IsValid() {
			pods = append(pods, &w.Pods[i])
		}
	}
	slices.SortFunc(pods, func(a, b *Pod) int { return strings.Compare(a.String(), b.String()) })
	return pods
}

// named begins the comments of all rules that are a policy's.
func named(p *Policy) string { return "NetworkPolicy " + p.String() }

func protocol(name, said string) string { return "-p " + strings.ToLower(name) + " " + said }

func numbers(p Port) string {
	switch {
	case p.Number == 0:
		return ""
	case p.End > p.Number:
		return fmt.Sprintf("-m %s --dport %d:%d ", strings.ToLower(p.Protocol), p.Number, p.End)
	}
	return fmt.Sprintf("-m %s --dport %d ", strings.ToLower(p.Protocol), p.Number)
}
