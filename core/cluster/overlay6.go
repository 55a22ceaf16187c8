package cluster

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/apiserver"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/topology"
)

// overlayNode is this node as its overlay knows it.
func (a *agent) overlayNode() (overlay.Node, error) {
	config, err := a.LoadConfig()
	node := overlay.Node{Name: a.name, MTU: underlayMTU, Place: overlay.Place{
		IP: nodeAddr(a.number), Subnet: nodePodNet(a.number), Network: podNet, Underlay: underlayNet, Gateway: gatewayAddr,
	}}
	if config.DualStack {
		node.Six = overlay.Place{Network: topology.Pods6, Underlay: topology.Underlay6, Gateway: topology.Gateway6()}
		node.Six.IP, node.Six.Subnet = topology.Addrs6(a.number)
	}
	return node, err
}

// podNet6 is the network of pods' IPv6 addresses; invalid if they have none.
func (c Config) podNet6() netip.Prefix {
	if c.DualStack {
		return topology.Pods6
	}
	return netip.Prefix{}
}

// tellCarrier says what carries IPv6 where the backend does not.
func (f *flannel) tellCarrier(ctx context.Context, own *corev1.Node, kind string) {
	if by := overlay.Carrier6(kind); f.six.IsValid() && by != kind && own != nil {
		f.loop.Events.Eventf(ctx, own, corev1.EventTypeNormal, "BackendIPv4Only",
			"The overlay backend %s carries IPv4 only, as flannel's does: IPv6 packets to other nodes' pods go by routes, as %s makes them.", kind, by)
	}
}

// networks are those that Services cannot have.
func (c Config) networks() []apiserver.Network {
	list := []apiserver.Network{{Prefix: podNet, Of: "pods"}, {Prefix: underlayNet, Of: "nodes"}}
	if c.DualStack {
		list = append(list, apiserver.Network{Prefix: topology.Pods6, Of: "pods"}, apiserver.Network{Prefix: topology.Underlay6, Of: "nodes"})
	}
	return list
}
