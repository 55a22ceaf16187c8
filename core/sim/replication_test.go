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

// A ReplicationController keeps its number of pods, says so in its status, and
// takes its pods with it.
func TestReplicationController(t *testing.T) {
	labels := map[string]string{"app": "old"}
	ready := func(n int) func(State) error {
		return func(s State) error {
			for i := range s.Pods {
				if owner := metav1.GetControllerOf(&s.Pods[i]); owner == nil || owner.Kind != "ReplicationController" || !IsReady(&s.Pods[i]) {
					return fmt.Errorf("pod %s belongs to %v", s.Pods[i].Name, owner)
				}
			}
			if len(s.Pods) != n {
				return fmt.Errorf("%d pods, not %d", len(s.Pods), n)
			}
			return nil
		}
	}
	scale := func(ctx context.Context, c kubernetes.Interface) error {
		rc, err := c.CoreV1().ReplicationControllers("default").Get(ctx, "old", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if rc.Status.Replicas != 3 {
			return fmt.Errorf("status.replicas is %d", rc.Status.Replicas)
		}
		rc.Spec.Replicas = new(int32(1))
		_, err = c.CoreV1().ReplicationControllers("default").Update(ctx, rc, metav1.UpdateOptions{})
		return err
	}
	sc := Scenario{
		Config: Config{Controllers: controller.Named("replicationcontroller-controller", "replicaset-controller", "garbage-collector"), Kubelet: true},
		Acts: []Act{
			{Do: func(ctx context.Context, c kubernetes.Interface) error {
				_, err := c.CoreV1().ReplicationControllers("default").Create(ctx, &corev1.ReplicationController{
					ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: "default"},
					Spec: corev1.ReplicationControllerSpec{Replicas: new(int32(3)), Selector: labels, Template: &corev1.PodTemplateSpec{
						ObjectMeta: metav1.ObjectMeta{Labels: labels},
						Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
					}},
				}, metav1.CreateOptions{})
				return err
			}, Goal: ready(3)},
			{Do: scale, Goal: ready(1)},
			{Do: func(ctx context.Context, c kubernetes.Interface) error {
				background := metav1.DeletePropagationBackground
				return c.CoreV1().ReplicationControllers("default").Delete(ctx, "old", metav1.DeleteOptions{PropagationPolicy: &background})
			}, Goal: ready(0)},
		},
	}
	for seed := uint64(1); seed <= 4; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}
