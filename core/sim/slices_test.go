package sim

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

// one: the Service has one slice, and it says that there is no endpoint.
func one(s State) error {
	if len(s.Slices) != 1 || len(s.Slices[0].Endpoints) != 0 {
		return fmt.Errorf("%d slices: %+v", len(s.Slices), s.Slices)
	}
	return nil
}

// Whoever deletes or changes a slice of the controller's gets it back.
func TestSlicesAreMendedInManyOrders(t *testing.T) {
	hand := func(f func(context.Context, kubernetes.Interface, *discoveryv1.EndpointSlice) error) Act {
		return Act{Goal: one, Do: func(ctx context.Context, c kubernetes.Interface) error {
			list, err := c.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			return f(ctx, c, &list.Items[0])
		}}
	}
	sc := Scenario{Config: Config{Controllers: controller.Named("endpointslice-controller")}, Invariants: none, Acts: []Act{
		{Goal: one, Do: func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
			return err
		}},
		hand(func(ctx context.Context, c kubernetes.Interface, s *discoveryv1.EndpointSlice) error {
			return c.DiscoveryV1().EndpointSlices("default").Delete(ctx, s.Name, metav1.DeleteOptions{})
		}),
		hand(func(ctx context.Context, c kubernetes.Interface, s *discoveryv1.EndpointSlice) error {
			s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}}
			_, err := c.DiscoveryV1().EndpointSlices("default").Update(ctx, s, metav1.UpdateOptions{})
			return err
		}),
	}}
	for seed := uint64(1); seed <= 10; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}
