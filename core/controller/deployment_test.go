package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func deploymentOf(replicas int32, surge, unavailable string) *appsv1.Deployment {
	up, down, deadline := intstr.Parse(surge), intstr.Parse(unavailable), int32(600)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "d"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, ProgressDeadlineSeconds: &deadline,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &up, MaxUnavailable: &down}},
		},
	}
}

// set is a ReplicaSet of this size with so many available pods; the order of
// calls is the order of creation.
func set(name string, size, available int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Annotations: map[string]string{}},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &size},
		Status:     appsv1.ReplicaSetStatus{Replicas: size, AvailableReplicas: available, ReadyReplicas: available},
	}
}

func words(plan []scaling) string {
	var w []string
	for _, s := range plan {
		w = append(w, fmt.Sprintf("%s→%d", s.set.Name, s.replicas))
	}
	return strings.Join(w, " ")
}

func TestPlanRolling(t *testing.T) {
	for _, tc := range []struct {
		name               string
		replicas           int32
		surge, unavailable string
		current            *appsv1.ReplicaSet
		old                []*appsv1.ReplicaSet
		want               string
	}{
		{"first grow by the surge", 3, "1", "0", set("new", 0, 0), []*appsv1.ReplicaSet{set("old", 3, 3)}, "new→1"},
		{"wait until the new one is available", 3, "1", "0", set("new", 1, 0), []*appsv1.ReplicaSet{set("old", 3, 3)}, ""},
		{"then shrink the old", 3, "1", "0", set("new", 1, 1), []*appsv1.ReplicaSet{set("old", 3, 3)}, "old→2"},
		{"percentages: up and down", 10, "25%", "25%", set("new", 0, 0), []*appsv1.ReplicaSet{set("old", 10, 10)}, "new→3"},
		{"percentages: then down", 10, "25%", "25%", set("new", 3, 0), []*appsv1.ReplicaSet{set("old", 10, 10)}, "old→8"},
		{"no surge: shrink first", 2, "0", "1", set("new", 0, 0), []*appsv1.ReplicaSet{set("old", 2, 2)}, "old→1"},
		{"both come to nothing: one may be missing", 1, "0", "1%", set("new", 0, 0), []*appsv1.ReplicaSet{set("old", 1, 1)}, "old→0"},
		{"broken old pods go first", 3, "1", "1", set("new", 1, 0), []*appsv1.ReplicaSet{set("old-1", 2, 2), set("old-2", 1, 0)}, "old-2→0"},
		{"too many new ones", 2, "1", "0", set("new", 4, 4), nil, "new→2"},
		{"done", 3, "1", "0", set("new", 3, 3), []*appsv1.ReplicaSet{set("old", 0, 0)}, ""},
		{"a status that is behind does not make too many go", 3, "1", "0", set("new", 2, 2), []*appsv1.ReplicaSet{set("old", 2, 3)}, "old→1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &rollout{d: deploymentOf(tc.replicas, tc.surge, tc.unavailable), current: tc.current, old: tc.old}
			require.Equal(t, tc.want, words(planRolling(r)))
		})
	}
}

func TestPlanProportional(t *testing.T) {
	annotated := func(s *appsv1.ReplicaSet, before string) *appsv1.ReplicaSet {
		s.Annotations[maxAnnotation] = before
		return s
	}
	for _, tc := range []struct {
		name     string
		replicas int32
		current  *appsv1.ReplicaSet
		old      []*appsv1.ReplicaSet
		want     string
	}{
		{"one set takes it all", 10, set("new", 3, 3), []*appsv1.ReplicaSet{set("old", 0, 0)}, "new→10"},
		{"two sets, twice as many", 20, annotated(set("new", 5, 5), "11"), []*appsv1.ReplicaSet{annotated(set("old", 6, 6), "11")}, "old→11 new→10"},
		{"half as many", 5, annotated(set("new", 5, 5), "11"), []*appsv1.ReplicaSet{annotated(set("old", 6, 6), "11")}, "old→3 new→3"},
		{"to nothing", 0, annotated(set("new", 5, 5), "11"), []*appsv1.ReplicaSet{annotated(set("old", 6, 6), "11")}, "old→0 new→0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &rollout{d: deploymentOf(tc.replicas, "1", "0"), current: tc.current, old: tc.old}
			require.Equal(t, tc.want, words(planProportional(r)))
		})
	}
}

