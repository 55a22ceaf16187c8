package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2" //nolint:depguard // Kubernetes' helpers for taints ask for its logger; they get one that is silent

	"github.com/klab-project/klab/core/step"
)

// taintEviction deletes pods from nodes whose NoExecute taints they do not
// tolerate, at once or when tolerationSeconds are over
// (kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration).
type taintEviction struct {
	*Loop
	nodes listerscorev1.NodeLister
	pods  listerscorev1.PodLister
	index cache.Indexer
}

// byNode indexes pods by the node that they are bound to.
const byNode = "node"

func newTaintEviction(l *Loop) (Reconcile, error) {
	nodes, pods := l.Informers.Core().V1().Nodes(), l.Informers.Core().V1().Pods()
	c := &taintEviction{Loop: l, nodes: nodes.Lister(), pods: pods.Lister(), index: pods.Informer().GetIndexer()}
	return c.reconcile, errors.Join(
		indexByNode(pods.Informer()),
		Watch(l, nodes.Informer(), c.nodeChanged),
		Watch(l, pods.Informer(), c.podChanged))
}

func indexByNode(pods cache.SharedIndexInformer) error {
	return pods.AddIndexers(cache.Indexers{byNode: func(obj any) ([]string, error) {
		if p, ok := obj.(*corev1.Pod); ok && p.Spec.NodeName != "" {
			return []string{p.Spec.NodeName}, nil
		}
		return nil, nil
	}})
}

func (c *taintEviction) nodeChanged(old, cur *corev1.Node) {
	if cur == nil || old == nil && len(noExecute(cur)) == 0 || old != nil && sameTaints(noExecute(old), noExecute(cur)) {
		return
	}
	pods, _ := c.index.ByIndex(byNode, cur.Name)
	for _, p := range pods {
		c.Add(keyOf(p.(*corev1.Pod)), revisionOf(cur))
	}
}

// podChanged queues pods that came to a node; of all others only the node's
// taints matter.
func (c *taintEviction) podChanged(old, cur *corev1.Pod) {
	switch {
	case cur == nil || cur.DeletionTimestamp != nil:
		c.NoDeadline(keyOf(newest(old, cur)))
	case cur.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "" || len(old.Spec.Tolerations) != len(cur.Spec.Tolerations)):
		node, err := c.nodes.Get(cur.Spec.NodeName)
		if err == nil && len(noExecute(node)) > 0 {
			c.AddObject(cur)
		}
	}
}

func noExecute(n *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			taints = append(taints, t)
		}
	}
	return taints
}

func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].MatchTaint(&b[i]) || a[i].Value != b[i].Value {
			return false
		}
	}
	return true
}

// stay is how long a pod may stay on a node with taints, from now on.
// Forever is true if it tolerates them without end.
func stay(tolerations []corev1.Toleration, taints []corev1.Taint, now time.Time) (d time.Duration, forever bool) {
	forever = true
	for i := range taints {
		tolerated := false
		for j := range tolerations {
			t := &tolerations[j]
			if !t.ToleratesTaint(klog.Logger{}, &taints[i], false) {
				continue
			}
			tolerated = true
			if t.TolerationSeconds == nil {
				continue
			}
			left := time.Duration(max(0, *t.TolerationSeconds)) * time.Second
			if added := taints[i].TimeAdded; added != nil {
				left = max(0, added.Add(left).Sub(now))
			}
			if forever || left < d {
				d, forever = left, false
			}
		}
		if !tolerated {
			return 0, false
		}
	}
	return d, forever
}

func (c *taintEviction) reconcile(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	pod, err := c.pods.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) || err == nil && (pod.DeletionTimestamp != nil || pod.Spec.NodeName == "") {
		return nil
	}
	if err != nil {
		return err
	}
	node, err := c.nodes.Get(pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return nil // the pod garbage collector's
	}
	if err != nil {
		return err
	}
	left, forever := stay(pod.Spec.Tolerations, noExecute(node), c.Clock.Now())
	switch {
	case forever:
		if c.NoDeadline(key) {
			c.Events.Eventf(ctx, pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s", key)
			step.Note(ctx, step.ReconcileDetail{Plan: []string{"the pod may stay"}})
		}
		return nil
	case left > 0:
		c.Deadline(key, left)
		step.Note(ctx, step.ReconcileDetail{Plan: []string{fmt.Sprintf("evict in %s", left.Round(time.Second))}})
		return nil
	}
	step.Note(ctx, step.ReconcileDetail{Plan: []string{"evict"}})
	c.Events.Eventf(ctx, pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s", key)
	if err := c.condemn(ctx, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", ""); err != nil {
		return err
	}
	return c.deletePod(ctx, pod, nil)
}

// condemn notes in the pod's status why it is about to be deleted; phase, if
// not empty, becomes that of a pod that has not ended.
func (l *Loop) condemn(ctx context.Context, pod *corev1.Pod, reason, message string, phase corev1.PodPhase) error {
	now := metav1.NewTime(l.Clock.Now())
	pod = pod.DeepCopy()
	c := podCondition(pod, corev1.DisruptionTarget)
	if c == nil {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget})
		c = &pod.Status.Conditions[len(pod.Status.Conditions)-1]
	}
	c.Status, c.Reason, c.Message, c.LastTransitionTime = corev1.ConditionTrue, reason, message, now
	if phase != "" && !isTerminal(pod) {
		pod.Status.Phase = phase
	}
	_, err := l.Client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status: %w", err)
	}
	return nil
}

// deletePod deletes exactly this pod; grace nil means its own grace period.
func (l *Loop) deletePod(ctx context.Context, pod *corev1.Pod, grace *int64) error {
	err := l.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: grace, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod: %w", err)
	}
	return nil
}

// podsOn queues all pods of a node because of an object at revision.
func (l *Loop) podsOn(pods listerscorev1.PodLister, node string, revision int64) {
	all, _ := pods.List(labels.Everything())
	for _, p := range all {
		if p.Spec.NodeName == node {
			l.Add(keyOf(p), revision)
		}
	}
}
