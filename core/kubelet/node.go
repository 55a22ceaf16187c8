package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/klab-project/klab/core/kubelet/eviction"
)

// Intervals of the node's own words, on the lab clock. ("Node Status",
// "Heartbeats"; the Lease's length is in lease.go.)
const (
	statusCheck  = 10 * time.Second // how often the node looks whether its status changed
	statusAnyway = 5 * time.Minute  // how often it is written even so
)

// node is the Node object of this kubelet and what it is made from.
type node struct {
	k        *Kubelet
	machine  machine
	capacity corev1.ResourceList

	mu      sync.Mutex
	object  *corev1.Node // as the API has it
	written time.Duration
	news    chan struct{}                // there are other devices
	dropped map[corev1.ResourceName]bool // resources whose plugins went for good
}

func newNode(ctx context.Context, k *Kubelet) (*node, error) {
	m, err := readMachine(k.Root)
	if err != nil {
		return nil, fmt.Errorf("read what the machine has: %w", err)
	}
	if version, err := k.Runtime.Version(ctx); err == nil {
		m.runtime = version.GetRuntimeName() + "://" + version.GetRuntimeVersion()
	} else {
		return nil, fmt.Errorf("the container runtime does not answer: %w", err)
	}
	n := &node{k: k, machine: m, capacity: m.capacity(), news: make(chan struct{}, 1), dropped: map[corev1.ResourceName]bool{}}
	maps.Copy(n.capacity, k.Capacity)
	return n, nil
}

func (n *node) memory() int64 { return n.capacity.Memory().Value() }

// unreserved is what pods have together: the capacity less what is reserved.
func (n *node) unreserved() corev1.ResourceList {
	return lessen(n.capacity, n.k.Reserved, n.k.Resources.KubeReserved, n.k.Resources.SystemReserved)
}

// allocatable is what pods may ask for: hard evictions keep a part free.
func (n *node) allocatable() corev1.ResourceList {
	return lessen(n.unreserved(), eviction.Reserved(n.k.evictor.thresholds, n.capacity))
}

// lessen takes away from what is there, down to nothing.
func lessen(from corev1.ResourceList, lists ...corev1.ResourceList) corev1.ResourceList {
	left := from.DeepCopy()
	for _, list := range lists {
		for name, less := range list {
			q, ok := left[name]
			if !ok {
				continue
			}
			if q.Sub(less); q.Sign() < 0 {
				q.Set(0)
			}
			left[name] = q
		}
	}
	return left
}

// run registers the node, at once and with its whole status, so that it is
// Ready with the first write; then it keeps status and Lease fresh.
func (n *node) run(ctx context.Context) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := n.register(ctx)
		if err == nil {
			break
		}
		n.k.log.Warn("register the node", "err", err)
		// Real time: nothing in the lab can happen before the node is there.
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait): //nolint:forbidigo // see above
		}
	}
	n.k.events.node(ctx, corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	n.k.work.Go(func() { n.leases(ctx) })
	if n.k.devices != nil {
		n.k.work.Go(func() { n.followDevices(ctx) })
	}
	for n.k.sleep(ctx, statusCheck) {
		if err := n.lookAgain(ctx); err != nil && ctx.Err() == nil {
			n.k.log.Warn("write the node's status", "err", err)
		}
	}
}

func (n *node) register(ctx context.Context) error {
	want := n.build(ctx, nil)
	client := n.k.Client.CoreV1().Nodes()
	made, err := client.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		if made, err = client.Get(ctx, n.k.NodeName, metav1.GetOptions{}); err == nil {
			made, err = n.takeOver(ctx, made, want)
		}
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.object, n.written = made, n.k.Clock.Since()
	n.mu.Unlock()
	n.tellPressures(ctx, nil, &made.Status)
	return n.writeStatus(ctx)
}

// takeOver brings labels and pod CIDR of a Node that exists up to date.
func (n *node) takeOver(ctx context.Context, old, want *corev1.Node) (*corev1.Node, error) {
	next := old.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, want.Labels)
	if next.Spec.PodCIDR == "" {
		next.Spec.PodCIDR, next.Spec.PodCIDRs = want.Spec.PodCIDR, want.Spec.PodCIDRs
	}
	if equal(old, next) {
		return old, nil
	}
	patch, err := nodePatch(old, next)
	if err != nil {
		return nil, err
	}
	return n.k.Client.CoreV1().Nodes().Patch(ctx, old.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
}

