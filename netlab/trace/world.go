package trace

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/policy"
	"github.com/klab-project/klab/netlab/proxy"
)

// World is what the API's objects, and the lab's own addresses, say of the
// network: from it follows what should become of a packet.
type World struct {
	Nodes    []WorldNode
	Services proxy.State
	Policies policy.Snapshot // it has all pods, also without any policy
	// HostPorts are ports of nodes that are pods', or single containers'.
	HostPorts []HostPort
	Singles   []Single

	// All of what follows, and the addresses of Nodes, Services, HostPorts and Singles, are
	// of IPv4.
	Network  netip.Prefix // of all pods
	Underlay netip.Prefix // of the nodes
	Outside  netip.Prefix // behind the gateway
	Gateway  netip.Addr   // in the underlay
	Control  netip.Addr   // the control plane's, there
	Client   netip.Addr   // somebody outside

	// Six is the same of IPv6; nil: there is none.
	Six *World
}

// of is the world of an address's family.
func (w *World) of(a netip.Addr) *World {
	if w != nil && a.Is6() {
		return w.Six
	}
	return w
}

// WorldNode is a node with what it is to do with packets.
type WorldNode struct {
	proxy.Node
	Mode    proxy.Mode
	Backend string       // of the overlay: "vxlan"
	Subnet  netip.Prefix // of its pods; not valid: it has none yet
}

// HostPort leads packets to a port of a node to a pod. At has no address if all
// of the node's are meant.
type HostPort struct {
	Node     string
	Protocol string // "TCP"
	At, To   netip.AddrPort
}

// The lab's own namespaces and links, by the names that they have.
const (
	spaceUnderlay, spaceGateway, spaceOutside, spaceControl = "underlay", "gateway", "outside", "control"

	uplink, podLink, podBridge = "eth0", "eth0", "cni0"
)

// The overlay's backends whose ways are special, and the links of those that
// wrap packets.
const backendVXLAN, backendUDP, backendBGP = "vxlan", "udp", "bgp"

func tunnel(backend string, six bool) string {
	if six && backend == backendVXLAN {
		return "flannel-v6.1"
	}
	return map[string]string{backendVXLAN: "flannel.1", backendUDP: "flannel0"}[backend]
}

// Whom pods without a bridge send everything to.
const routedGateway, routedGateway6 = "169.254.1.1", "fe80::ecee:eeff:feee:eeee"

func (w *World) node(name string) *WorldNode {
	i := slices.IndexFunc(w.Nodes, func(n WorldNode) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return &w.Nodes[i]
}

// pod is the one that has an address of its own.
func (w *World) pod(a netip.Addr) *policy.Pod {
	i := slices.IndexFunc(w.Policies.Pods, func(p policy.Pod) bool { return !p.HostNetwork && slices.Contains(p.IPs, a) })
	if i < 0 {
		return nil
	}
	return &w.Policies.Pods[i]
}

// podAt is the pod that a space is.
func (w *World) podAt(space string) *policy.Pod {
	name, ok := strings.CutPrefix(space, "pod/")
	i := slices.IndexFunc(w.Policies.Pods, func(p policy.Pod) bool { return ok && !p.HostNetwork && p.String() == name })
	if i < 0 {
		return nil
	}
	return &w.Policies.Pods[i]
}

func podSpace(p *policy.Pod) string { return "pod/" + p.String() }

// owner is the space of the underlay that has an address there.
func (w *World) owner(a netip.Addr) string {
	for _, n := range w.Nodes {
		if n.IP == a {
			return n.Name
		}
	}
	return map[netip.Addr]string{w.Gateway: spaceGateway, w.Control: spaceControl}[a]
}

// subnetOf is the node whose pods have an address, also if none has that one.
func (w *World) subnetOf(a netip.Addr) *WorldNode {
	i := slices.IndexFunc(w.Nodes, func(n WorldNode) bool { return n.Subnet.IsValid() && n.Subnet.Contains(a) })
	if i < 0 {
		return nil
	}
	return &w.Nodes[i]
}

// own tells whether an address is a node's own: its uplink's, its tunnel's, its
// bridge's.
func (n *WorldNode) own(a netip.Addr) bool {
	if a == n.IP || a.IsLoopback() || slices.Contains(n.Others, a) {
		return true
	}
	return n.Subnet.IsValid() && (a == n.bridge() && n.Backend != backendBGP || a == n.Subnet.Addr() && n.Backend == backendVXLAN)
}

// bridge is the address that a node's pods send to what is for others.
func (n *WorldNode) bridge() netip.Addr { return n.Subnet.Addr().Next() }

// balanced are the nodes that the load balancer may give packets to an address;
// ok tells whether it is one of its own.
func (w *World) balanced(a netip.Addr) (nodes []string, ok bool) {
	for _, s := range w.Services.Services {
		if !slices.Contains(s.LoadBalancerIPs, a) {
			continue
		}
		ok = true
		for _, n := range w.Nodes {
			if !s.ExternalLocal || w.serves(&s, n.Name) {
				nodes = append(nodes, n.Name)
			}
		}
	}
	return nodes, ok
}

// serves tells whether a node has an endpoint of a Service.
func (w *World) serves(s *proxy.Service, node string) bool {
	return slices.ContainsFunc(w.Services.Slices, func(slice proxy.Slice) bool {
		return slice.Namespace == s.Namespace && slice.Service == s.Name && slices.ContainsFunc(slice.Endpoints, func(e proxy.Endpoint) bool {
			return e.Node == node && (e.Ready || e.Serving && e.Terminating)
		})
	})
}
