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
	facts  []string
	tables firewall.Rules
}

// ipvsLink has all addresses of Services, so that packets to them come to INPUT,
// where the kernel's load balancer is.
const ipvsLink = "kube-ipvs0"

// ipset is one of kube-proxy's sets of addresses and ports.
type ipset struct {
	name, kind, comment string
}

const (
	hashIP        = "hash:ip family inet"
	hashIPPort    = "hash:ip,port family inet"
	hashIPPortIP  = "hash:ip,port,ip family inet"
	hashIPPortNet = "hash:ip,port,net family inet"
	bitmapPort    = "bitmap:port range 0-65535"
)

// ipsets are all that there are, also where they are empty.
var ipsets = []ipset{
	{"KUBE-LOOP-BACK", hashIPPortIP, "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"},
	{"KUBE-CLUSTER-IP", hashIPPort, "Kubernetes service cluster ip + port for masquerade purpose"},
	{"KUBE-EXTERNAL-IP", hashIPPort, "Kubernetes service external ip + port for masquerade and filter purpose"},
	{"KUBE-EXTERNAL-IP-LOCAL", hashIPPort, "Kubernetes service external ip + port with externalTrafficPolicy=local"},
	{"KUBE-LOAD-BALANCER", hashIPPort, "Kubernetes service lb portal"},
	{"KUBE-LOAD-BALANCER-FW", hashIPPort, "Kubernetes service load balancer ip + port for load balancer with sourceRange"},
	{"KUBE-LOAD-BALANCER-LOCAL", hashIPPort, "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"},
	{"KUBE-LOAD-BALANCER-SOURCE-IP", hashIPPortIP, "Kubernetes service load balancer ip + port + source IP for packet filter purpose"},
	{"KUBE-LOAD-BALANCER-SOURCE-CIDR", hashIPPortNet, "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"},
	{"KUBE-NODE-PORT-TCP", bitmapPort, "Kubernetes nodeport TCP port for masquerade purpose"},
	{"KUBE-NODE-PORT-LOCAL-TCP", bitmapPort, "Kubernetes nodeport TCP port with externalTrafficPolicy=local"},
	{"KUBE-NODE-PORT-UDP", bitmapPort, "Kubernetes nodeport UDP port for masquerade purpose"},
	{"KUBE-NODE-PORT-LOCAL-UDP", bitmapPort, "Kubernetes nodeport UDP port with externalTrafficPolicy=local"},
	{"KUBE-NODE-PORT-SCTP-HASH", hashIPPort, "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"},
	{"KUBE-NODE-PORT-LOCAL-SCTP-HASH", hashIPPort, "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"},
	{"KUBE-HEALTH-CHECK-NODE-PORT", bitmapPort, "Kubernetes health check node port"},
	{"KUBE-IPVS-IPS", hashIP, "Addresses on the ipvs interface"},
}

func findSet(name string) ipset {
	return ipsets[slices.IndexFunc(ipsets, func(s ipset) bool { return s.name == name })]
}

// Mode implements Ruleset.
func (*Servers) Mode() Mode { return IPVS }

// ipvsWriter collects what there is for all ports.
type ipvsWriter struct {
	node     Node
	backends map[portID][]backend
	entries  map[string]map[string]bool // by set
	bound    map[netip.Addr]bool        // addresses of ipvsLink
	servers  []string                   // command lines of virtual and real servers
	unseen   []string                   // rules against nodes that may not use a load balancer
}

// IPVSRules are what the virtual servers of a node must be for a State.
func IPVSRules(node Node, s State) *Servers {
	w := &ipvsWriter{node: node, backends: s.backends(), entries: map[string]map[string]bool{}, bound: map[netip.Addr]bool{}}
	for _, svc := range sorted(s.Services) {
		for _, p := range svc.Ports {
			w.port(&svc, p)
		}
	}
	r := &Servers{facts: []string{"ip link add " + ipvsLink + " type dummy"}}
	for _, set := range ipsets {
		r.facts = append(r.facts, "ipset create "+set.name+" "+set.kind)
	}
	addrs := make([]netip.Addr, 0, len(w.bound))
	for a := range w.bound {
		addrs = append(addrs, a)
		w.enter("KUBE-IPVS-IPS", a.String())
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, set := range ipsets {
		for _, entry := range sortedKeys(w.entries[set.name]) {
			r.facts = append(r.facts, "ipset add "+set.name+" "+entry)
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
	w.unseen = append(w.unseen, fmt.Sprintf("-s %s/32 -m ipvs --vproto %d --vaddr %s/32 --vport %d -j DROP", a, protocolNumber(p.Protocol), a, p.Port))
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
