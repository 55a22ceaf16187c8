package sim

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

// cidrIs: the ServiceCIDR more has that condition, and the reason for it.
func cidrIs(status metav1.ConditionStatus, reason string) func(State) error {
	return func(s State) error {
		for _, c := range s.CIDRs {
			for _, condition := range c.Status.Conditions {
				if c.Name == "more" && condition.Type == "Ready" && condition.Status == status && condition.Reason == reason && len(c.Finalizers) == 1 {
					return nil
				}
			}
		}
		return fmt.Errorf("%+v", s.CIDRs)
	}
}

// uses: so many addresses are in use.
func uses(n int) func(State) error {
	return func(s State) error {
		if len(s.IPs) != n {
			return fmt.Errorf("%d are in use: %+v", len(s.IPs), s.IPs)
		}
		return nil
	}
}

// A ServiceCIDR that is deleted stays while an address of it is in use that is
// in no other one; an IPAddress that somebody deletes comes back, and one that
// belongs to no Service goes.
func TestServiceCIDRsInManyOrders(t *testing.T) {
	gone := func(s State) error {
		if len(s.CIDRs) != 1 {
			return errors.New("it is still there")
		}
		return nil
	}
	sc := Scenario{Config: Config{Controllers: controller.Named("service-cidr-controller", "ipallocator-repair-controller")}, Invariants: none, Acts: []Act{
		{Goal: cidrIs(metav1.ConditionTrue, ""), Do: func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.NetworkingV1().ServiceCIDRs().Create(ctx, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"},
				Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"203.0.113.0/24"}}}, metav1.CreateOptions{})
			return err
		}},
		{Goal: uses(1), Do: func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
				ClusterIP: "203.0.113.7", Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
			return err
		}},
		{Goal: uses(1), Do: func(ctx context.Context, c kubernetes.Interface) error {
			return c.NetworkingV1().IPAddresses().Delete(ctx, "203.0.113.7", metav1.DeleteOptions{})
		}},
		{Goal: cidrIs(metav1.ConditionFalse, "Terminating"), Do: func(ctx context.Context, c kubernetes.Interface) error {
			return c.NetworkingV1().ServiceCIDRs().Delete(ctx, "more", metav1.DeleteOptions{})
		}},
		{Goal: gone, Do: func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().Services("default").Delete(ctx, "web", metav1.DeleteOptions{})
		}},
		{Goal: uses(0), Do: func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.NetworkingV1().IPAddresses().Create(ctx, &networkingv1.IPAddress{
				ObjectMeta: metav1.ObjectMeta{Name: "10.96.0.9", Labels: map[string]string{networkingv1.LabelManagedBy: "ipallocator.k8s.io"}},
				Spec:       networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "nobody"}},
			}, metav1.CreateOptions{})
			return err
		}},
	}}
	for seed := uint64(1); seed <= 10; seed++ {
		requireGood(t, play(t, sc, step.Random(seed)), seed)
	}
}
