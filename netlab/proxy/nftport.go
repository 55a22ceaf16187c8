package proxy

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// nftPort is the way of packets to one port of a Service.
type nftPort struct {
	*nftWriter
	id   portID
	svc  *Service
	port Port
	choice
	internal, external bool // there are endpoints for packets from inside, outside
}

// nftChain names a chain of a port in full, behind a hash by which similar
// names can be told apart.
func (id portID) nftChain(prefix string) string { return prefix + hashed(id.path()) }

// nftEndpoint names a chain or set of one endpoint of a port.
func (id portID) nftEndpoint(prefix string, b backend) string {
	ip := strings.ReplaceAll(b.IP.String(), ":", ".") // which no name may have
	return prefix + hashed(fmt.Sprintf("%s__%s/%d", id.path(), ip, b.to.Port()))
}

func (id portID) path() string {
	return fmt.Sprintf("%s/%s/%s/%s", id.namespace, id.service, strings.ToLower(id.protocol), id.name)
}

func hashed(name string) string {
	const longest = 240
	sum := sha256.Sum256([]byte(name))
	name = base32.StdEncoding.EncodeToString(sum[:])[:8] + "-" + name
	if len(name) > longest {
		name = name[:longest-3] + "..."
	}
	return name
}

// port writes what there is for one port of a Service.
func (w *nftWriter) port(svc *Service, p Port) {
	id := portID{svc.Namespace, svc.Name, p.Name, p.Protocol}
	r := &nftPort{nftWriter: w, id: id, svc: svc, port: p, choice: choose(w.backends[id], svc, p, w.node)}
	r.internal = r.any && (!svc.InternalLocal || len(r.local) > 0)
	r.external = r.any && (!svc.ExternalLocal || len(r.local) > 0)
	for _, b := range r.reached {
		if b.Node == w.node.Name && w.node.Name != "" {
			w.elem("hairpin-connections", fmt.Sprintf("%s . %s", b.IP, nftService(b.IP, p, int(b.to.Port()))), "", "")
		}
	}
	r.captureInternal()
	for _, addr := range svc.ExternalIPs {
		r.captureExternal("service-ips", "no-endpoint-services", nftService(addr, p, p.Port))
	}
	r.captureLoadBalancer()
	if p.NodePort != 0 {
		r.captureExternal("service-nodeports", "no-endpoint-nodeports", nftNodePort(p))
	}
	if r.any && svc.externallyAccessible(p) {
		r.externalChain()
	}
	if svc.usesCluster(p) {
		r.policyChain(id.nftChain(nftCluster), r.cluster)
	}
	if svc.usesLocal(p) {
		r.policyChain(id.nftChain(nftLocal), r.local)
	}
	if svc.Affinity > 0 {
		r.endpointChains()
	}
}

// The chains of ports begin with these, as those of the mode iptables have
// theirs.
const (
	nftCluster  = "service-"
	nftLocal    = "local-"
	nftExternal = "external-"
	nftFirewall = "firewall-"
	nftEndpoint = "endpoint-"
	nftAffinity = "affinity-"
)

// turnedAway is what becomes of packets for which there is no endpoint.
func (r *nftPort) turnedAway() string {
	if !r.any {
		return "goto reject-chain"
	}
	return "drop"
}

func (r *nftPort) captureInternal() {
	r.elem("cluster-ips", r.svc.ClusterIP.String(), "", "")
	key := nftService(r.svc.ClusterIP, r.port, r.port.Port)
	if !r.internal {
		r.elem("no-endpoint-services", key, r.turnedAway(), r.id.String())
		return
	}
	prefix := nftCluster
	if r.svc.InternalLocal {
		prefix = nftLocal
	}
	r.elem("service-ips", key, "goto "+r.id.nftChain(prefix), "")
}

func (r *nftPort) captureExternal(service, nowhere, key string) {
	if r.any {
		r.elem(service, key, "goto "+r.id.nftChain(nftExternal), "")
	}
	if !r.external {
		r.elem(nowhere, key, r.turnedAway(), r.id.String())
	}
}

