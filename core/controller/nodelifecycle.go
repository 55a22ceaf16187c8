package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listerscorev1 "k8s.io/client-go/listers/core/v1"

	"github.com/klab-project/klab/core/step"
)

// nodeLifecycle watches the nodes' signs of life. A node that gives none for
// Options.NodeGrace gets Unknown conditions; a node that is not ready gets
// taints, and its pods are no longer ready
// (kubernetes.io/docs/concepts/architecture/nodes).
type nodeLifecycle struct {
	*Loop
	nodes listerscorev1.NodeLister

	mu   sync.Mutex
	seen map[string]time.Duration // when each node last gave a sign of life, as observed here
}

func newNodeLifecycle(l *Loop) (Reconcile, error) {
	nodes, leases := l.Informers.Core().V1().Nodes(), l.Informers.Coordination().V1().Leases()
	c := &nodeLifecycle{Loop: l, nodes: nodes.Lister(), seen: map[string]time.Duration{}}
	return c.reconcile, errors.Join(
		Watch(l, nodes.Informer(), c.nodeChanged),
		Watch(l, leases.Informer(), c.leaseChanged))
}

func (c *nodeLifecycle) nodeChanged(old, cur *corev1.Node) {
	switch {
	case cur == nil:
		c.forget(old.Name)
	case old == nil:
		c.alive(cur.Name)
		c.AddObject(cur)
	default:
		was, is := nodeCondition(old, corev1.NodeReady), nodeCondition(cur, corev1.NodeReady)
		if is != nil && (was == nil || !is.LastHeartbeatTime.Equal(&was.LastHeartbeatTime)) {
			c.alive(cur.Name)
		}
		if sameNode(old, cur) {
			return // a heartbeat and nothing else
		}
		c.AddObject(cur)
	}
	if old == nil || cur == nil || nodeReady(old) != nodeReady(cur) {
		c.addOthers(newest(old, cur))
	}
}

// addOthers queues the other nodes that are not ready: whether they get
// NoExecute taints depends on how many nodes are.
func (c *nodeLifecycle) addOthers(changed *corev1.Node) {
	all, _ := c.nodes.List(labels.Everything())
	for _, n := range all {
		if n.Name != changed.Name && nodeReady(n) != corev1.ConditionTrue {
			c.Add(n.Name, revisionOf(changed))
		}
	}
}

func (c *nodeLifecycle) leaseChanged(old, cur *coordinationv1.Lease) {
	if cur == nil || cur.Namespace != corev1.NamespaceNodeLease {
		return
	}
	if old == nil || old.Spec.RenewTime == nil || !old.Spec.RenewTime.Equal(cur.Spec.RenewTime) {
		c.alive(cur.Name)
	}
}

// alive notes a sign of life and puts off the end of the grace period.
func (c *nodeLifecycle) alive(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[name] = c.Clock.Since()
	c.Deadline(name, c.NodeGrace)
}

func (c *nodeLifecycle) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, name)
	c.NoDeadline(name)
}

func (c *nodeLifecycle) silentFor(name string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Clock.Since() - c.seen[name]
}

func (c *nodeLifecycle) reconcile(ctx context.Context, name string) error {
	cached, err := c.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		c.forget(name)
		return nil
	}
	if err != nil {
		return err
	}
	node := cached.DeepCopy()
	var plan []string
	defer func() { step.Note(ctx, step.ReconcileDetail{Plan: plan}) }()
	if c.silentFor(name) >= c.NodeGrace && setUnknown(node, metav1.NewTime(c.Clock.Now())) {
		plan = append(plan, "set conditions Unknown")
		if node, err = c.Client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update status: %w", err)
		}
		c.Events.Eventf(ctx, node, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", name)
	}
	all, err := c.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	taints := nodeTaints(node, disruptionOf(node, all), metav1.NewTime(c.Clock.Now()))
	if !equality.Semantic.DeepEqual(taints, node.Spec.Taints) {
		plan = append(plan, taintWords(taints))
		if err := c.patchTaints(ctx, node, taints); err != nil {
			return err
		}
	}
	if nodeReady(node) == corev1.ConditionTrue {
		return nil
	}
	n, err := c.podsNotReady(ctx, name)
	if n > 0 {
		plan = append(plan, fmt.Sprintf("mark %d pod%s not ready", n, plural(n)))
	}
	return err
}

func (c *nodeLifecycle) patchTaints(ctx context.Context, node *corev1.Node, taints []corev1.Taint) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": node.ResourceVersion},
		"spec":     map[string]any{"taints": taints},
	})
	if err != nil {
		return err
	}
	_, err = c.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("patch taints: %w", err)
	}
	return nil
}

// podsNotReady tells everybody that the node's pods cannot be relied on, and
// returns how many it told of.
func (c *nodeLifecycle) podsNotReady(ctx context.Context, node string) (n int, err error) {
	pods, err := c.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return 0, fmt.Errorf("list pods of %s: %w", node, err)
	}
	var errs []error
	for i := range pods.Items {
		pod := &pods.Items[i]
		ready := podCondition(pod, corev1.PodReady)
		if ready == nil || ready.Status != corev1.ConditionTrue {
			continue
		}
		ready.Status, ready.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(c.Clock.Now())
		_, err := c.Client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mark pod %s not ready: %w", pod.Name, err))
			continue
		}
		n++
		c.Events.Eventf(ctx, pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	return n, errors.Join(errs...)
}

// sameNode compares what this controller reads, without heartbeats.
func sameNode(a, b *corev1.Node) bool {
	status := func(n *corev1.Node) []corev1.NodeCondition {
		conditions := slices.Clone(n.Status.Conditions)
		for i := range conditions {
			conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		return conditions
	}
	return a.Spec.Unschedulable == b.Spec.Unschedulable && equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) &&
		equality.Semantic.DeepEqual(status(a), status(b))
}
