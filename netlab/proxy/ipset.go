package proxy

import (
	"slices"
	"strings"
)

// ipset is one of kube-proxy's sets of addresses and ports. There is one of
// each family, and name is that of IPv4.
type ipset struct {
	name, kind, comment string
}

const (
	hashIP        = "hash:ip"
	hashIPPort    = "hash:ip,port"
	hashIPPortIP  = "hash:ip,port,ip"
	hashIPPortNet = "hash:ip,port,net"
	bitmapPort    = "bitmap:port"
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

// findSet is the set of that name in a family; false if the name is another's.
func (six family) findSet(name string) (ipset, bool) {
	i := slices.IndexFunc(ipsets, func(s ipset) bool { return six.set(s.name) == name })
	if i < 0 {
		return ipset{}, false
	}
	return ipsets[i], true
}

// set is the name of a set in the family: the kernel has one space of names for
// both, and 31 characters for each.
func (six family) set(name string) string {
	if !six {
		return name
	}
	name = strings.Replace(name, "KUBE-", "KUBE-6-", 1)
	return name[:min(len(name), 31)]
}

// create is the command line that makes a set.
func (six family) create(s ipset) string {
	line := "ipset create " + six.set(s.name) + " " + s.kind
	if s.kind == bitmapPort {
		return line + " range 0-65535" // ports have no family
	}
	return line + " family " + six.word("inet", "inet6")
}
