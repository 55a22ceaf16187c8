package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/firewall"
)

// mark is on packets that get the node's address when they leave it.
const mark = "0x4000"

// manyEndpoints is from how many on rules of endpoints have no comments.
const manyEndpoints = 1000

// Rules are what the firewall of a node must be for a State, as iptables-save
// writes them.
func Rules(node Node, s State) firewall.Rules { return newWriter(node, s).rules(s) }

func newWriter(node Node, s State) *writer {
	w := &writer{node: node, backends: s.backends(), wrote: map[portID]written{}}
	total := 0
	for _, svc := range s.Services {
		for _, p := range svc.Ports {
			total += len(w.backends[portID{svc.Namespace, svc.Name, p.Name, p.Protocol}])
		}
	}
	w.many = total > manyEndpoints
	return w
}

func (w *writer) rules(s State) firewall.Rules {
	nat, filter := fixed{}, fixed{}
	var own []firewall.Chain
	for _, svc := range sorted(s.Services) {
		for _, p := range svc.Ports {
			one := w.port(&svc, p)
			nat.join(one.nat)
			filter.join(one.filter)
			own = append(own, one.own...)
		}
	}
	w.written = written{nat: nat, filter: filter, own: own}
	return w.tables()
}

// tables adds what there is on every node to the rules of all ports.
func (w *writer) tables() firewall.Rules {
	w.filter.add(forwardChain,
		fmt.Sprintf(`-m comment --comment "kubernetes forwarding rules" -m mark --mark %s/%s -j ACCEPT`, mark, mark),
		`-m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`)
	w.filter[forwardChain] = append([]string{"-m conntrack --ctstate INVALID -j DROP"}, w.filter[forwardChain]...)
	if !w.node.IP.Is6() { // no packet to ::1 leaves the loopback
		w.filter.add(kubeletFirewallChain, `! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" `+
			`-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP`)
	}
	w.nat.add(servicesChain, `-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" `+
		`-m addrtype --dst-type LOCAL -j `+nodePortsChain)
	w.nat.add(markMasqChain, fmt.Sprintf("-j MARK --set-xmark %s/%s", mark, mark))
	w.nat.add(postroutingChain,
		fmt.Sprintf("-m mark ! --mark %s/%s -j RETURN", mark, mark),
		fmt.Sprintf("-j MARK --set-xmark %s/0x0", mark), // so that it is not done twice
		`-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully`)
	return firewall.Rules{
		{
			Name:   "filter",
			Chains: w.filter.chains(servicesChain, externalServicesChain, forwardChain, nodePortsChain, proxyFirewallChain, kubeletFirewallChain),
			Jumps:  filterJumps(),
		},
		{
			Name:     "nat",
			Chains:   append(w.nat.chains(servicesChain, nodePortsChain, postroutingChain, markMasqChain), w.own...),
			Jumps:    natJumps(),
			Prefixes: []string{clusterPrefix, localPrefix, externalPrefix, firewallPrefix, endpointPrefix},
		},
	}
}

func filterJumps() []firewall.Jump {
	jump := func(from, fresh, comment, to string) firewall.Jump {
		return firewall.Jump{Chain: from, First: true, Rule: fmt.Sprintf(`%s-m comment --comment "%s" -j %s`, fresh, comment, to)}
	}
	const fresh = "-m conntrack --ctstate NEW "
	return []firewall.Jump{
		jump("INPUT", fresh, "kubernetes externally-visible service portals", externalServicesChain),
		jump("FORWARD", fresh, "kubernetes externally-visible service portals", externalServicesChain),
		jump("INPUT", "", "kubernetes health check service ports", nodePortsChain),
		jump("FORWARD", fresh, "kubernetes service portals", servicesChain),
		jump("OUTPUT", fresh, "kubernetes service portals", servicesChain),
		jump("FORWARD", "", "kubernetes forwarding rules", forwardChain),
		jump("INPUT", fresh, "kubernetes load balancer firewall", proxyFirewallChain),
		jump("OUTPUT", fresh, "kubernetes load balancer firewall", proxyFirewallChain),
		jump("FORWARD", fresh, "kubernetes load balancer firewall", proxyFirewallChain),
		{Chain: "INPUT", Rule: "-j " + kubeletFirewallChain, First: true},
		{Chain: "OUTPUT", Rule: "-j " + kubeletFirewallChain, First: true},
	}
}

func natJumps() []firewall.Jump {
	return []firewall.Jump{
		{Chain: "OUTPUT", First: true, Rule: `-m comment --comment "kubernetes service portals" -j ` + servicesChain},
		{Chain: "PREROUTING", First: true, Rule: `-m comment --comment "kubernetes service portals" -j ` + servicesChain},
		{Chain: "POSTROUTING", First: true, Rule: `-m comment --comment "kubernetes postrouting rules" -j ` + postroutingChain},
	}
}

// fixed are the rules of the chains that every node has.
type fixed map[string][]string

func (f fixed) add(chain string, rules ...string) { f[chain] = append(f[chain], rules...) }

func (f fixed) chains(names ...string) (list []firewall.Chain) {
	for _, name := range names {
		list = append(list, firewall.Chain{Name: name, Rules: f[name]})
	}
	return list
}

func (f fixed) join(more fixed) {
	for chain, rules := range more {
		f.add(chain, rules...)
	}
}

// writer collects the rules of one port after the other.
type writer struct {
	node     Node
	backends map[portID][]backend
	many     bool
	known    map[portID]written // of a former time, if nothing else has changed
	wrote    map[portID]written
	written  // what is being written
}

func (w *writer) chain(name string, rules ...string) {
	w.own = append(w.own, firewall.Chain{Name: name, Rules: rules})
}

func sorted(list []Service) []Service {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Service) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

// to matches packets to a port of an address; without one, to the port only.
// more are further matches.
func to(addr netip.Addr, protocol string, port int, comment string, more ...string) string {
	protocol = strings.ToLower(protocol)
	var b strings.Builder
	if addr.IsValid() {
		fmt.Fprintf(&b, "-d %s/%d ", addr, addr.BitLen())
	}
	fmt.Fprintf(&b, `-p %s -m comment --comment "%s" `, protocol, comment)
	for _, m := range more {
		b.WriteString(m + " ")
	}
	fmt.Fprintf(&b, "-m %s --dport %d", protocol, port)
	return b.String()
}
