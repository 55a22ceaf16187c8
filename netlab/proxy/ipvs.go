package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/firewall"
)

// Servers are what the mode ipvs wants: virtual servers with their real ones,
// the link that has their addresses, the sets in which rules look packets up,
// and few rules. Facts are the command lines that make them, in order.
// Source: k8s.io/kubernetes/pkg/proxy/ipvs.
type Servers struct {
	six    family
	facts  []string
	tables firewall.Rules
}

// ipvsLink has all addresses of Services, so that packets to them come to INPUT,
// where the kernel's load balancer is.
const ipvsLink = "kube-ipvs0"

// linkFact makes it. It is one link for both families.
const linkFact = "ip link add " + ipvsLink + " type dummy"

// Mode implements Ruleset.
func (*Servers) Mode() Mode { return IPVS }

// ipvsWriter collects what there is for all ports.
type ipvsWriter struct {
	node     Node
	six      family
	backends map[portID][]backend
	entries  map[string]map[string]bool // by set, as IPv4 names it
	bound    map[netip.Addr]bool        // addresses of ipvsLink
	servers  []string                   // command lines of virtual and real servers
	unseen   []string                   // rules against nodes that may not use a load balancer
}

// IPVSRules are what the virtual servers of a node must be for a State.
func IPVSRules(node Node, s State) *Servers {
	w := &ipvsWriter{node: node, six: family(node.IP.Is6()), backends: s.backends(), entries: map[string]map[string]bool{}, bound: map[netip.Addr]bool{}}
	for _, svc := range sorted(s.Services) {
		for _, p := range svc.Ports {
			w.port(&svc, p)
		}
	}
	r := &Servers{six: w.six, facts: []string{linkFact}}
	for _, set := range ipsets {
		r.facts = append(r.facts, w.six.create(set))
	}
	addrs := make([]netip.Addr, 0, len(w.bound))
	for a := range w.bound {
		addrs = append(addrs, a)
		w.enter("KUBE-IPVS-IPS", a.String())
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, set := range ipsets {
		for _, entry := range sortedKeys(w.entries[set.name]) {
			r.facts = append(r.facts, "ipset add "+w.six.set(set.name)+" "+entry)
		}
	}
	for _, a := range addrs {
		r.facts = append(r.facts, fmt.Sprintf("ip addr add %s/%d dev %s", a, a.BitLen(), ipvsLink))
	}
	r.facts = append(r.facts, w.servers...)
	r.tables = w.rules()
	return r
}

func sortedKeys(m map[string]bool) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

func (w *ipvsWriter) enter(set, entry string) {
	if w.entries[set] == nil {
		w.entries[set] = map[string]bool{}
	}
	w.entries[set][entry] = true
}

// port writes what there is for one port of a Service.
func (w *ipvsWriter) port(svc *Service, p Port) {
	id := portID{svc.Namespace, svc.Name, p.Name, p.Protocol}
	protocol, all := strings.ToLower(p.Protocol), w.backends[id]
	c := choose(all, svc, p, w.node)
	for _, b := range all {
		if b.Node == w.node.Name && w.node.Name != "" {
			w.enter("KUBE-LOOP-BACK", fmt.Sprintf("%s,%s:%d,%s", b.IP, protocol, b.to.Port(), b.IP))
		}
	}
	entry := func(a netip.Addr) string { return fmt.Sprintf("%s,%s:%d", a, protocol, p.Port) }
	w.enter("KUBE-CLUSTER-IP", entry(svc.ClusterIP))
	w.server(svc, p, svc.ClusterIP, p.Port, behind(c, svc.InternalLocal))
	outside := behind(c, svc.ExternalLocal)
	for _, a := range svc.ExternalIPs {
		set := "KUBE-EXTERNAL-IP"
		if svc.ExternalLocal {
			set = "KUBE-EXTERNAL-IP-LOCAL"
		}
		w.enter(set, entry(a))
		w.server(svc, p, a, p.Port, outside)
	}
	for _, a := range svc.LoadBalancerIPs {
		w.enter("KUBE-LOAD-BALANCER", entry(a))
		if svc.ExternalLocal {
			w.enter("KUBE-LOAD-BALANCER-LOCAL", entry(a))
		}
		w.guard(svc, p, a, entry(a))
		w.server(svc, p, a, p.Port, outside)
	}
	if p.NodePort != 0 {
		w.nodePort(svc, p, outside)
	}
	if n := svc.HealthCheckNodePort; n != 0 {
		w.enter("KUBE-HEALTH-CHECK-NODE-PORT", fmt.Sprint(n))
	}
}

// behind are the endpoints of a server. With policy Local and none on this node
// they are all: pods of this node may use them, and answers to others are lost.
func behind(c choice, local bool) []backend {
	if local && len(c.local) > 0 {
		return c.local
	}
	return c.cluster
}

// guard lets those use a load balancer's address who may.
func (w *ipvsWriter) guard(svc *Service, p Port, a netip.Addr, entry string) {
	if len(svc.SourceRanges) == 0 {
		return
	}
	w.enter("KUBE-LOAD-BALANCER-FW", entry)
	node := false
	for _, source := range svc.SourceRanges {
		w.enter("KUBE-LOAD-BALANCER-SOURCE-CIDR", entry+","+source.Masked().String())
		node = node || source.Contains(w.node.IP)
	}
	if node {
		w.enter("KUBE-LOAD-BALANCER-SOURCE-IP", entry+","+a.String())
		return
	}
	w.unseen = append(w.unseen, fmt.Sprintf("-s %[1]s/%[2]d -m ipvs --vproto %[3]d --vaddr %[1]s/%[2]d --vport %[4]d -j DROP", a, a.BitLen(), protocolNumber(p.Protocol), p.Port))
}

func protocolNumber(name string) int {
	switch strings.ToUpper(name) {
	case "UDP":
		return 17
	case "SCTP":
		return 132
	}
	return 6
}

func (w *ipvsWriter) nodePort(svc *Service, p Port, behind []backend) {
	name := strings.ToUpper(p.Protocol)
	addrs := append([]netip.Addr{w.node.IP}, w.node.Others...)
	entries := []string{fmt.Sprint(p.NodePort)}
	if name == "SCTP" {
		name, entries = "SCTP-HASH", nil
		for _, a := range addrs {
			entries = append(entries, fmt.Sprintf("%s,sctp:%d", a, p.NodePort))
		}
	}
	for _, entry := range entries {
		w.enter("KUBE-NODE-PORT-"+name, entry)
		if svc.ExternalLocal {
			w.enter("KUBE-NODE-PORT-LOCAL-"+name, entry)
		}
	}
	for _, a := range addrs {
		w.server(svc, p, a, p.NodePort, behind)
	}
}

// server is a virtual server with its real ones. The addresses that are not the
// node's own are those of ipvsLink.
func (w *ipvsWriter) server(svc *Service, p Port, a netip.Addr, port int, behind []backend) {
	if a != w.node.IP && !slices.Contains(w.node.Others, a) {
		w.bound[a] = true
	}
	at := serverFlag(p.Protocol) + " " + netip.AddrPortFrom(a, uint16(port)).String()
	line := "ipvsadm -A " + at + " -s rr"
	if svc.Affinity > 0 {
		line += fmt.Sprintf(" -p %d", svc.Affinity)
	}
	w.servers = append(w.servers, line)
	for _, b := range behind {
		w.servers = append(w.servers, "ipvsadm -a "+at+" -r "+b.at+" -m -w 1")
	}
}

func serverFlag(protocol string) string {
	switch strings.ToUpper(protocol) {
	case "UDP":
		return "-u"
	case "SCTP":
		return "--sctp-service"
	}
	return "-t"
}
