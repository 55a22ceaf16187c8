package sim

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

func collected() []controller.Controller {
	return controller.Named("deployment-controller", "replicaset-controller", "garbage-collector", "namespace-controller", "serviceaccount-controller")
}

func remove(policy metav1.DeletionPropagation, goal func(State) error) Act {
	return Act{
		Do: func(ctx context.Context, c kubernetes.Interface) error {
			return c.AppsV1().Deployments("default").Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: &policy})
		},
		Goal: goal,
	}
}

func left(deployments, sets, pods int) func(State) error {
	return func(s State) error {
		if len(s.Deployments) != deployments || len(s.ReplicaSets) != sets || len(s.Pods) != pods {
			return fmt.Errorf("left: %d deployments, %d replica sets, %d pods", len(s.Deployments), len(s.ReplicaSets), len(s.Pods))
		}
		return nil
	}
}

func none() []Invariant { return nil }

// ownersStay: once there are pods, no owner is gone before its dependents.
func ownersStay() []Invariant {
	started := false
	return []Invariant{func(s State) error {
		started = started || len(s.Pods) > 0
		switch {
		case started && len(s.Deployments) == 0 && len(s.ReplicaSets) > 0:
			return fmt.Errorf("the deployment is gone before its replica sets")
		case started && len(s.ReplicaSets) == 0 && len(s.Pods) > 0:
			return fmt.Errorf("the replica sets are gone before their pods")
		}
		return nil
	}}
}

func TestCascades(t *testing.T) {
	for _, tc := range []struct {
		policy     metav1.DeletionPropagation
		goal       func(State) error
		invariants func() []Invariant
	}{
		{metav1.DeletePropagationBackground, left(0, 0, 0), none},
		{metav1.DeletePropagationForeground, left(0, 0, 0), ownersStay},
		{metav1.DeletePropagationOrphan, left(0, 1, 2), none},
	} {
		t.Run(string(tc.policy), func(t *testing.T) {
			sc := Scenario{
				Config:     Config{Controllers: collected(), Kubelet: true},
				Acts:       []Act{create(web(2, "web:1")), remove(tc.policy, tc.goal)},
				Invariants: tc.invariants,
			}
			for seed := uint64(1); seed <= 8; seed++ {
				requireGood(t, play(t, sc, step.Random(seed)), seed)
			}
		})
	}
}

func TestOrphansAreAdoptedAgain(t *testing.T) {
	adopted := func(s State) error {
		if len(s.Deployments) != 1 || len(s.ReplicaSets) != 1 {
			return fmt.Errorf("%d deployments, %d replica sets", len(s.Deployments), len(s.ReplicaSets))
		}
		if !metav1.IsControlledBy(&s.ReplicaSets[0], &s.Deployments[0]) {
			return fmt.Errorf("the replica set is not adopted")
		}
		return ready(2, "web:1")(s)
	}
	again := create(web(2, "web:1"))
	again.Goal = adopted
	sc := Scenario{Config: Config{Controllers: collected(), Kubelet: true}, Acts: []Act{
		create(web(2, "web:1")), remove(metav1.DeletePropagationOrphan, left(0, 1, 2)), again}, Invariants: none}
	for seed := uint64(1); seed <= 5; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}

func TestANamespaceGoesWithAllItsContent(t *testing.T) {
	empty := func(s State) error {
		for _, ns := range s.Namespaces {
			if ns.Name == "lab" {
				return fmt.Errorf("the namespace is still there: %+v", ns.Status.Conditions)
			}
		}
		return left(0, 0, 0)(s)
	}
	d := web(2, "web:1")
	d.Namespace = "lab"
	sc := Scenario{Config: Config{Controllers: collected(), Kubelet: true}, Acts: []Act{
		{
			Do: func(ctx context.Context, c kubernetes.Interface) error {
				_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "lab"}}, metav1.CreateOptions{})
				if err != nil {
					return err
				}
				_, err = c.AppsV1().Deployments("lab").Create(ctx, d, metav1.CreateOptions{})
				return err
			},
			Goal: ready(2, "web:1"),
		},
		{
			Do: func(ctx context.Context, c kubernetes.Interface) error {
				return c.CoreV1().Namespaces().Delete(ctx, "lab", metav1.DeleteOptions{})
			},
			Goal: empty,
		},
	}, Invariants: none}
	for seed := uint64(1); seed <= 5; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}
