package sim

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

func withNodes(grace time.Duration) Config {
	return Config{Nodes: 3, Kubelet: true, NodeGrace: grace, Controllers: controller.Named("deployment-controller", "replicaset-controller",
		"node-lifecycle-controller", "taint-eviction-controller", "pod-garbage-collector-controller")}
}

// tolerant pods bear a failed node for 30 s.
func tolerant(d *appsv1.Deployment) {
	seconds := int64(30)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		d.Spec.Template.Spec.Tolerations = append(d.Spec.Template.Spec.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
	}
}

func movedFrom(n int32, not string) func(State) error {
	return func(s State) error {
		for _, p := range s.Pods {
			if p.Spec.NodeName == not {
				return fmt.Errorf("pod %s is still on %s", p.Name, not)
			}
		}
		return ready(n, "web:1")(s)
	}
}

func taintsOf(s State, node string) []string {
	var words []string
	for _, n := range s.Nodes {
		for _, t := range n.Spec.Taints {
			if n.Name == node {
				words = append(words, t.Key+":"+string(t.Effect))
			}
		}
	}
	return words
}

func TestPodsLeaveANodeThatIsNotReady(t *testing.T) {
	sc := Scenario{Config: withNodes(time.Hour), Invariants: none, Acts: []Act{
		create(web(3, "web:1", tolerant)),
		{
			Do: func(ctx context.Context, c kubernetes.Interface) error {
				n, err := c.CoreV1().Nodes().Get(ctx, "node-3", metav1.GetOptions{})
				if err != nil {
					return err
				}
				n.Status.Conditions[0].Status = corev1.ConditionFalse
				_, err = c.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
				return err
			},
			Goal: movedFrom(3, "node-3"),
		}}}
	for seed := uint64(1); seed <= 5; seed++ {
		r := play(t, sc, step.Random(seed))
		requireGood(t, r, seed)
		require.Equal(t, []string{"node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}, taintsOf(r.State, "node-3"))
		require.Empty(t, taintsOf(r.State, "node-1"))
	}
}

func TestPodsOfADeletedNodeAreReplaced(t *testing.T) {
	sc := Scenario{Config: withNodes(time.Hour), Invariants: none, Acts: []Act{
		create(web(3, "web:1", tolerant)),
		{
			Do: func(ctx context.Context, c kubernetes.Interface) error {
				return c.CoreV1().Nodes().Delete(ctx, "node-3", metav1.DeleteOptions{})
			},
			Goal: movedFrom(3, "node-3"),
		}}}
	for seed := uint64(1); seed <= 3; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}

func TestWhenAllNodesAreSilentNobodyIsEvicted(t *testing.T) {
	silent := func(s State) error {
		for _, n := range s.Nodes {
			if n.Status.Conditions[0].Status != corev1.ConditionUnknown || len(n.Spec.Taints) == 0 {
				return fmt.Errorf("node %s is not yet unreachable", n.Name)
			}
		}
		for _, p := range s.Pods {
			if IsReady(&p) {
				return fmt.Errorf("pod %s still counts as ready", p.Name)
			}
		}
		return nil
	}
	sc := Scenario{Config: withNodes(40 * time.Second), Invariants: none, Acts: []Act{
		create(web(3, "web:1")),
		{Do: func(context.Context, kubernetes.Interface) error { return nil }, Goal: silent},
	}}
	r := play(t, sc, step.Random(1))
	requireGood(t, r, 1)
	for _, n := range []string{"node-1", "node-2", "node-3"} {
		require.Equal(t, []string{"node.kubernetes.io/unreachable:NoSchedule"}, taintsOf(r.State, n))
	}
	require.Len(t, r.State.Pods, 3)
}
