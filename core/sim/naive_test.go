package sim

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

// naive is a ReplicaSet controller as one writes it first: it counts the pods
// in its cache and creates what is missing. It forgets that the cache may not
// yet show what it created a moment ago.
var naive = controller.Controller{Name: "replicaset-controller", Resource: "replicasets.apps",
	New: func(l *controller.Loop) (controller.Reconcile, error) {
		sets, pods := l.Informers.Apps().V1().ReplicaSets(), l.Informers.Core().V1().Pods()
		err := controller.Watch(l, sets.Informer(), func(_, cur *appsv1.ReplicaSet) { l.AddObject(cur) })
		if err == nil {
			err = controller.Watch(l, pods.Informer(), func(_, cur *corev1.Pod) { l.Add("default/"+metav1.GetControllerOf(cur).Name, 0) })
		}
		return func(ctx context.Context, key string) error {
			_, name, _ := cache.SplitMetaNamespaceKey(key)
			rs, err := sets.Lister().ReplicaSets("default").Get(name)
			if apierrors.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return err
			}
			have, err := pods.Lister().List(labels.Everything())
			if err != nil {
				return err
			}
			for range int(*rs.Spec.Replicas) - len(have) {
				pod := &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{
						GenerateName: name + "-", Labels: rs.Spec.Template.Labels,
						OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}},
					Spec: rs.Spec.Template.Spec,
				}
				if _, err := l.Client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		}, err
	}}

// bare is a ReplicaSet of two pods and nothing else.
func bare(rs controller.Controller) Scenario {
	two := int32(2)
	labels := map[string]string{"app": "web"}
	return Scenario{
		Config: Config{Controllers: []controller.Controller{rs}, Kubelet: true},
		Acts: []Act{{
			Do: func(ctx context.Context, c kubernetes.Interface) error {
				_, err := c.AppsV1().ReplicaSets("default").Create(ctx, &appsv1.ReplicaSet{
					ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
					Spec: appsv1.ReplicaSetSpec{Replicas: &two, Selector: &metav1.LabelSelector{MatchLabels: labels},
						Template: corev1.PodTemplateSpec{
							ObjectMeta: metav1.ObjectMeta{Labels: labels},
							Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}}},
				}, metav1.CreateOptions{})
				return err
			},
			Goal: func(s State) error {
				if len(s.Pods) != 2 || !IsReady(&s.Pods[0]) || !IsReady(&s.Pods[1]) {
					return fmt.Errorf("%d pods, not all ready", len(s.Pods))
				}
				return nil
			},
		}},
	}
}

// search tries schedules until one fails, and returns it.
func search(t *testing.T, sc Scenario, depth, deviations, limit int) (failed *Result, tried int) {
	d := &step.DepthFirst{Depth: depth, Deviations: deviations}
	for tried < limit && d.Next() {
		tried++
		var r Result
		synctest.Test(t, func(*testing.T) { r = Run(sc, d) })
		if r.Err != nil {
			return &r, tried
		}
	}
	return nil, tried
}

func TestTheSimulationFindsANaiveController(t *testing.T) {
	sc := bare(naive)
	found, tried := search(t, sc, 20, 2, 500)
	require.NotNil(t, found, "in %d schedules", tried)
	require.ErrorContains(t, found.Err, "has 3 pods and never wanted more than 2")
	t.Logf("found in schedule %d: %v", tried, found.Err)
	for _, c := range found.Choices {
		t.Log("  ", c.What)
	}
	for range 10 {
		replay := step.Replay(found.Choices)
		var again Result
		synctest.Test(t, func(*testing.T) { again = Run(sc, replay) })
		require.NoError(t, replay.Err())
		require.Equal(t, found.Err.Error(), again.Err.Error())
		require.Equal(t, found.Choices, again.Choices)
		require.Equal(t, found.State, again.State)
	}
}

func TestExpectationsSurviveEverySchedule(t *testing.T) {
	sc := bare(controller.Named("replicaset-controller")[0])
	failed, tried := search(t, sc, 40, 2, 300)
	if failed != nil {
		for _, c := range failed.Choices {
			t.Log(c.What)
		}
		require.NoError(t, failed.Err)
	}
	t.Logf("%d schedules", tried)
}
