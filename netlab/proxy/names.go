package proxy

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// The chains that every node has.
const (
	servicesChain         = "KUBE-SERVICES"
	externalServicesChain = "KUBE-EXTERNAL-SERVICES"
	nodePortsChain        = "KUBE-NODEPORTS"
	postroutingChain      = "KUBE-POSTROUTING"
	markMasqChain         = "KUBE-MARK-MASQ"
	forwardChain          = "KUBE-FORWARD"
	proxyFirewallChain    = "KUBE-PROXY-FIREWALL"
	kubeletFirewallChain  = "KUBE-FIREWALL"
)

// The chains of ports begin with these: cluster and local policy, packets from
// outside, who may use a load balancer, and one endpoint.
const (
	clusterPrefix  = "KUBE-SVC-"
	localPrefix    = "KUBE-SVL-"
	externalPrefix = "KUBE-EXT-"
	firewallPrefix = "KUBE-FW-"
	endpointPrefix = "KUBE-SEP-"
)

// chain names a chain of a port, or of one of its endpoints: names of chains
// have 28 characters at most, so a hash stands for the rest.
func (id portID) chain(prefix, endpoint string) string {
	sum := sha256.Sum256([]byte(id.String() + strings.ToLower(id.protocol) + endpoint))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:16]
}
