package cluster

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/policy"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/topology"
	"github.com/klab-project/klab/netlab/trace"
)

// world is what the API says of the network, for the prediction of packets'
// ways. It is made once.
func (k *knownNames) world(lab *topology.Lab) *trace.World {
	k.worldOnce.Do(func() { k.worldNow = k.newWorld(lab) })
	return k.worldNow
}

func (k *knownNames) newWorld(lab *topology.Lab) *trace.World {
	w := &trace.World{Network: lab.Pods, Underlay: lab.Underlay, Outside: lab.Outside,
		Gateway: lab.GatewayIP(), Control: lab.ControlIP(), Client: lab.ClientIP()}
	k.fill(w, false)
	if client := lab.ClientIP6(); client.IsValid() {
		w.Six = &trace.World{Network: topology.Pods6, Underlay: topology.Underlay6, Outside: topology.Outside6,
			Gateway: topology.Gateway6(), Control: topology.Control6(), Client: client}
		k.fill(w.Six, true)
	}
	return w
}

// fill adds what the API says of one family of addresses.
func (k *knownNames) fill(w *trace.World, six bool) {
	w.Nodes = k.worldNodes(w, serviceRanges(k.ranges, six), six)
	for _, svc := range k.services {
		if s := proxied(svc, six); s != nil {
			w.Services.Services = append(w.Services.Services, *s)
		}
	}
	for _, e := range k.slices {
		if s := proxiedSlice(e, six); s != nil {
			w.Services.Slices = append(w.Services.Slices, *s)
		}
	}
	for _, p := range k.policies {
		w.Policies.Policies = append(w.Policies.Policies, policed(p))
	}
	for _, ns := range k.namespaces {
		w.Policies.Namespaces = append(w.Policies.Namespaces, policy.Namespace{Name: ns.Name, Labels: ns.Labels})
	}
	for _, n := range k.nodes {
		w.Policies.Nodes = append(w.Policies.Nodes, policy.Node{Name: n.Name, IPs: ownAddrs(n)})
	}
	for _, pod := range k.pods {
		if finished(pod) {
			continue
		}
		w.Policies.Pods = append(w.Policies.Pods, policedPod(pod))
		w.HostPorts = append(w.HostPorts, hostPortsOf(pod, six)...)
	}
}

// worldNodes are the nodes with their leases. Where two claim a subnet, the one
// that has it is first.
func (k *knownNames) worldNodes(w *trace.World, services []netip.Prefix, six bool) (list []trace.WorldNode) {
	var leases []overlay.Lease
	for _, n := range k.nodes {
		lease := leaseOf(n)
		if six {
			lease, _ = lease.Six()
		}
		leases = append(leases, lease)
	}
	good, _ := overlay.Judge(leases, w.Network, w.Underlay)
	for i, n := range k.nodes {
		ip := firstOf(nodeIPs(n), six)
		if !ip.IsValid() {
			continue
		}
		lease := leases[i]
		list = append(list, trace.WorldNode{
			Node: proxy.Node{Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone], IP: ip, Pods: w.Network, Services: services},
			Mode: proxyModeOf(n), Backend: cmp.Or(lease.BackendType, overlay.Types[0]), Subnet: lease.Subnet})
	}
	isGood := func(n trace.WorldNode) bool {
		return slices.ContainsFunc(good, func(l overlay.Lease) bool { return l.Node == n.Name })
	}
	slices.SortStableFunc(list, func(a, b trace.WorldNode) int {
		return cmp.Compare(map[bool]int{true: 0, false: 1}[isGood(a)], map[bool]int{true: 0, false: 1}[isGood(b)])
	})
	return list
}

// firstOf is the first of several addresses that is of a family; not valid if
// none is.
func firstOf(addresses []string, six bool) netip.Addr {
	for _, text := range addresses {
		if a, ok := addrOf(text, six); ok {
			return a
		}
	}
	return netip.Addr{}
}

// proxyModeOf is the mode that a node's kube-proxy says it has.
func proxyModeOf(n *corev1.Node) proxy.Mode {
	var s ProxyStatus
	_ = json.Unmarshal([]byte(n.Annotations[proxyIs]), &s) // none yet: as without a choice
	return cmp.Or(proxy.Mode(s.Mode), proxy.IPTables)
}

// hostPortsOf are the ports of its node that are a pod's.
func hostPortsOf(pod *corev1.Pod, six bool) (list []trace.HostPort) {
	ip := firstOf(podIPs(pod), six)
	if !ip.IsValid() || pod.Spec.HostNetwork {
		return nil
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			host, _ := netip.ParseAddr(p.HostIP) // none: all of the node's
			if host.IsValid() && host.Is6() != six {
				continue
			}
			if host.IsUnspecified() {
				host = netip.Addr{}
			}
			list = append(list, trace.HostPort{Node: pod.Spec.NodeName, Protocol: string(cmp.Or(p.Protocol, corev1.ProtocolTCP)),
				At: netip.AddrPortFrom(host, uint16(p.HostPort)), To: netip.AddrPortFrom(ip, uint16(p.ContainerPort))})
		}
	}
	return list
}
