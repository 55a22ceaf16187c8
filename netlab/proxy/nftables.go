package proxy

import (
	"fmt"
	"net/netip"
	"strings"
)

// NFT is what the mode nftables wants: one table with kube-proxy's chains, sets
// and maps. Source: k8s.io/kubernetes/pkg/proxy/nftables.
type NFT struct {
	family string // "ip" or "ip6"
	chains []nftChain
	sets   []nftSet
}

// nftTable is the name of its table, in either family.
const nftTable = "kube-proxy"

// nftChain is a chain with all its rules; base says where in the kernel it is
// called, or is empty.
type nftChain struct {
	name, base, comment string
	rules               []string
}

// nftSet is a set, or a map: then its elements have values.
type nftSet struct {
	kind, name, spec, comment string
	elems                     map[string]nftValue
	dynamic                   bool // packets add to it
}

type nftValue struct{ value, comment string }

// Mode implements Ruleset.
func (*NFT) Mode() Mode { return NFTables }

// The chains that packets come by first, as kube-proxy has them; priorities are
// those of "dstnat", "filter" and "srcnat" in numbers, which nft takes for every hook.
func baseChains() []nftChain {
	base := func(name, what, hook string, priority int) nftChain {
		return nftChain{name: name, base: fmt.Sprintf("type %s hook %s priority %d ;", what, hook, priority)}
	}
	return []nftChain{
		base("filter-prerouting-pre-dnat", "filter", "prerouting", -110),
		base("filter-output-pre-dnat", "filter", "output", -110),
		base("filter-input", "filter", "input", 0),
		base("filter-forward", "filter", "forward", 0),
		base("filter-output", "filter", "output", 0),
		base("nat-prerouting", "nat", "prerouting", -100),
		base("nat-output", "nat", "output", -100),
		base("nat-postrouting", "nat", "postrouting", 100),
	}
}

// nftJumps lead from there to the others.
var nftJumps = []struct{ from, rule string }{
	{"filter-input", "ct state new jump nodeport-endpoints-check"},
	{"filter-input", "ct state new jump service-endpoints-check"},
	{"filter-forward", "ct state new jump service-endpoints-check"},
	{"filter-output", "ct state new jump service-endpoints-check"},
	{"filter-prerouting-pre-dnat", "ct state new jump firewall-check"},
	{"filter-output-pre-dnat", "ct state new jump firewall-check"},
	{"nat-output", "jump services"},
	{"nat-prerouting", "jump services"},
	{"nat-postrouting", "jump masquerading"},
	{"filter-forward", "ct state new jump cluster-ips-check"},
	{"filter-output", "ct state new jump cluster-ips-check"},
}

// nftWriter collects the chains, sets and elements of all ports.
type nftWriter struct {
	node     Node
	ip, addr string // "ip" and "ipv4_addr", or "ip6" and "ipv6_addr"
	backends map[portID][]backend
	order    []string // of chains
	chains   map[string]*nftChain
	sets     []string
	set      map[string]*nftSet
}

// NFTRules are what the nftables table of a node must be for a State.
func NFTRules(node Node, s State) *NFT {
	w := &nftWriter{node: node, ip: "ip", addr: "ipv4_addr", backends: s.backends(), chains: map[string]*nftChain{}, set: map[string]*nftSet{}}
	if node.IP.Is6() {
		w.ip, w.addr = "ip6", "ipv6_addr"
	}
	w.fixedSets()
	w.fixedChains()
	for _, svc := range sorted(s.Services) {
		for _, p := range svc.Ports {
			w.port(&svc, p)
		}
	}
	r := &NFT{family: w.ip}
	for _, name := range w.order {
		r.chains = append(r.chains, *w.chains[name])
	}
	for _, name := range w.sets {
		r.sets = append(r.sets, *w.set[name])
	}
	return r
}