func (r *nftPort) captureLoadBalancer() {
	for _, addr := range r.svc.LoadBalancerIPs {
		key := nftService(addr, r.port, r.port.Port)
		r.captureExternal("service-ips", "no-endpoint-services", key)
		if len(r.svc.SourceRanges) > 0 {
			r.elem("firewall-ips", key, "goto "+r.id.nftChain(nftFirewall), "")
		}
	}
	if len(r.svc.LoadBalancerIPs) == 0 || len(r.svc.SourceRanges) == 0 {
		return
	}
	var sources []string
	node := false
	for _, source := range r.svc.SourceRanges {
		sources = append(sources, source.Masked().String())
		node = node || source.Contains(r.node.IP)
	}
	if node { // the node's own packets may have the load balancer's address
		for _, addr := range r.svc.LoadBalancerIPs {
			sources = append(sources, addr.String())
		}
	}
	r.add(r.id.nftChain(nftFirewall), fmt.Sprintf("%s saddr != { %s } drop", r.ip, strings.Join(sources, " , ")))
}

// externalChain leads packets from outside to endpoints. With policy Local
// those of pods and of the node itself still go to any endpoint.
func (r *nftPort) externalChain() {
	name, policy := r.id.nftChain(nftExternal), r.id.nftChain(nftCluster)
	if r.svc.ExternalLocal {
		all := policy
		policy = r.id.nftChain(nftLocal)
		if len(r.cluster) > 0 {
			r.add(name, fmt.Sprintf(`%s saddr %s goto %s comment "short-circuit pod traffic"`, r.ip, r.node.Pods, all))
		}
		r.add(name, "fib saddr type local "+nftMasquerade+` comment "masquerade local traffic"`)
		if len(r.cluster) > 0 {
			r.add(name, "fib saddr type local goto "+all+` comment "short-circuit local traffic"`)
		}
	} else {
		r.add(name, nftMasquerade+` comment "masquerade"`)
	}
	if r.external {
		r.add(name, "goto "+policy)
	}
}

// policyChain spreads packets over endpoints: one rule picks one by chance. If
// clients are to keep theirs, it first asks each endpoint's set of clients.
func (r *nftPort) policyChain(name string, list []backend) {
	if len(list) == 0 {
		return
	}
	protocol := strings.ToLower(r.port.Protocol)
	var picks []string
	for i, b := range list {
		pick := fmt.Sprintf("%d : %s . %d", i, b.IP, b.to.Port())
		if r.svc.Affinity > 0 {
			chain := r.id.nftEndpoint(nftEndpoint, b)
			r.add(name, fmt.Sprintf("%s saddr @%s goto %s", r.ip, r.id.nftEndpoint(nftAffinity, b), chain))
			pick = fmt.Sprintf("%d : goto %s", i, chain)
		}
		picks = append(picks, pick)
	}
	all := strings.Join(picks, " , ")
	switch {
	case r.svc.Affinity > 0:
		r.add(name, fmt.Sprintf("numgen random mod %d vmap { %s }", len(list), all))
	case len(list) == 1:
		r.add(name, fmt.Sprintf("meta l4proto %s dnat to %s", protocol, list[0].at))
	default:
		r.add(name, fmt.Sprintf("meta l4proto %s dnat %s addr . port to numgen random mod %d map { %s }", protocol, r.ip, len(list), all))
	}
}

// endpointChains remember their clients.
func (r *nftPort) endpointChains() {
	for _, b := range r.reached {
		set, chain := r.id.nftEndpoint(nftAffinity, b), r.id.nftEndpoint(nftEndpoint, b)
		s := r.newSet("set", set, r.addr, "")
		s.spec += fmt.Sprintf(" flags dynamic,timeout ; timeout %ds ;", r.svc.Affinity)
		s.dynamic = true
		r.add(chain,
			fmt.Sprintf("update @%s { %s saddr }", set, r.ip),
			fmt.Sprintf("meta l4proto %s dnat to %s", strings.ToLower(r.port.Protocol), b.at))
	}
}