// writeStatus writes the status if it says something new or is five minutes old.
func (n *node) writeStatus(ctx context.Context) error {
	n.mu.Lock()
	old, written := n.object, n.written
	n.mu.Unlock()
	if old == nil {
		return nil // it is going to be registered with all that is so
	}
	next := old.DeepCopy()
	next.Status = n.build(ctx, old).Status
	due := n.k.Clock.Since()-written >= statusAnyway
	if !due && sameStatus(&old.Status, &next.Status) {
		return nil
	}
	patch, err := nodePatch(old, next)
	if err != nil {
		return err
	}
	now, err := n.k.Client.CoreV1().Nodes().Patch(ctx, old.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return n.register(ctx) // somebody deleted the Node: a kubelet that lives has one
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.object, n.written = now, n.k.Clock.Since()
	n.mu.Unlock()
	n.tellReady(ctx, &old.Status, &next.Status)
	n.tellPressures(ctx, &old.Status, &next.Status)
	return nil
}

// lookAgain reads what the API has of this node, which others may have called
// unreachable or given other labels and resources meanwhile, and writes its status over it.
func (n *node) lookAgain(ctx context.Context) error {
	now, err := n.k.Client.CoreV1().Nodes().Get(ctx, n.k.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return n.register(ctx)
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.object = now
	n.mu.Unlock()
	return n.writeStatus(ctx)
}

// tellReady records an event when the node becomes Ready, or no longer is.
func (n *node) tellReady(ctx context.Context, old, now *corev1.NodeStatus) {
	was, is := conditionOf(old, corev1.NodeReady), conditionOf(now, corev1.NodeReady)
	switch {
	case was == is:
	case is == corev1.ConditionTrue:
		n.k.events.node(ctx, corev1.EventTypeNormal, "NodeReady", "Node %s status is now: NodeReady", n.k.NodeName)
	default:
		n.k.events.node(ctx, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", n.k.NodeName)
	}
}

func nodePatch(old, next *corev1.Node) ([]byte, error) {
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(next)
	if err != nil {
		return nil, err
	}
	return strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Node{})
}

// sameStatus compares without the times of heartbeats.
func sameStatus(a, b *corev1.NodeStatus) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	for _, s := range []*corev1.NodeStatus{a, b} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return equal(a, b)
}

// build makes the whole object; old is the present one, if there is one, whose
// transition times and foreign conditions are kept.
func (n *node) build(ctx context.Context, old *corev1.Node) *corev1.Node {
	k := n.k
	obj := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.NodeName, Labels: map[string]string{}}}
	maps.Copy(obj.Labels, k.Labels)
	for name, value := range map[string]string{
		corev1.LabelHostname: k.NodeName, corev1.LabelOSStable: n.machine.os, corev1.LabelArchStable: n.machine.arch,
		"beta.kubernetes.io/os": n.machine.os, "beta.kubernetes.io/arch": n.machine.arch,
	} {
		obj.Labels[name] = value
	}
	obj.Spec.Taints = k.Taints
	if k.PodCIDR != "" {
		obj.Spec.PodCIDR, obj.Spec.PodCIDRs = k.PodCIDR, []string{k.PodCIDR}
		if k.PodCIDR6 != "" {
			obj.Spec.PodCIDRs = append(obj.Spec.PodCIDRs, k.PodCIDR6)
		}
	}
	s := &obj.Status
	s.Capacity, s.Allocatable = n.capacity.DeepCopy(), n.allocatable()
	if old != nil {
		n.extend(s, &old.Status)
	} else {
		n.extend(s, &corev1.NodeStatus{})
	}
	s.NodeInfo = n.machine.info(k.Version)
	for _, ip := range k.nodeIPs() {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: k.NodeName})
	if k.Listen != nil {
		s.DaemonEndpoints.KubeletEndpoint.Port = listenPort(k.Listen)
	}
	s.Images = n.images(ctx)
	var before []corev1.NodeCondition
	if old != nil {
		before = old.Status.Conditions
		s.VolumesInUse, s.VolumesAttached, s.Config = old.Status.VolumesInUse, old.Status.VolumesAttached, old.Status.Config
		s.Phase, s.Features, s.RuntimeHandlers = old.Status.Phase, old.Status.Features, old.Status.RuntimeHandlers
		s.DeclaredFeatures = old.Status.DeclaredFeatures
	}
	s.Conditions = nodeConditions(before, stamp(k.Clock.Now()), n.healthy(ctx), k.evictor.pressure)
	return obj
}

// healthy is why the node is not Ready, or nil.
func (n *node) healthy(ctx context.Context) error {
	if n.k.isLeaving() {
		return errShuttingDown
	}
	if _, err := n.k.Runtime.Version(ctx); err != nil {
		return fmt.Errorf("container runtime is down: %w", err)
	}
	return n.k.network.look(ctx)
}
