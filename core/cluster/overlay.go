package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/overlay"
)

// overlayActor is the control loop that leads packets to other nodes' pods.
const overlayActor = "flannel"

// allPeers is its only key: the entries for all peers are brought about together.
const allPeers = "peers"

// flannel is a node's part in the overlay: it publishes the node's subnet
// lease, reads those of others, and changes the backend when the ConfigMap
// kube-flannel-cfg says so. (flannel's pkg/subnet/kube.)
type flannel struct {
	a        *agent
	loop     *controller.Loop
	nodes    cache.Store
	settings cache.Store

	m       *overlay.Manager
	six     netip.Prefix // the network of pods' IPv6 addresses, if they have any
	failed  string       // a backend that could not be used
	refused string       // a configuration that was refused
	told    map[overlay.Conflict]bool
}

// syncOverlay keeps this node's overlay as the cluster wants it.
func (a *agent) syncOverlay(ctx context.Context) error {
	f := &flannel{a: a, told: map[overlay.Conflict]bool{}}
	err := controller.Run(ctx, controller.Options{
		Config: func(actor string) *rest.Config {
			c := rest.CopyConfig(a.rest)
			c.UserAgent = actor + "/klab"
			return c
		},
		Controllers: []controller.Controller{{Name: overlayActor, Resource: "nodes", Quiet: true, New: f.begin}},
	})
	if f.m != nil {
		err = errors.Join(err, f.m.Close())
	}
	return err
}

func (f *flannel) begin(l *controller.Loop) (controller.Reconcile, error) {
	f.loop = l
	if f.m == nil { // it outlives the loop: it has a forwarder, or sessions
		node, err := f.a.overlayNode()
		if err != nil {
			return nil, err
		}
		f.six = node.Six.Network
		f.m = overlay.NewManager(node, f.a.own, overlay.Steps(overlay.Kernel{Net: f.a.own}, overlayActor, f.a.name), func() { f.again() })
	}
	nodes := l.Informers.Core().V1().Nodes().Informer()
	settings := l.Named(flannelConfig).Core().V1().ConfigMaps().Informer()
	f.nodes, f.settings = nodes.GetStore(), settings.GetStore()
	err := errors.Join(
		controller.Watch(l, nodes, func(old, cur *corev1.Node) {
			if old == nil || cur == nil || leaseOf(old) != leaseOf(cur) {
				l.Add(allPeers, 0)
			}
		}),
		controller.Watch(l, settings, func(_, cur *corev1.ConfigMap) {
			if cur != nil {
				l.Add(allPeers, 0)
			}
		}))
	l.Go(f.watchLinks)
	l.Go(f.count)
	return func(ctx context.Context, _ string) error {
		defer f.a.seen.look(ctx)
		return f.reconcile(ctx)
	}, err
}

func (f *flannel) again() { f.loop.Add(allPeers, 0) }

