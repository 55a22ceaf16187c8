package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

// podGC removes pods that no kubelet will ever remove: those of nodes that no
// longer exist, those on nodes tainted out-of-service, and deleted ones that
// never came to a node.
type podGC struct {
	*Loop
	nodes   listerscorev1.NodeLister
	pods    listerscorev1.PodLister
	missing map[string]time.Duration // since when each node has been missing; the worker's alone
}

// quarantine is how long a node may be missing, as upstream.
const quarantine = 40 * time.Second

func newPodGC(l *Loop) (Reconcile, error) {
	nodes, pods := l.Informers.Core().V1().Nodes(), l.Informers.Core().V1().Pods()
	c := &podGC{Loop: l, nodes: nodes.Lister(), pods: pods.Lister(), missing: map[string]time.Duration{}}
	return c.reconcile, errors.Join(
		Watch(l, nodes.Informer(), func(old, cur *corev1.Node) {
			if old == nil || cur == nil || outOfService(old) != outOfService(cur) {
				n := newest(old, cur)
				l.podsOn(c.pods, n.Name, revisionOf(n))
			}
		}),
		Watch(l, pods.Informer(), c.podChanged))
}

// podChanged queues a pod only when there may be something to do.
func (c *podGC) podChanged(old, cur *corev1.Pod) {
	if cur == nil {
		c.NoDeadline(keyOf(old))
		return
	}
	if old != nil && old.Spec.NodeName == cur.Spec.NodeName && (old.DeletionTimestamp == nil) == (cur.DeletionTimestamp == nil) {
		return
	}
	if c.verdict(cur) != fine {
		c.AddObject(cur)
	}
}

// verdict is why a pod is to be removed.
type verdict string

const (
	fine         verdict = ""
	orphaned     verdict = "its node no longer exists"
	unscheduled  verdict = "it is being deleted and has no node"
	nodeIsBroken verdict = "its node is out of service"
)

func (c *podGC) verdict(pod *corev1.Pod) verdict {
	if pod.Spec.NodeName == "" {
		if pod.DeletionTimestamp != nil {
			return unscheduled
		}
		return fine
	}
	node, err := c.nodes.Get(pod.Spec.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		return orphaned
	case err == nil && pod.DeletionTimestamp != nil && nodeReady(node) != corev1.ConditionTrue && outOfService(node):
		return nodeIsBroken
	}
	return fine
}

func outOfService(n *corev1.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeOutOfService {
			return true
		}
	}
	return false
}

func (c *podGC) reconcile(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	pod, err := c.pods.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	why := c.verdict(pod)
	if why != orphaned {
		delete(c.missing, pod.Spec.NodeName)
	}
	switch why {
	case fine:
		c.NoDeadline(key)
		return nil
	case orphaned:
		if wait, err := c.waitFor(ctx, pod.Spec.NodeName); err != nil || wait > 0 {
			c.Deadline(key, wait)
			step.Note(ctx, step.ReconcileDetail{Plan: []string{fmt.Sprintf("wait %s for node %s", wait.Round(time.Second), pod.Spec.NodeName)}})
			return err
		}
		err = c.condemn(ctx, pod, "DeletionByPodGC", "PodGC: node no longer exists", corev1.PodFailed)
		if err != nil {
			return err
		}
	}
	step.Note(ctx, step.ReconcileDetail{Plan: []string{"delete the pod: " + string(why)}})
	now := int64(0)
	return c.deletePod(ctx, pod, &now)
}

// waitFor is how much longer a missing node may come back. At the end it asks
// the server, since the cache may be behind.
func (c *podGC) waitFor(ctx context.Context, node string) (time.Duration, error) {
	since, ok := c.missing[node]
	if !ok {
		since = c.Clock.Since()
		c.missing[node] = since
	}
	if wait := since + quarantine - c.Clock.Since(); wait > 0 {
		return wait, nil
	}
	_, err := c.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil
	case err != nil:
		return quarantine, fmt.Errorf("read node %s: %w", node, err)
	}
	delete(c.missing, node)
	return quarantine, nil
}
