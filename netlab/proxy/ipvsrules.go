package proxy

import (
	"fmt"

	"github.com/klab-project/klab/netlab/firewall"
)

// The chains that the mode ipvs has besides those of the mode iptables.
const (
	loadBalancerChain = "KUBE-LOAD-BALANCER"
	nodePortChain     = "KUBE-NODE-PORT"
	sourceRangesChain = "KUBE-SOURCE-RANGES-FIREWALL"
	ipvsFilterChain   = "KUBE-IPVS-FILTER"
	ipvsOutChain      = "KUBE-IPVS-OUT-FILTER"
)

// bySet are the rules that look packets up in sets that are not empty, in
// order: those with policy Local come before the others.
var bySet = []struct{ set, table, chain, target, match, protocol string }{
	{"KUBE-LOOP-BACK", "nat", postroutingChain, "MASQUERADE", "dst,dst,src", ""},
	{"KUBE-LOAD-BALANCER", "nat", servicesChain, loadBalancerChain, "dst,dst", ""},
	{"KUBE-LOAD-BALANCER-LOCAL", "nat", loadBalancerChain, "RETURN", "dst,dst", ""},
	{"KUBE-NODE-PORT-LOCAL-TCP", "nat", nodePortChain, "RETURN", "dst", "tcp"},
	{"KUBE-NODE-PORT-TCP", "nat", nodePortChain, markMasqChain, "dst", "tcp"},
	{"KUBE-NODE-PORT-LOCAL-UDP", "nat", nodePortChain, "RETURN", "dst", "udp"},
	{"KUBE-NODE-PORT-UDP", "nat", nodePortChain, markMasqChain, "dst", "udp"},
	{"KUBE-NODE-PORT-LOCAL-SCTP-HASH", "nat", nodePortChain, "RETURN", "dst,dst", "sctp"},
	{"KUBE-NODE-PORT-SCTP-HASH", "nat", nodePortChain, markMasqChain, "dst,dst", "sctp"},
	{"KUBE-LOAD-BALANCER-FW", "filter", proxyFirewallChain, sourceRangesChain, "dst,dst", ""},
	{"KUBE-LOAD-BALANCER-SOURCE-CIDR", "filter", sourceRangesChain, "RETURN", "dst,dst,src", ""},
	{"KUBE-LOAD-BALANCER-SOURCE-IP", "filter", sourceRangesChain, "RETURN", "dst,dst,src", ""},
}

// rules are the same for any number of Services: the sets differ.
func (w *ipvsWriter) rules() firewall.Rules {
	nat, filter := fixed{}, fixed{}
	nat.add(servicesChain, "-s "+w.six.loopback()+" -j RETURN")
	for _, r := range bySet {
		if len(w.entries[r.set]) == 0 {
			continue
		}
		in := nat
		if r.table == "filter" {
			in = filter
		}
		protocol := ""
		if r.protocol != "" {
			protocol = "-p " + r.protocol + " "
		}
		in.add(r.chain, protocol+w.matchSet(r.set, r.match)+" -j "+r.target)
	}
	w.natRules(nat)
	w.filterRules(filter)
	return firewall.Rules{
		{
			Name:   "filter",
			Chains: filter.chains(forwardChain, nodePortChain, proxyFirewallChain, sourceRangesChain, ipvsFilterChain, ipvsOutChain),
			Jumps:  ipvsFilterJumps(),
		},
		{
			Name:   "nat",
			Chains: nat.chains(servicesChain, postroutingChain, nodePortChain, loadBalancerChain, markMasqChain),
			Jumps:  natJumps(),
		},
	}
}

// matchSet is the match of a set that IPv4 gives that name.
func (w *ipvsWriter) matchSet(set, match string) string {
	of, _ := family(false).findSet(set)
	return fmt.Sprintf(`-m comment --comment "%s" %s`, of.comment, w.inSet(set, match))
}

func (w *ipvsWriter) inSet(set, match string) string {
	return "-m set --match-set " + w.six.set(set) + " " + match
}

