package proxy

import (
	"fmt"
	"net/netip"
	"strings"
)

// portRules is the way of packets to one port of a Service.
type portRules struct {
	*writer
	id   portID
	svc  *Service
	port Port
	choice
	internal, external bool // there are endpoints for packets from inside, outside
}

// port returns the rules of one port of a Service, as they are known if nothing
// has changed.
func (w *writer) port(svc *Service, p Port) written {
	id := portID{svc.Namespace, svc.Name, p.Name, p.Protocol}
	now := written{svc: svc, port: p, backends: w.backends[id]}
	was, known := w.known[id]
	if !known || !was.same(now) {
		now.nat, now.filter = fixed{}, fixed{}
		w.written = now
		w.write(id, svc, p)
		was = w.written
	}
	w.wrote[id] = was
	return was
}

func (w *writer) write(id portID, svc *Service, p Port) {
	r := &portRules{writer: w, id: id, svc: svc, port: p, choice: choose(w.backends[id], svc, p, w.node)}
	r.internal = r.any && (!svc.InternalLocal || len(r.local) > 0)
	r.external = r.any && (!svc.ExternalLocal || len(r.local) > 0)
	r.captureInternal()
	r.captureExternal()
	r.captureNodePort()
	if r.any && svc.externallyAccessible(p) {
		r.externalChain()
		r.firewallChain()
	}
	if svc.usesCluster(p) {
		r.policyChain(r.id.chain(clusterPrefix, ""), r.cluster, !svc.InternalLocal)
	}
	if svc.usesLocal(p) {
		r.policyChain(r.id.chain(localPrefix, ""), r.local, svc.InternalLocal)
	}
	for _, b := range r.reached {
		r.endpointChain(b)
	}
}

// turnedAway is what becomes of packets for which there is no endpoint: an
// answer if there is none anywhere, silence if there is one on another node.
func (r *portRules) turnedAway() (comment, verdict string) {
	if !r.any {
		return r.id.String() + " has no endpoints", family(r.node.IP.Is6()).reject()
	}
	return r.id.String() + " has no local endpoints", "DROP"
}

func (r *portRules) captureInternal() {
	p := r.port
	if r.internal {
		prefix := clusterPrefix
		if r.svc.InternalLocal {
			prefix = localPrefix
		}
		r.nat.add(servicesChain, to(r.svc.ClusterIP, p.Protocol, p.Port, r.id.String()+" cluster IP")+" -j "+r.id.chain(prefix, ""))
		return
	}
	comment, verdict := r.turnedAway()
	r.filter.add(servicesChain, to(r.svc.ClusterIP, p.Protocol, p.Port, comment)+" -j "+verdict)
}

func (r *portRules) captureExternal() {
	for _, addr := range r.svc.ExternalIPs {
		r.captureAddr(addr, "external IP", r.id.chain(externalPrefix, ""))
	}
	first := r.id.chain(externalPrefix, "")
	if r.guarded() {
		first = r.id.chain(firewallPrefix, "")
	}
	for _, addr := range r.svc.LoadBalancerIPs {
		r.captureAddr(addr, "loadbalancer IP", first)
		if r.guarded() {
			comment := fmt.Sprintf("%s traffic not accepted by %s", r.id, first)
			r.filter.add(proxyFirewallChain, to(addr, r.port.Protocol, r.port.Port, comment)+" -j DROP")
		}
	}
}

func (r *portRules) captureAddr(addr netip.Addr, what, chain string) {
	p := r.port
	if r.any {
		r.nat.add(servicesChain, to(addr, p.Protocol, p.Port, r.id.String()+" "+what)+" -j "+chain)
	}
	if !r.external {
		comment, verdict := r.turnedAway()
		r.filter.add(externalServicesChain, to(addr, p.Protocol, p.Port, comment)+" -j "+verdict)
	}
}

func (r *portRules) captureNodePort() {
	if n := r.port.NodePort; n != 0 {
		if r.any {
			r.nat.add(nodePortsChain, to(netip.Addr{}, r.port.Protocol, n, r.id.String())+" -j "+r.id.chain(externalPrefix, ""))
		}
		if !r.external {
			comment, verdict := r.turnedAway()
			r.filter.add(externalServicesChain, to(netip.Addr{}, r.port.Protocol, n, comment, "-m addrtype --dst-type LOCAL")+" -j "+verdict)
		}
	}
	if n := r.svc.HealthCheckNodePort; n != 0 {
		r.filter.add(nodePortsChain, to(netip.Addr{}, "TCP", n, r.id.String()+" health check node port")+" -j ACCEPT")
	}
}

