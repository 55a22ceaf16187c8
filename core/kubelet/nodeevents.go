package kubelet

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// pressureEvents are the reasons of events about what the node has left, when
// it has too little and when it has enough.
var pressureEvents = []struct {
	condition corev1.NodeConditionType
	bad, good string
}{
	{corev1.NodeMemoryPressure, "NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
	{corev1.NodeDiskPressure, "NodeHasDiskPressure", "NodeHasNoDiskPressure"},
	{corev1.NodePIDPressure, "NodeHasInsufficientPID", "NodeHasSufficientPID"},
}

// tellPressures records an event for each of those conditions that has changed;
// old is nil for a node that is new.
func (n *node) tellPressures(ctx context.Context, old, now *corev1.NodeStatus) {
	for _, e := range pressureEvents {
		was := corev1.ConditionUnknown
		if old != nil {
			was = conditionOf(old, e.condition)
		}
		reason := e.good
		switch is := conditionOf(now, e.condition); {
		case is == was || is == corev1.ConditionUnknown:
			continue
		case is == corev1.ConditionTrue:
			reason = e.bad
		}
		n.k.events.node(ctx, corev1.EventTypeNormal, reason, "Node %s status is now: %s", n.k.NodeName, reason)
	}
}

func conditionOf(s *corev1.NodeStatus, t corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}