func (w *ipvsWriter) natRules(nat fixed) {
	if len(w.entries["KUBE-CLUSTER-IP"]) > 0 {
		nat.add(servicesChain, fmt.Sprintf("! -s %s %s -j %s", w.node.Pods, w.matchSet("KUBE-CLUSTER-IP", "dst,dst"), markMasqChain))
	}
	external := func(set string) {
		match := w.matchSet(set, "dst,dst")
		nat.add(servicesChain,
			match+" -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT",
			match+" -m addrtype --dst-type LOCAL -j ACCEPT")
	}
	if len(w.entries["KUBE-EXTERNAL-IP"]) > 0 {
		nat.add(servicesChain, w.matchSet("KUBE-EXTERNAL-IP", "dst,dst")+" -j "+markMasqChain)
		external("KUBE-EXTERNAL-IP")
	}
	if len(w.entries["KUBE-EXTERNAL-IP-LOCAL"]) > 0 {
		external("KUBE-EXTERNAL-IP-LOCAL")
	}
	nat.add(servicesChain, "-m addrtype --dst-type LOCAL -j "+nodePortChain)
	nat.add(loadBalancerChain, "-j "+markMasqChain)
	for _, set := range []string{"KUBE-CLUSTER-IP", "KUBE-LOAD-BALANCER"} {
		if len(w.entries[set]) > 0 {
			nat.add(servicesChain, w.inSet(set, "dst,dst")+" -j ACCEPT")
		}
	}
	nat.add(postroutingChain,
		fmt.Sprintf("-m mark ! --mark %s/%s -j RETURN", mark, mark),
		fmt.Sprintf("-j MARK --set-xmark %s/0x0", mark),
		`-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully`)
	nat.add(markMasqChain, fmt.Sprintf("-j MARK --set-xmark %s/%s", mark, mark))
}

func (w *ipvsWriter) filterRules(filter fixed) {
	filter.add(sourceRangesChain, "-j DROP")
	filter.add(ipvsOutChain, w.unseen...)
	filter.add(forwardChain,
		fmt.Sprintf(`-m comment --comment "kubernetes forwarding rules" -m mark --mark %s/%s -j ACCEPT`, mark, mark),
		`-m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`)
	filter.add(nodePortChain, w.matchSet("KUBE-HEALTH-CHECK-NODE-PORT", "dst")+" -j ACCEPT")
	// Nobody reaches the node's own ports by an address of a Service.
	for _, r := range []struct{ set, match string }{
		{"KUBE-LOAD-BALANCER", "dst,dst"}, {"KUBE-CLUSTER-IP", "dst,dst"}, {"KUBE-EXTERNAL-IP", "dst,dst"},
		{"KUBE-EXTERNAL-IP-LOCAL", "dst,dst"}, {"KUBE-HEALTH-CHECK-NODE-PORT", "dst"},
	} {
		filter.add(ipvsFilterChain, w.inSet(r.set, r.match)+" -j RETURN")
	}
	filter.add(ipvsFilterChain, "-m conntrack --ctstate NEW "+w.inSet("KUBE-IPVS-IPS", "dst")+" -j "+w.six.reject())
}

func ipvsFilterJumps() []firewall.Jump {
	jump := func(from, to, comment string) firewall.Jump {
		return firewall.Jump{Chain: from, First: true, Rule: fmt.Sprintf(`-m comment --comment "%s" -j %s`, comment, to)}
	}
	return []firewall.Jump{
		jump("FORWARD", forwardChain, "kubernetes forwarding rules"),
		jump("INPUT", nodePortChain, "kubernetes health check rules"),
		jump("INPUT", proxyFirewallChain, "kube-proxy firewall rules"),
		jump("FORWARD", proxyFirewallChain, "kube-proxy firewall rules"),
		jump("INPUT", ipvsFilterChain, "kubernetes ipvs access filter"),
		jump("OUTPUT", ipvsOutChain, "kubernetes ipvs access filter"),
	}
}
