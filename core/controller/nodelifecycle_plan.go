package controller

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func nodeCondition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// nodeReady is the status of the node's condition Ready; a node that never
// said anything is not ready.
func nodeReady(n *corev1.Node) corev1.ConditionStatus {
	if c := nodeCondition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return corev1.ConditionFalse
}

// setUnknown makes the conditions that a kubelet reports Unknown, and tells
// whether any of them was not.
func setUnknown(n *corev1.Node, now metav1.Time) bool {
	changed := false
	for _, t := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := nodeCondition(n, t)
		if c == nil {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: now,
			})
			changed = true
		} else if c.Status != corev1.ConditionUnknown {
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = now
			changed = true
		}
	}
	return changed
}

// disruption says how many of the nodes fail together. If many do, the fault
// is more likely with the network or here than with the nodes, and evicting
// all pods would make it worse
// (kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction).
type disruption int

const (
	normal  disruption = iota
	partial            // more than two nodes and 55 % of all: nobody is evicted any more
	full               // all nodes: nobody is evicted, and those who were to be are not
)

// disruptionOf judges all nodes; node is newer than its copy in all.
func disruptionOf(node *corev1.Node, all []*corev1.Node) disruption {
	ready, failed := 0, 0
	for _, n := range all {
		if n.Name == node.Name {
			n = node
		}
		if nodeReady(n) == corev1.ConditionTrue {
			ready++
		} else {
			failed++
		}
	}
	switch {
	case ready == 0:
		return full
	case failed > 2 && float64(failed)/float64(failed+ready) >= 0.55:
		return partial
	}
	return normal
}

// conditionTaints are the taints that stand for a node's conditions.
var conditionTaints = []struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
}

// nodeTaints is what the node's taints should be: those that are not about
// conditions stay as they are, those that stay keep their time.
func nodeTaints(n *corev1.Node, d disruption, now metav1.Time) []corev1.Taint {
	wanted := []corev1.Taint{}
	for _, row := range conditionTaints {
		status := corev1.ConditionFalse
		if c := nodeCondition(n, row.condition); c != nil {
			status = c.Status
		}
		if status != row.status {
			continue
		}
		wanted = append(wanted, corev1.Taint{Key: row.key, Effect: corev1.TaintEffectNoSchedule})
		if row.condition == corev1.NodeReady && (d == normal || d == partial && hasNoExecute(n)) {
			wanted = append(wanted, corev1.Taint{Key: row.key, Effect: corev1.TaintEffectNoExecute})
		}
	}
	if n.Spec.Unschedulable {
		wanted = append(wanted, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	var taints []corev1.Taint
	for _, t := range n.Spec.Taints {
		i := slices.IndexFunc(wanted, func(w corev1.Taint) bool { return w.MatchTaint(&t) })
		if i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
		} else if ours(t) {
			continue
		}
		taints = append(taints, t)
	}
	for _, w := range wanted {
		w.TimeAdded = &now
		taints = append(taints, w)
	}
	return taints
}

// ours tells whether a taint stands for a condition.
func ours(t corev1.Taint) bool {
	if t.Key == corev1.TaintNodeUnschedulable {
		return t.Effect == corev1.TaintEffectNoSchedule
	}
	return slices.ContainsFunc(conditionTaints, func(row struct {
		condition corev1.NodeConditionType
		status    corev1.ConditionStatus
		key       string
	}) bool {
		return row.key == t.Key && (t.Effect == corev1.TaintEffectNoSchedule ||
			t.Effect == corev1.TaintEffectNoExecute && row.condition == corev1.NodeReady)
	})
}

func hasNoExecute(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute && ours(t) })
}

func taintWords(taints []corev1.Taint) string {
	if len(taints) == 0 {
		return "remove taints"
	}
	words := make([]string, len(taints))
	for i, t := range taints {
		words[i] = t.Key + ":" + string(t.Effect)
	}
	return "set taints " + strings.Join(words, ", ")
}
