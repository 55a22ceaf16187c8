package quota

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func pod(requests, limits corev1.ResourceList) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}}}}
}

func TestUsageOfPods(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ended := pod(list("cpu", "1"), nil)
	ended.Status.Phase = corev1.PodSucceeded
	lost := pod(list("cpu", "1"), nil)
	lost.DeletionTimestamp, lost.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(-time.Minute)}, new(int64(30))
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want corev1.ResourceList
	}{
		"requests and limits": {pod(list("cpu", "1", "example.com/gpu", "2"), list("memory", "1Gi", "example.com/gpu", "2")), list("count/pods", "1", "pods", "1",
			"cpu", "1", "requests.cpu", "1", "limits.memory", "1Gi", "requests.example.com/gpu", "2")},
		"one that has ended is only counted": {ended, list("count/pods", "1")},
		"and one that should be gone":        {lost, list("count/pods", "1")},
	} {
		t.Run(name, func(t *testing.T) {
			got := Usage(schema.GroupResource{Resource: "pods"}, c.pod, now)
			require.Len(t, got, len(c.want))
			require.Empty(t, Rise(got, c.want))
			require.Empty(t, Rise(c.want, got))
		})
	}
}

func TestScopes(t *testing.T) {
	plain, asks := pod(nil, nil), pod(list("cpu", "1"), nil)
	asks.Spec.ActiveDeadlineSeconds, asks.Spec.PriorityClassName = new(int64(5)), "high"
	for _, c := range []struct {
		scope       corev1.ResourceQuotaScope
		plain, asks bool
	}{
		{corev1.ResourceQuotaScopeBestEffort, true, false},
		{corev1.ResourceQuotaScopeNotBestEffort, false, true},
		{corev1.ResourceQuotaScopeTerminating, false, true},
		{corev1.ResourceQuotaScopeNotTerminating, true, false},
		{corev1.ResourceQuotaScopePriorityClass, false, true},
		{corev1.ResourceQuotaScopeCrossNamespacePodAffinity, false, false},
	} {
		q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: list("pods", "1"), Scopes: []corev1.ResourceQuotaScope{c.scope}}}
		gr := schema.GroupResource{Resource: "pods"}
		require.Equal(t, []bool{c.plain, c.asks}, []bool{Matches(q, gr, plain), Matches(q, gr, asks)}, c.scope)
		require.False(t, Matches(q, schema.GroupResource{Resource: "services"}, &corev1.Service{}), "services are in no scope")
	}
	q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: list("pods", "1"), ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
		{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"high"}}}}}}
	require.True(t, Matches(q, schema.GroupResource{Resource: "pods"}, asks))
	require.False(t, Matches(q, schema.GroupResource{Resource: "pods"}, plain))
}
