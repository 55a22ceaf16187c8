package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestBudgets(t *testing.T) {
	now := time.Now()
	pods := []*corev1.Pod{
		behind("a", "10.0.0.1", true), behind("b", "10.0.0.2", true), behind("c", "10.0.0.3", true), behind("d", "10.0.0.4", false),
	}
	budget := func(lo, hi *intstr.IntOrString, disrupted map[string]metav1.Time) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: lo, MaxUnavailable: hi}, Status: policyv1.PodDisruptionBudgetStatus{DisruptedPods: disrupted}}
	}
	for name, c := range map[string]struct {
		budget                    *policyv1.PodDisruptionBudget
		healthy, desired, allowed int32
	}{
		"a number that must stay":             {budget(new(intstr.FromInt32(2)), nil, nil), 3, 2, 1},
		"a share, rounded up":                 {budget(new(intstr.FromString("60%")), nil, nil), 3, 3, 0},
		"a number that may be missing":        {budget(nil, new(intstr.FromInt32(2)), nil), 3, 2, 1},
		"an eviction under way counts":        {budget(new(intstr.FromInt32(2)), nil, map[string]metav1.Time{"a": metav1.NewTime(now.Add(-time.Minute))}), 2, 2, 0},
		"one that never came to pass is over": {budget(new(intstr.FromInt32(2)), nil, map[string]metav1.Time{"a": metav1.NewTime(now.Add(-time.Hour))}), 3, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := budgetStatus(c.budget, pods, 4, now)
			require.Equal(t, []int32{c.healthy, c.desired, c.allowed}, []int32{got.CurrentHealthy, got.DesiredHealthy, got.DisruptionsAllowed})
			require.Equal(t, c.allowed > 0, got.Conditions[0].Status == metav1.ConditionTrue)
		})
	}
}
