package controller

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// pod is a pod on a node, running and ready since noon less readyFor.
func pod(name, node string, readyFor time.Duration, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	if readyFor > 0 {
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(noon.Add(-readyFor))}}
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func names(pods []*corev1.Pod) (n []string) {
	for _, p := range pods {
		n = append(n, p.Name)
	}
	return n
}

func TestPlanReplicas(t *testing.T) {
	restarted := func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}} }
	cheap := func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-1"} }
	for _, tc := range []struct {
		name   string
		want   int
		have   []*corev1.Pod
		others []*corev1.Pod
		create int
		delete []string
	}{
		{name: "enough", want: 1, have: []*corev1.Pod{pod("a", "n", time.Hour)}},
		{name: "too few", want: 3, have: []*corev1.Pod{pod("a", "n", time.Hour)}, create: 2},
		{name: "not on a node before pending before ready", want: 1,
			have:   []*corev1.Pod{pod("ready", "n1", time.Hour), pod("pending", "n2", 0), pod("new", "", 0)},
			delete: []string{"new", "pending"}},
		{name: "cheaper first", want: 1, have: []*corev1.Pod{pod("a", "n1", time.Hour), pod("b", "n2", time.Hour, cheap)}, delete: []string{"b"}},
		{name: "the fuller node first", want: 1, have: []*corev1.Pod{pod("a", "n1", time.Hour), pod("b", "n2", time.Hour)},
			others: []*corev1.Pod{pod("c", "n2", time.Hour)}, delete: []string{"b"}},
		{name: "ready for a shorter time first", want: 1, have: []*corev1.Pod{pod("old", "n1", time.Hour), pod("young", "n2", time.Minute)}, delete: []string{"young"}},
		{name: "restarted first", want: 1, have: []*corev1.Pod{pod("a", "n1", time.Hour), pod("b", "n2", time.Hour, restarted)}, delete: []string{"b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := planReplicas(tc.want, tc.have, append(tc.others, tc.have...), noon)
			require.Equal(t, tc.create, plan.Create)
			require.Equal(t, tc.delete, names(plan.Delete))
		})
	}
}

func TestReplicaSetStatus(t *testing.T) {
	two := int32(2)
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Generation: 4}, Spec: appsv1.ReplicaSetSpec{Replicas: &two, MinReadySeconds: 60}}
	pods := []*corev1.Pod{pod("a", "n", time.Hour), pod("b", "n", 30*time.Second), pod("c", "n", 0)}
	s := replicaSetStatus(rs, pods, pods[:1], errors.New("quota"), noon)
	require.EqualValues(t, 3, s.Replicas)
	require.EqualValues(t, 2, s.ReadyReplicas)
	require.EqualValues(t, 1, s.AvailableReplicas)
	require.EqualValues(t, 1, *s.TerminatingReplicas)
	require.EqualValues(t, 4, s.ObservedGeneration)
	require.Equal(t, "FailedDelete", s.Conditions[0].Reason)
	require.Equal(t, 30*time.Second, nextAvailability(pods, minReady(rs), noon))

	rs.Status = s
	require.Empty(t, replicaSetStatus(rs, pods, nil, nil, noon).Conditions)
}

func TestExpectations(t *testing.T) {
	clock := step.NewClock(noon, 0)
	clock.Hold(true)
	e := newExpectations(clock)
	require.True(t, e.met("a"))
	e.expect("a", 2)
	e.created("a")
	require.False(t, e.met("a"))
	e.created("a")
	require.True(t, e.met("a"))

	e.expect("a", 0, "x", "y")
	e.deleted("a", "x")
	e.deleted("a", "x") // seen twice: as an update and as the end
	require.False(t, e.met("a"))
	clock.AdvanceTo(patience + time.Second)
	require.True(t, e.met("a"), "patience has an end")
}

func TestSlowStart(t *testing.T) {
	var calls atomic.Int32
	done, err := slowStart(20, func() error { calls.Add(1); return nil })
	require.NoError(t, err)
	require.Equal(t, 20, done)

	calls.Store(0)
	done, err = slowStart(20, func() error {
		if calls.Add(1) > 3 {
			return fmt.Errorf("quota")
		}
		return nil
	})
	require.ErrorContains(t, err, "quota")
	require.Equal(t, 3, done)
	require.EqualValues(t, 7, calls.Load(), "batches of 1, 2 and 4, and no more after the first error")
}

func TestDecideClaim(t *testing.T) {
	owner := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "1"}}
	leaving := owner.DeepCopy()
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	owned := pod("a", "", 0, func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, replicaSetKind)}
	})
	others := pod("a", "", 0, func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{UID: "2"}}, replicaSetKind)}
	})
	ended := pod("a", "", 0, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: noon} })
	for _, tc := range []struct {
		name    string
		owner   *appsv1.ReplicaSet
		pod     *corev1.Pod
		matches bool
		want    claim
	}{
		{"own", owner, owned, true, keep},
		{"own, no longer matches", owner, owned, false, release},
		{"own, no longer matches, owner leaves", leaving, owned, false, leave},
		{"somebody else's", owner, others, true, leave},
		{"orphan", owner, pod("a", "", 0), true, adopt},
		{"orphan that does not match", owner, pod("a", "", 0), false, leave},
		{"orphan, owner leaves", leaving, pod("a", "", 0), true, leave},
		{"orphan that ends", owner, ended, true, leave},
	} {
		require.Equal(t, tc.want, decideClaim(tc.owner, tc.pod, tc.matches), tc.name)
	}
}