// guarded: only some sources may use its load balancer.
func (r *portRules) guarded() bool {
	return r.any && len(r.svc.LoadBalancerIPs) > 0 && len(r.svc.SourceRanges) > 0
}

// externalChain leads packets from outside to endpoints. With policy Local
// those of pods and of the node itself still go to any endpoint, as if they
// had left the cluster and come back.
func (r *portRules) externalChain() {
	var rules []string
	chain, policy := r.id.chain(clusterPrefix, ""), r.id.chain(clusterPrefix, "")
	say := func(what, match, to string) {
		comment := fmt.Sprintf(`-m comment --comment "%s traffic for %s external destinations"`, what, r.id)
		rules = append(rules, strings.TrimSpace(fmt.Sprintf("%s %s", comment, match))+" -j "+to)
	}
	if r.svc.ExternalLocal {
		policy = r.id.chain(localPrefix, "")
		rules = append(rules, fmt.Sprintf(`-s %s -m comment --comment "pod traffic for %s external destinations" -j %s`, r.node.Pods, r.id, chain))
		say("masquerade LOCAL", "-m addrtype --src-type LOCAL", markMasqChain)
		say("route LOCAL", "-m addrtype --src-type LOCAL", chain)
	} else {
		say("masquerade", "", markMasqChain)
	}
	if r.external {
		rules = append(rules, "-j "+policy)
	}
	r.chain(r.id.chain(externalPrefix, ""), rules...)
}

// firewallChain lets those through who may use the load balancer.
func (r *portRules) firewallChain() {
	if !r.guarded() {
		return
	}
	var rules []string
	allow := func(source netip.Prefix) {
		rules = append(rules, fmt.Sprintf(`-s %s -m comment --comment "%s loadbalancer IP" -j %s`, source, r.id, r.id.chain(externalPrefix, "")))
	}
	node := false
	for _, source := range r.svc.SourceRanges {
		allow(source.Masked())
		node = node || source.Contains(r.node.IP)
	}
	if node { // the node's own packets may have the load balancer's address
		for _, addr := range r.svc.LoadBalancerIPs {
			allow(netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	rules = append(rules, fmt.Sprintf(`-m comment --comment "other traffic to %s will be dropped by %s"`, r.id, proxyFirewallChain))
	r.chain(r.id.chain(firewallPrefix, ""), rules...)
}

// policyChain spreads packets over endpoints; inside: those to the cluster IP
// come this way too.
func (r *portRules) policyChain(name string, list []backend, inside bool) {
	if len(list) == 0 {
		return
	}
	var rules []string
	if inside {
		rules = append(rules, fmt.Sprintf("! -s %s %s -j %s", r.node.Pods,
			to(r.svc.ClusterIP, r.port.Protocol, r.port.Port, r.id.String()+" cluster IP"), markMasqChain))
	}
	if r.svc.Affinity > 0 {
		for _, b := range list {
			chain := r.id.chain(endpointPrefix, b.at)
			rules = append(rules, r.comment(r.id.String()+" -> "+b.at)+
				fmt.Sprintf("-m recent --rcheck --seconds %d --reap --name %s --mask %s --rsource -j %s", r.svc.Affinity, chain, r.mask(), chain))
		}
	}
	for i, b := range list {
		chance := ""
		if left := len(list) - i; left > 1 {
			chance = fmt.Sprintf("-m statistic --mode random --probability %0.10f ", 1/float64(left))
		}
		rules = append(rules, r.comment(r.id.String()+" -> "+b.at)+chance+"-j "+r.id.chain(endpointPrefix, b.at))
	}
	r.chain(name, rules...)
}

// endpointChain gives packets the address of one endpoint. A packet that comes
// from there gets the node's address: its sender would not expect the answer
// from itself.
func (r *portRules) endpointChain(b backend) {
	name, recent := r.id.chain(endpointPrefix, b.at), ""
	if r.svc.Affinity > 0 {
		recent = fmt.Sprintf("-m recent --set --name %s --mask %s --rsource ", name, r.mask())
	}
	protocol, comment := strings.ToLower(r.port.Protocol), r.comment(r.id.String())
	r.chain(name,
		fmt.Sprintf("-s %s/%d %s-j %s", b.IP, b.IP.BitLen(), comment, markMasqChain),
		fmt.Sprintf("-p %s %s%s-m %s -j DNAT --to-destination %s", protocol, comment, recent, protocol, b.at))
}

// mask is that of one client.
func (r *portRules) mask() string {
	if r.node.IP.Is6() {
		return "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	}
	return "255.255.255.255"
}

// comment is left out where there are many endpoints.
func (r *portRules) comment(text string) string {
	if r.many {
		return ""
	}
	return fmt.Sprintf(`-m comment --comment "%s" `, text)
}
