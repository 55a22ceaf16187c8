package cluster

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/topology"
)

// sync6 leads this node's IPv6 packets to the pods of other nodes, in a
// cluster with both families. Whatever carries those of IPv4, these go by
// routes, as host-gw makes them: the wrapping is the same lesson twice.
func (f *flannel) sync6(ctx context.Context) error {
	config, err := f.a.LoadConfig()
	if err != nil || !config.DualStack {
		return err
	}
	own, _ := topology.Addrs6(f.a.number)
	var peers []overlay.Peer
	for _, obj := range f.nodes.List() {
		if p := peer6(obj.(*corev1.Node)); p.Node != f.a.name && p.IP.IsValid() && p.Subnet.IsValid() {
			peers = append(peers, p)
		}
	}
	routes := overlay.Gateway{IP: own, Network: topology.Pods6}
	_, err = overlay.Sync(ctx, f.a.own, routes, f.m.Hands, peers, nil)
	return err
}

// peer6 is what others need to know of a node's IPv6; incomplete while it is new.
func peer6(n *corev1.Node) overlay.Peer {
	p := overlay.Peer{Node: n.Name}
	for _, cidr := range n.Spec.PodCIDRs {
		if subnet, err := netip.ParsePrefix(cidr); err == nil && subnet.Addr().Is6() {
			p.Subnet = subnet
		}
	}
	for _, addr := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(addr.Address); err == nil && addr.Type == corev1.NodeInternalIP && ip.Is6() {
			p.IP = ip
		}
	}
	return p
}