func (w *nftWriter) fixedSets() {
	address := w.addr
	service := address + " . inet_proto . inet_service"
	verdict := " : verdict"
	w.newSet("set", "hairpin-connections", address+" . "+service, "service hairpin connections")
	w.newSet("set", "cluster-ips", address, "Active ClusterIPs")
	w.newSet("set", "nodeport-ips", address, "IPs that accept NodePort traffic")
	w.newSet("map", "no-endpoint-services", service+verdict, "vmap to drop or reject packets to services with no endpoints")
	w.newSet("map", "no-endpoint-nodeports", "inet_proto . inet_service"+verdict, "vmap to drop or reject packets to service nodeports with no endpoints")
	w.newSet("map", "firewall-ips", service+verdict, "destinations that are subject to LoadBalancerSourceRanges")
	w.newSet("map", "service-ips", service+verdict, "ClusterIP, ExternalIP and LoadBalancer IP traffic")
	w.newSet("map", "service-nodeports", "inet_proto . inet_service"+verdict, "NodePort traffic")
	if w.node.IP.IsValid() {
		w.elem("nodeport-ips", w.node.IP.String(), "", "")
	}
}

func (w *nftWriter) fixedChains() {
	for _, c := range baseChains() {
		w.add(c.name).base = c.base
	}
	for _, j := range nftJumps {
		w.add(j.from, j.rule)
	}
	there := w.ip + " daddr . meta l4proto . th dport vmap @"
	w.add("masquerading",
		fmt.Sprintf("mark and %s != 0 mark set mark xor %s masquerade fully-random", mark, mark),
		fmt.Sprintf("ct status dnat %s saddr . %s daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random", w.ip, w.ip))
	w.add("cluster-ips-check", w.ip+` daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"`)
	if len(w.node.Services) > 0 {
		w.add("cluster-ips-check", fmt.Sprintf(`%s daddr { %s } drop comment "Drop traffic to unallocated ClusterIPs"`, w.ip, commas(w.node.Services)))
	}
	w.add("reject-chain", "reject").comment = "helper for @no-endpoint-services / @no-endpoint-nodeports"
	w.add("service-endpoints-check", there+"no-endpoint-services")
	w.add("nodeport-endpoints-check", w.ip+" daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports")
	w.add("firewall-check", there+"firewall-ips")
	if w.node.Pods.IsValid() {
		w.add("services", fmt.Sprintf(`%s daddr @cluster-ips %s saddr != %s %s comment "masquerade clusterIP traffic from outside cluster"`, w.ip, w.ip, w.node.Pods, nftMasquerade))
	}
	w.add("services",
		there+"service-ips",
		w.ip+" daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports")
}

// commas are networks as a set has them.
func commas(list []netip.Prefix) string {
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.Masked().String())
	}
	return strings.Join(texts, ", ")
}

const nftMasquerade = "mark set mark or " + mark

// add adds rules to a chain, which is made if there is none.
func (w *nftWriter) add(chain string, rules ...string) *nftChain {
	c := w.chains[chain]
	if c == nil {
		c = &nftChain{name: chain}
		w.chains[chain] = c
		w.order = append(w.order, chain)
	}
	c.rules = append(c.rules, rules...)
	return c
}

func (w *nftWriter) newSet(kind, name, of, comment string) *nftSet {
	s := &nftSet{kind: kind, name: name, spec: "type " + of + " ;", comment: comment, elems: map[string]nftValue{}}
	w.set[name] = s
	w.sets = append(w.sets, name)
	return s
}

func (w *nftWriter) elem(set, key, value, comment string) {
	w.set[set].elems[key] = nftValue{value, comment}
}

// service is the key of a service's address and port in maps.
func nftService(addr netip.Addr, p Port, port int) string {
	return fmt.Sprintf("%s . %s . %d", addr, strings.ToLower(p.Protocol), port)
}

// nftNodePort is the key of a NodePort in maps.
func nftNodePort(p Port) string {
	return fmt.Sprintf("%s . %d", strings.ToLower(p.Protocol), p.NodePort)
}