func TestCleanUpKeepsTheNewest(t *testing.T) {
	limit := int32(1)
	r := &rollout{d: deploymentOf(1, "1", "0"), current: set("now", 1, 1)}
	r.d.Spec.RevisionHistoryLimit = &limit
	for i, size := range []int32{0, 1, 0, 0} {
		s := set(fmt.Sprintf("v%d", i+1), size, size)
		s.Annotations[revisionAnnotation] = fmt.Sprint(i + 1)
		r.old = append(r.old, s)
	}
	var gone []string
	for _, s := range planCleanUp(r) {
		gone = append(gone, s.Name)
	}
	require.Equal(t, []string{"v1", "v3"}, gone, "v2 has pods, v4 is the newest")
}

func TestRevisions(t *testing.T) {
	d := deploymentOf(1, "1", "0")
	d.Annotations = map[string]string{"team": "a", corev1.LastAppliedConfigAnnotation: "{}"}
	s := set("web-1", 1, 1)
	require.True(t, annotate(d, s, 1))
	require.Equal(t, map[string]string{"team": "a", revisionAnnotation: "1"}, s.Annotations)
	require.False(t, annotate(d, s, 1))
	require.True(t, annotate(d, s, 3), "rolled back to")
	require.Equal(t, "3", s.Annotations[revisionAnnotation])
	require.Equal(t, "1", s.Annotations[historyAnnotation])
}

// The name that Kubernetes 1.37 gives to the ReplicaSet of this template is
// what kubectl and people see: it must be the same here.
func TestTemplateHashDependsOnTemplateAndCollisions(t *testing.T) {
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}}
	one := int32(1)
	first := templateHash(&template, nil)
	require.Equal(t, first, templateHash(template.DeepCopy(), nil))
	require.NotEqual(t, first, templateHash(&template, &one))
	template.Spec.Containers[0].Image = "web:2"
	require.NotEqual(t, first, templateHash(&template, nil))
	require.Len(t, setName(strings.Repeat("a", 300), first), 253)
}

func TestProgress(t *testing.T) {
	turn := func(d *appsv1.Deployment, now time.Time, current *appsv1.ReplicaSet, old ...*appsv1.ReplicaSet) (*rollout, *appsv1.DeploymentCondition) {
		r := &rollout{d: d, was: *d.Status.DeepCopy(), now: metav1.NewTime(now), current: current, old: old, deadlineProgress: true}
		r.finish()
		return r, condition(&d.Status, appsv1.DeploymentProgressing)
	}
	d := deploymentOf(2, "1", "0")
	_, c := turn(d, noon, set("new", 1, 0), set("old", 2, 2))
	require.Equal(t, setUpdated, c.Reason)
	require.Equal(t, corev1.ConditionTrue, condition(&d.Status, appsv1.DeploymentAvailable).Status)

	r, c := turn(d, noon.Add(time.Minute), set("new", 1, 0), set("old", 2, 2))
	require.Equal(t, noon, c.LastUpdateTime.Time, "nothing moved")
	wait, ok := r.untilDeadline()
	require.True(t, ok)
	require.Equal(t, 9*time.Minute+time.Second, wait)

	r, c = turn(d, noon.Add(11*time.Minute), set("new", 1, 0), set("old", 2, 2))
	require.Equal(t, timedOut, c.Reason)
	require.Equal(t, corev1.ConditionFalse, c.Status)
	_, ok = r.untilDeadline()
	require.False(t, ok)

	_, c = turn(d, noon.Add(12*time.Minute), set("new", 2, 2))
	require.Equal(t, newSetAvailable, c.Reason)
	require.Equal(t, `ReplicaSet "new" has successfully progressed.`, c.Message)

	// A pod fails later: that is no rollout, and has no deadline.
	r, c = turn(d, noon.Add(30*time.Minute), set("new", 2, 1))
	require.Equal(t, newSetAvailable, c.Reason)
	require.Equal(t, minimumUnavailable, condition(&d.Status, appsv1.DeploymentAvailable).Reason)
	_, ok = r.untilDeadline()
	require.False(t, ok)
}
