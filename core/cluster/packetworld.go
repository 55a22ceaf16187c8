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
		Gateway: lab.GatewayIP(), Control: lab.ControlIP(), Client: lab.ClientIP(), Nodes: k.worldNodes(lab)}
	for _, svc := range k.services {
		if s := proxied(svc, false); s != nil {
			w.Services.Services = append(w.Services.Services, *s)
		}
	}
	for _, e := range k.slices {
		if s := proxiedSlice(e, false); s != nil {
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
		w.HostPorts = append(w.HostPorts, hostPortsOf(pod)...)
	}
	return w
}

// worldNodes are the nodes with their leases. Where two claim a subnet, the one
// that has it is first.
func (k *knownNames) worldNodes(lab *topology.Lab) (list []trace.WorldNode) {
	var leases []overlay.Lease
	for _, n := range k.nodes {
		leases = append(leases, leaseOf(n))
	}
	good, _ := overlay.Judge(leases, lab.Pods, lab.Underlay)
	for _, n := range k.nodes {
		ip, err := netip.ParseAddr(nodeIP(n))
		if err != nil {
			continue
		}
		lease := leaseOf(n)
		list = append(list, trace.WorldNode{
			Node: proxy.Node{Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone], IP: ip, Pods: lab.Pods, Services: serviceNet},
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

// proxyModeOf is the mode that a node's kube-proxy says it has.
func proxyModeOf(n *corev1.Node) proxy.Mode {
	var s ProxyStatus
	_ = json.Unmarshal([]byte(n.Annotations[proxyIs]), &s) // none yet: as without a choice
	return cmp.Or(proxy.Mode(s.Mode), proxy.IPTables)
}

// hostPortsOf are the ports of its node that are a pod's.
func hostPortsOf(pod *corev1.Pod) (list []trace.HostPort) {
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || pod.Spec.HostNetwork {
		return nil
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			host, _ := netip.ParseAddr(p.HostIP) // none: all of the node's
			if host.IsUnspecified() {
				host = netip.Addr{}
			}
			list = append(list, trace.HostPort{Node: pod.Spec.NodeName, Protocol: string(cmp.Or(p.Protocol, corev1.ProtocolTCP)),
				At: netip.AddrPortFrom(host, uint16(p.HostPort)), To: netip.AddrPortFrom(ip, uint16(p.ContainerPort))})
		}
	}
	return list
}
