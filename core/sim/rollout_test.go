package sim

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

func both(goals ...func(State) error) func(State) error {
	return func(s State) error {
		for _, g := range goals {
			if err := g(s); err != nil {
				return err
			}
		}
		return nil
	}
}

func sets(n int, revision string) func(State) error {
	return func(s State) error {
		if len(s.ReplicaSets) != n || s.Deployments[0].Annotations["deployment.kubernetes.io/revision"] != revision {
			return fmt.Errorf("%d replica sets, revision %q", len(s.ReplicaSets), s.Deployments[0].Annotations["deployment.kubernetes.io/revision"])
		}
		return nil
	}
}

func TestRollbackAndHistory(t *testing.T) {
	limit := int32(1)
	image := func(v string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = v }
	}
	first := create(web(2, "web:1", func(d *appsv1.Deployment) { d.Spec.RevisionHistoryLimit = &limit }))
	sc := Scenario{
		Config: Config{Controllers: controller.Named("deployment-controller", "replicaset-controller", "garbage-collector"), Kubelet: true},
		Acts: []Act{
			first,
			change(both(ready(2, "web:2"), sets(2, "2")), image("web:2")),
			change(both(ready(2, "web:1"), sets(2, "3")), image("web:1")), // what kubectl rollout undo does
			change(both(ready(2, "web:3"), sets(2, "4")), image("web:3")), // web:2 is beyond the limit
		},
	}
	for seed := uint64(1); seed <= 5; seed++ {
		r := play(t, sc, step.Random(seed))
		requireGood(t, r, seed)
		var revisions []string
		for _, rs := range r.State.ReplicaSets {
			revisions = append(revisions, rs.Annotations["deployment.kubernetes.io/revision"])
		}
		require.ElementsMatch(t, []string{"3", "4"}, revisions)
	}
}

func TestPauseAndResume(t *testing.T) {
	progressing := func(reason string) func(State) error {
		return func(s State) error {
			for _, c := range s.Deployments[0].Status.Conditions {
				if c.Type == appsv1.DeploymentProgressing && c.Reason == reason {
					return nil
				}
			}
			return fmt.Errorf("not %s: %+v", reason, s.Deployments[0].Status.Conditions)
		}
	}
	sc := Scenario{Config: Config{Controllers: workloads(), Kubelet: true}, Acts: []Act{
		create(web(2, "web:1")),
		change(progressing("DeploymentPaused"), func(d *appsv1.Deployment) { d.Spec.Paused = true }),
		change(both(sets(1, "1"), progressing("DeploymentPaused")), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" }),
		change(both(ready(2, "web:2"), progressing("NewReplicaSetAvailable")), func(d *appsv1.Deployment) { d.Spec.Paused = false }),
	}}
	for seed := uint64(1); seed <= 5; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}

// A ReplicaSet of the name that the Deployment's next one would have, but with
// another template, does not stop the Deployment.
func TestHashCollision(t *testing.T) {
	squat := func(ctx context.Context, c kubernetes.Interface) error {
		d := web(1, "web:1")
		other := web(0, "other:1")
		other.Spec.Template.Labels = map[string]string{"app": "other"}
		_, err := c.AppsV1().ReplicaSets("default").Create(ctx, &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: "web-57d9664db9"},
			Spec: appsv1.ReplicaSetSpec{Replicas: other.Spec.Replicas, Template: other.Spec.Template,
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		_, err = c.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{})
		return err
	}
	r := play(t, Scenario{Config: Config{Controllers: workloads(), Kubelet: true},
		Acts: []Act{{Do: squat, Goal: ready(1, "web:1")}}}, step.Random(1))
	requireGood(t, r, 1)
	require.EqualValues(t, 1, *r.State.Deployments[0].Status.CollisionCount)
}