// watchLinks sees to it that what the kernel dropped with a link comes back
// with it.
func (f *flannel) watchLinks(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.a.own.WatchLinks(ctx, func(name string) {
			if slices.Contains(f.m.Links(), name) {
				f.again()
			}
		})
		if ctx.Err() == nil {
			f.loop.Log.Info("look at all links again", "error", err)
			f.again()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// leaseOf is the lease of a Node; one that cannot be read has no subnet.
func leaseOf(n *corev1.Node) overlay.Lease {
	l, err := overlay.LeaseOf(n.Name, n.Spec.PodCIDRs, n.CreationTimestamp.Time, n.Annotations)
	if err != nil {
		return overlay.Lease{Node: n.Name}
	}
	return l
}

func (f *flannel) reconcile(ctx context.Context) error {
	own, _ := f.node(f.a.name)
	if err := f.choose(ctx, own); err != nil {
		return err
	}
	var errs []error
	if own != nil {
		errs = append(errs, f.publish(ctx, own))
	}
	var leases []overlay.Lease
	for _, obj := range f.nodes.List() {
		if l := leaseOf(obj.(*corev1.Node)); l.Subnet.IsValid() {
			leases = append(leases, l)
		}
	}
	conflicts, err := f.m.Sync(ctx, leases)
	f.tell(ctx, conflicts)
	if errors.Is(err, overlay.ErrNoLink) {
		err = nil // the link wakes us when it is back
	}
	return errors.Join(append(errs, err)...)
}

func (f *flannel) node(name string) (*corev1.Node, bool) {
	obj, ok, _ := f.nodes.GetByKey(name)
	if !ok {
		return nil, false
	}
	return obj.(*corev1.Node), true
}

// choose makes the backend that which is configured, if that is another one
// and can be used.
func (f *flannel) choose(ctx context.Context, own *corev1.Node) error {
	want, was := f.wanted(ctx), ""
	if own != nil {
		was = own.Annotations[overlay.BackendTypeKey]
	}
	if want == "" {
		want = f.m.Type()
	}
	if want == "" && slices.Contains(overlay.Types, was) {
		want = was
	}
	if want == "" {
		want = overlay.Types[0]
	}
	if want == f.m.Type() || f.failed != "" && f.failed == want {
		return nil
	}
	err := f.m.Use(ctx, want, was)
	if err == nil {
		f.failed = ""
		if was != want {
			f.tellCarrier(ctx, own, want)
		}
		return f.a.writeConflist(want)
	}
	if ctx.Err() != nil {
		return err
	}
	instead := f.m.Type()
	if instead == "" { // of a node that has none yet: this one needs nothing of the kernel
		instead = overlay.HostGW
		if err := errors.Join(f.m.Use(ctx, instead, was), f.a.writeConflist(instead)); err != nil {
			return err
		}
	}
	f.failed = want
	if own != nil {
		f.loop.Events.Eventf(ctx, own, corev1.EventTypeWarning, "BackendFailed",
			"The overlay backend %s cannot be used here: %v. This node uses %s until another one is chosen.", want, err, instead)
	}
	return nil
}

// publish writes the node's lease into its annotations, if something else is there.
func (f *flannel) publish(ctx context.Context, own *corev1.Node) error {
	want, differs := f.m.Lease().Annotations(), false
	for key, value := range want {
		differs = differs || own.Annotations[key] != value
	}
	if differs {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": want}})
		if err != nil {
			return err
		}
		if _, err := f.loop.Client.CoreV1().Nodes().Patch(ctx, own.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return f.available(ctx, own)
}

// available says that the node's network is there, as flannel does.
func (f *flannel) available(ctx context.Context, own *corev1.Node) error {
	for _, c := range own.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionFalse {
			return nil
		}
	}
	now := metav1.NewTime(f.loop.Clock.Now())
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{{
		Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse,
		Reason: "FlannelIsUp", Message: "Flannel is running on this node",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}}}})
	if err != nil {
		return err
	}
	_, err = f.loop.Client.CoreV1().Nodes().Patch(ctx, own.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// tell records an event on each Node whose lease is not honoured, once: the
// node that is right does, or the first of all.
func (f *flannel) tell(ctx context.Context, conflicts []overlay.Conflict) {
	now := map[overlay.Conflict]bool{}
	for _, c := range conflicts {
		now[c] = true
		teller := c.With
		if teller == "" {
			teller = f.first()
		}
		if n, ok := f.node(c.Node); ok && teller == f.a.name && !f.told[c] {
			f.loop.Events.Eventf(ctx, n, corev1.EventTypeWarning, "CIDRConflict", "Node %s has no part in the pod network: %s", c.Node, c.Says)
		}
	}
	f.told = now
}

// first is the node that tells what each of them could: the first by name of
// those that have a lease.
func (f *flannel) first() string {
	name := f.a.name
	for _, obj := range f.nodes.List() {
		if l := leaseOf(obj.(*corev1.Node)); l.PublicIP.IsValid() {
			name = min(name, l.Node)
		}
	}
	return name
}

// writeConflist has new pods attached as a backend wants it: routed under bgp,
// to the bridge under all others. Pods that are there stay as they are.
func (a *agent) writeConflist(backend string) error {
	node, err := a.nodeConfig()
	if err != nil {
		return err
	}
	node.Routed = backend == overlay.BGP
	return cni.SwitchConflist(a.cniPlaces()[cniConfDir], node)
}
