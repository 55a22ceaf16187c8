package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func nodeOf(name string, ready corev1.ConditionStatus, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: taints},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
	}
}

func taintNames(taints []corev1.Taint) (n []string) {
	for _, t := range taints {
		n = append(n, t.Key+":"+string(t.Effect))
	}
	return n
}

func TestNodeTaints(t *testing.T) {
	now := metav1.NewTime(noon)
	mine := corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}
	require.Equal(t, []string{"gpu:NoSchedule", "node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"},
		taintNames(nodeTaints(nodeOf("n", corev1.ConditionUnknown, mine), normal, now)))
	require.Equal(t, []string{"node.kubernetes.io/not-ready:NoSchedule"}, taintNames(nodeTaints(nodeOf("n", corev1.ConditionFalse), full, now)))

	failed := nodeOf("n", corev1.ConditionUnknown)
	failed.Spec.Taints = nodeTaints(failed, normal, now)
	later := metav1.NewTime(noon.Add(time.Minute))
	require.Equal(t, failed.Spec.Taints, nodeTaints(failed, normal, later), "taints that stay keep their time")
	require.Equal(t, failed.Spec.Taints, nodeTaints(failed, partial, later))
	failed.Status.Conditions[0].Status = corev1.ConditionTrue
	require.Empty(t, nodeTaints(failed, normal, later))

	cordoned := nodeOf("n", corev1.ConditionTrue)
	cordoned.Spec.Unschedulable = true
	require.Equal(t, []string{"node.kubernetes.io/unschedulable:NoSchedule"}, taintNames(nodeTaints(cordoned, normal, now)))
}

func TestDisruption(t *testing.T) {
	up, down := nodeOf("up", corev1.ConditionTrue), nodeOf("down", corev1.ConditionUnknown)
	require.Equal(t, normal, disruptionOf(down, []*corev1.Node{up, down, nodeOf("also", corev1.ConditionFalse)}))
	require.Equal(t, full, disruptionOf(down, []*corev1.Node{down, nodeOf("also", corev1.ConditionFalse)}))
	require.Equal(t, partial, disruptionOf(down, []*corev1.Node{up, down, nodeOf("b", corev1.ConditionFalse), nodeOf("c", corev1.ConditionFalse)}))
	require.Equal(t, full, disruptionOf(nodeOf("up", corev1.ConditionUnknown), []*corev1.Node{up, down}), "the newer state counts")
}

func TestSetUnknown(t *testing.T) {
	n := nodeOf("n", corev1.ConditionTrue)
	require.True(t, setUnknown(n, metav1.NewTime(noon)))
	require.Equal(t, "NodeStatusUnknown", nodeCondition(n, corev1.NodeReady).Reason)
	require.Equal(t, "NodeStatusNeverUpdated", nodeCondition(n, corev1.NodeDiskPressure).Reason)
	require.False(t, setUnknown(n, metav1.NewTime(noon.Add(time.Hour))))
}

func TestStay(t *testing.T) {
	added := metav1.NewTime(noon)
	taint := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	five, minute := int64(300), int64(60)
	bear := func(seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: taint.Key, Operator: corev1.TolerationOpExists, TolerationSeconds: seconds}
	}
	for _, tc := range []struct {
		name        string
		tolerations []corev1.Toleration
		taints      []corev1.Taint
		after       time.Duration
		left        time.Duration
		forever     bool
	}{
		{name: "no taint", forever: true},
		{name: "not tolerated", taints: []corev1.Taint{taint}},
		{name: "tolerated without end", tolerations: []corev1.Toleration{bear(nil)}, taints: []corev1.Taint{taint}, forever: true},
		{name: "for five minutes", tolerations: []corev1.Toleration{bear(&five)}, taints: []corev1.Taint{taint}, after: time.Minute, left: 4 * time.Minute},
		{name: "the shortest counts", tolerations: []corev1.Toleration{bear(&five), bear(&minute)}, taints: []corev1.Taint{taint}, left: time.Minute},
		{name: "it is over", tolerations: []corev1.Toleration{bear(&minute)}, taints: []corev1.Taint{taint}, after: time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			left, forever := stay(tc.tolerations, tc.taints, noon.Add(tc.after))
			require.Equal(t, tc.forever, forever)
			require.Equal(t, tc.left, left)
		})
	}
}
