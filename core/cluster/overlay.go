package cluster

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/overlay"
)

// overlayActor is the control loop that leads packets to other nodes' pods.
const overlayActor = "flannel"

// allPeers is its only key: the entries for all peers are brought about together.
const allPeers = "peers"

// syncOverlay keeps this node's tunnel endpoint leading to all other nodes.
func (a *agent) syncOverlay(ctx context.Context) error {
	own := a.own
	vtep := overlay.VTEP{IP: nodeAddr(a.number), Subnet: nodePodNet(a.number), MTU: underlayMTU - vxlanOverhead}
	if err := vtep.Up(ctx, own); err != nil {
		return err
	}
	return controller.Run(ctx, controller.Options{
		Config: func(actor string) *rest.Config {
			c := rest.CopyConfig(a.rest)
			c.UserAgent = actor + "/klab"
			return c
		},
		Controllers: []controller.Controller{{
			Name: overlayActor, Resource: "nodes", Quiet: true,
			New: func(l *controller.Loop) (controller.Reconcile, error) { return a.overlayLoop(l, own, vtep) },
		}},
	})
}

func (a *agent) overlayLoop(l *controller.Loop, own *link.Net, vtep overlay.VTEP) (controller.Reconcile, error) {
	nodes := l.Informers.Core().V1().Nodes()
	err := controller.Watch(l, nodes.Informer(), func(old, cur *corev1.Node) {
		if old == nil || cur == nil || peerOf(old) != peerOf(cur) {
			l.Add(allPeers, 0)
		}
	})
	hands := overlay.Steps(vtep, overlayActor, a.name)
	return func(ctx context.Context, _ string) error {
		var peers []overlay.Peer
		for _, obj := range nodes.Informer().GetStore().List() {
			if p := peerOf(obj.(*corev1.Node)); p.Node != a.name && p.IP.IsValid() && p.Subnet.IsValid() {
				peers = append(peers, p)
			}
		}
		defer a.seen.look(ctx)
		return vtep.Sync(ctx, own, hands, peers)
	}, err
}

// peerOf is what others need to know of a node; incomplete while it is new.
func peerOf(n *corev1.Node) overlay.Peer {
	p := overlay.Peer{Node: n.Name}
	p.Subnet, _ = netip.ParsePrefix(n.Spec.PodCIDR)
	for _, addr := range n.Status.Addresses {
		if addr.Type == corev1.NodeInternalIP {
			p.IP, _ = netip.ParseAddr(addr.Address)
		}
	}
	return p
}
