package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/core"
)

func boundPod(t *testing.T) *core.Pod {
	pod := made[*core.Pod](t, pods(), podManifest)
	pod.Spec.NodeName, pod.Status.Phase = "node-1", core.PodRunning
	return pod
}

func TestDeletePod(t *testing.T) {
	cases := []struct {
		name   string
		change func(*core.Pod)
		grace  *int64 // of the request
		want   Deletion
		left   int64
	}{
		{"default", func(*core.Pod) {}, nil, DeleteLater, 30},
		{"own grace", func(p *core.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(5)) }, nil, DeleteLater, 5},
		{"requested", func(*core.Pod) {}, new(int64(3)), DeleteLater, 3},
		{"negative", func(*core.Pod) {}, new(int64(-7)), DeleteLater, 1},
		{"forced", func(*core.Pod) {}, new(int64(0)), DeleteNow, 0},
		{"unscheduled", func(p *core.Pod) { p.Spec.NodeName = "" }, nil, DeleteNow, 0},
		{"finished", func(p *core.Pod) { p.Status.Phase = core.PodSucceeded }, new(int64(9)), DeleteNow, 0},
		{"failed", func(p *core.Pod) { p.Status.Phase = core.PodFailed }, nil, DeleteNow, 0},
		{"unscheduled with a finalizer", func(p *core.Pod) { p.Spec.NodeName, p.Finalizers = "", []string{"a/b"} }, nil, DeleteLater, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod, opts := boundPod(t), &metav1.DeleteOptions{GracePeriodSeconds: c.grace}
			c.change(pod)
			got, err := pods().PrepareForDelete(pod, opts, now)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.Equal(t, c.left, *opts.GracePeriodSeconds)
			require.Equal(t, c.left, *pod.DeletionGracePeriodSeconds)
			require.Equal(t, now.Add(time.Duration(c.left)*time.Second), pod.DeletionTimestamp.Time)
			require.EqualValues(t, 2, pod.Generation)
		})
	}
}

func TestDeletePodAgain(t *testing.T) {
	pod, r := boundPod(t), pods()
	step := func(after time.Duration, grace *int64, want Deletion, left int64, at time.Time) {
		t.Helper()
		got, err := r.PrepareForDelete(pod, &metav1.DeleteOptions{GracePeriodSeconds: grace}, now.Add(after))
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, left, *pod.DeletionGracePeriodSeconds)
		require.Equal(t, at, pod.DeletionTimestamp.Time)
		require.EqualValues(t, 2, pod.Generation)
	}
	step(0, nil, DeleteLater, 30, now.Add(30*time.Second))
	step(time.Second, nil, DeletePending, 30, now.Add(30*time.Second))
	step(time.Second, new(int64(60)), DeletePending, 30, now.Add(30*time.Second))
	step(time.Second, new(int64(10)), DeleteLater, 10, now.Add(10*time.Second))
	step(8*time.Second, new(int64(4)), DeleteLater, 1, now.Add(8*time.Second))
	step(9*time.Second, new(int64(0)), DeleteNow, 0, now.Add(9*time.Second))
	step(9*time.Second, nil, DeleteNow, 0, now.Add(9*time.Second))
}

func TestDeletePropagation(t *testing.T) {
	policy := func(p metav1.DeletionPropagation) *metav1.DeleteOptions {
		return &metav1.DeleteOptions{PropagationPolicy: &p}
	}
	cases := []struct {
		opts *metav1.DeleteOptions
		had  []string
		want Deletion
		has  []string
	}{
		{&metav1.DeleteOptions{}, nil, DeleteNow, nil},
		{policy(metav1.DeletePropagationBackground), nil, DeleteNow, nil},
		{policy(metav1.DeletePropagationForeground), nil, DeleteLater, []string{metav1.FinalizerDeleteDependents}},
		{policy(metav1.DeletePropagationOrphan), []string{"a/b"}, DeleteLater, []string{"a/b", metav1.FinalizerOrphanDependents}},
		{policy(metav1.DeletePropagationBackground), []string{metav1.FinalizerDeleteDependents}, DeleteNow, nil},
		{&metav1.DeleteOptions{}, []string{metav1.FinalizerDeleteDependents}, DeleteLater, []string{metav1.FinalizerDeleteDependents}},
		{&metav1.DeleteOptions{OrphanDependents: new(true)}, nil, DeleteLater, []string{metav1.FinalizerOrphanDependents}},
	}
	for _, c := range cases {
		d := made[*apps.Deployment](t, deployments(), deploymentManifest)
		d.Finalizers = c.had
		got, err := deployments().PrepareForDelete(d, c.opts, now)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
		require.ElementsMatch(t, c.has, d.Finalizers)
		if got == DeleteLater {
			require.Equal(t, now, d.DeletionTimestamp.Time)
			require.EqualValues(t, 2, d.Generation)
		}
	}
	_, err := deployments().PrepareForDelete(made[*apps.Deployment](t, deployments(), deploymentManifest), policy("Later"), now)
	require.ErrorContains(t, err, `propagationPolicy: Unsupported value: "Later"`)
}

func TestDeletePreconditions(t *testing.T) {
	for _, p := range []metav1.Preconditions{{UID: new(types.UID("x"))}, {ResourceVersion: new("x")}} {
		_, err := pods().PrepareForDelete(boundPod(t), &metav1.DeleteOptions{Preconditions: &p}, now)
		require.True(t, apierrors.IsConflict(err), err)
	}
	_, err := pods().PrepareForDelete(boundPod(t), &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(stamp().UID), ResourceVersion: new("7")}}, now)
	require.NoError(t, err)
}

func TestDeleteNamespace(t *testing.T) {
	r := namespaces()
	ns := made[*core.Namespace](t, r, "{apiVersion: v1, kind: Namespace, metadata: {name: blue}}")
	want := []Deletion{DeleteLater, DeletePending}
	for _, w := range want {
		got, err := r.PrepareForDelete(ns, &metav1.DeleteOptions{}, now)
		require.NoError(t, err)
		require.Equal(t, w, got)
		require.Equal(t, core.NamespaceTerminating, ns.Status.Phase)
	}
	kept, _, err := changed(r, "", ns, func(ns *core.Namespace) { ns.Spec.Finalizers = nil })
	require.NoError(t, err)
	require.False(t, r.DeletedByUpdate(kept, ns), "only finalize removes them")
	final, _, err := changed(r, "finalize", ns, func(ns *core.Namespace) { ns.Spec.Finalizers = nil })
	require.NoError(t, err)
	require.True(t, r.DeletedByUpdate(final, ns))
	got, err := r.PrepareForDelete(final, &metav1.DeleteOptions{}, now)
	require.NoError(t, err)
	require.Equal(t, DeleteNow, got)
}

func TestDeletedByUpdate(t *testing.T) {
	r, old := pods(), boundPod(t)
	old.Finalizers = []string{"a/b"}
	_, err := r.PrepareForDelete(old, &metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, now)
	require.NoError(t, err)
	free, _, err := changed(r, "", old, func(p *core.Pod) { p.Finalizers = nil })
	require.NoError(t, err)
	require.True(t, r.DeletedByUpdate(free, old))
	require.False(t, r.DeletedByUpdate(old, old))
	old.DeletionGracePeriodSeconds = new(int64(30))
	require.False(t, r.DeletedByUpdate(free, old), "its kubelet has still to stop it")
	old.DeletionTimestamp = nil
	require.False(t, r.DeletedByUpdate(free, old))
}
