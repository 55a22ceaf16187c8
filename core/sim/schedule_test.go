package sim

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/step"
)

func asking(cpu string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
}

// placed: so many pods have a node, and the others say why not.
func placed(n, without int, why string) func(State) error {
	return func(s State) error {
		with, waiting := 0, 0
		for _, p := range s.Pods {
			if p.Spec.NodeName != "" {
				with++
			}
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == "Unschedulable" && c.Message == why {
					waiting++
				}
			}
		}
		if with != n || waiting != without {
			return fmt.Errorf("%d pods have a node, %d wait", with, waiting)
		}
		return nil
	}
}

// Two nodes with room for four pods each: the scheduler decides the ninth pod
// while bindings of others are on their way, and still no node gets a fifth.
func TestNodesAreNeverOverbooked(t *testing.T) {
	moreRoom := Act{
		Do: func(ctx context.Context, c kubernetes.Interface) error {
			n, err := c.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
			if err != nil {
				return err
			}
			n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("5")
			_, err = c.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
			return err
		},
		Goal: placed(9, 0, ""),
	}
	full := create(web(9, "web:1", asking("1")))
	full.Goal = placed(8, 1, "0/2 nodes are available: 2 Insufficient cpu.")
	sc := Scenario{Config: Config{Controllers: workloads(), Nodes: 2, Kubelet: true}, Acts: []Act{full, moreRoom},
		Invariants: func() []Invariant { return []Invariant{NodesNotOverfull} }}
	for seed := uint64(1); seed <= 10; seed++ {
		r := play(t, sc, step.Random(seed))
		requireGood(t, r, seed)
	}
	for seed := uint64(1); seed <= 10; seed++ {
		requireGood(t, play(t, sc, step.Faulty(step.Random(seed), seed, 12, step.Fail, step.Crash)), seed)
	}
}
