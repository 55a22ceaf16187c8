package sim

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

func web(replicas int32, image string, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
			},
		},
	}
	for _, f := range change {
		f(d)
	}
	return d
}

func create(d *appsv1.Deployment) Act {
	return Act{
		Do: func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{})
			return err
		},
		Goal: ready(*d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image),
	}
}

func change(goal func(State) error, f func(*appsv1.Deployment)) Act {
	return Act{
		Do: func(ctx context.Context, c kubernetes.Interface) error {
			d, err := c.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			f(d)
			_, err = c.AppsV1().Deployments("default").Update(ctx, d, metav1.UpdateOptions{})
			return err
		},
		Goal: goal,
	}
}

func setImage(replicas int32, image string) Act {
	return change(ready(replicas, image), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

// ready: exactly n pods, all of this image and ready, and the status says so.
func ready(n int32, image string) func(State) error {
	return func(s State) error {
		count := int32(0)
		for _, p := range s.Pods {
			if p.Spec.Containers[0].Image != image || !IsReady(&p) || p.DeletionTimestamp != nil {
				return fmt.Errorf("pod %s is not yet a ready one of %s", p.Name, image)
			}
			count++
		}
		if count != n || len(s.Deployments) != 1 {
			return fmt.Errorf("%d pods, not %d", count, n)
		}
		st := s.Deployments[0].Status
		if st.AvailableReplicas != n || st.UpdatedReplicas != n || st.Replicas != n || st.ObservedGeneration != s.Deployments[0].Generation {
			return fmt.Errorf("the deployment's status does not say %d: %+v", n, st)
		}
		return nil
	}
}

func workloads() []controller.Controller {
	return controller.Named("deployment-controller", "replicaset-controller")
}

func rollout() Scenario {
	return Scenario{
		Config: Config{Controllers: workloads(), Nodes: 3, Kubelet: true},
		Acts:   []Act{create(web(3, "web:1")), setImage(3, "web:2")},
	}
}

// play runs a scenario in a bubble of its own.
func play(t *testing.T, sc Scenario, c step.Chooser) (r Result) {
	synctest.Test(t, func(*testing.T) { r = Run(sc, c) })
	return r
}

func requireGood(t *testing.T, r Result, seed uint64) {
	t.Helper()
	if r.Err != nil {
		for _, c := range r.Choices {
			t.Log(c.What, c.How.Kind)
		}
	}
	require.NoError(t, r.Err, "seed %d", seed)
}

func TestRolloutInManyOrders(t *testing.T) {
	for seed := uint64(1); seed <= 25; seed++ {
		requireGood(t, play(t, rollout(), step.Random(seed)), seed)
	}
}

func TestTheSameChoicesGiveTheSameRun(t *testing.T) {
	first := play(t, rollout(), step.Random(7))
	requireGood(t, first, 7)
	for range 10 {
		replay := step.Replay(first.Choices)
		again := play(t, rollout(), replay)
		require.NoError(t, replay.Err())
		require.NoError(t, again.Err)
		require.Equal(t, first.Choices, again.Choices)
		require.Equal(t, first.State, again.State)
	}
}

func TestRolloutSurvivesFailuresAndCrashes(t *testing.T) {
	for seed := uint64(1); seed <= 15; seed++ {
		chooser := step.Faulty(step.Random(seed), seed, 15, step.Fail, step.Crash)
		requireGood(t, play(t, rollout(), chooser), seed)
	}
}

func TestPodsSpreadOverNodes(t *testing.T) {
	r := play(t, Scenario{Config: Config{Controllers: workloads(), Nodes: 3, Kubelet: true}, Acts: []Act{create(web(6, "web:1"))}}, step.Random(3))
	requireGood(t, r, 3)
	on := map[string]int{}
	for _, p := range r.State.Pods {
		on[p.Spec.NodeName]++
	}
	require.Equal(t, map[string]int{"node-1": 2, "node-2": 2, "node-3": 2}, on)
}

func TestScaleInTheMiddleOfARollout(t *testing.T) {
	halfway := func(s State) error {
		for _, rs := range s.ReplicaSets {
			if rs.Spec.Template.Spec.Containers[0].Image == "web:2" {
				return nil
			}
		}
		return errors.New("the new replica set is not there yet")
	}
	sc := Scenario{
		Config: Config{Controllers: workloads(), Kubelet: true},
		Acts: []Act{
			create(web(4, "web:1")),
			change(halfway, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" }),
			change(ready(8, "web:2"), func(d *appsv1.Deployment) { n := int32(8); d.Spec.Replicas = &n }),
		},
		Invariants: func() []Invariant { return []Invariant{NeverTooManyPods(), AtMostOneController} },
	}
	for seed := uint64(1); seed <= 5; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}

func TestRecreateNeverMixesVersions(t *testing.T) {
	mixed := func(s State) error {
		images := map[string]bool{}
		for _, p := range s.Pods {
			images[p.Spec.Containers[0].Image] = true
		}
		if len(images) > 1 {
			return fmt.Errorf("pods of both versions: %v", images)
		}
		return nil
	}
	sc := Scenario{
		Config: Config{Controllers: workloads(), Kubelet: true},
		Acts: []Act{create(web(3, "web:1", func(d *appsv1.Deployment) {
			d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
		})), setImage(3, "web:2")},
		Invariants: func() []Invariant { return []Invariant{mixed, NeverTooManyPods()} },
	}
	for seed := uint64(1); seed <= 10; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}
