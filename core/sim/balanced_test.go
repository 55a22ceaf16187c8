package sim

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

// A Service gets its address, loses it with its type, and gets one again; it is
// held until that has been taken back. Whatever is delivered when: the
// controller never writes on top of what it has not read.
func TestLoadBalancersInManyOrders(t *testing.T) {
	has := func(services, addresses, finalizers int) func(State) error {
		return func(s State) error {
			if len(s.Services) != services || services > 0 &&
				(len(s.Services[0].Status.LoadBalancer.Ingress) != addresses || len(s.Services[0].Finalizers) != finalizers) {
				return fmt.Errorf("%+v", s.Services)
			}
			return nil
		}
	}
	become := func(kind corev1.ServiceType) func(context.Context, kubernetes.Interface) error {
		return func(ctx context.Context, c kubernetes.Interface) error {
			svc, err := c.CoreV1().Services("default").Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			svc.Spec.Type = kind
			_, err = c.CoreV1().Services("default").Update(ctx, svc, metav1.UpdateOptions{})
			return err
		}
	}
	pool := netip.MustParsePrefix("198.51.100.0/24")
	for seed := uint64(1); seed <= 20; seed++ {
		var log bytes.Buffer
		sc := Scenario{Invariants: none, Config: Config{
			Controllers: controller.Named("service-lb-controller"), Log: slog.New(slog.NewTextHandler(&log, nil)),
			LoadBalancer: &controller.LoadBalancer{Pools: []netip.Prefix{pool}, Balance: func([]controller.Balanced, []controller.BalancedNode) {}},
		}, Acts: []Act{
			{Goal: has(1, 1, 1), Do: func(ctx context.Context, c kubernetes.Interface) error {
				_, err := c.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
				return err
			}},
			{Goal: has(1, 0, 0), Do: become(corev1.ServiceTypeClusterIP)},
			{Goal: has(1, 1, 1), Do: become(corev1.ServiceTypeLoadBalancer)},
			{Goal: has(0, 0, 0), Do: func(ctx context.Context, c kubernetes.Interface) error {
				return c.CoreV1().Services("default").Delete(ctx, "web", metav1.DeleteOptions{})
			}},
		}}
		requireGood(t, play(t, sc, step.Random(seed)), seed)
		require.NotContains(t, log.String(), "reconcile failed", "seed %d", seed)
	}
}
