package apiserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestIngressesHaveAClass(t *testing.T) {
	l := newLab(t)
	ctx, c := t.Context(), l.admin(t).NetworkingV1()
	create := func(name string) *networkingv1.Ingress {
		ing, err := c.Ingresses("default").Create(ctx, &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
				Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}},
			Status: networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{
				Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		return ing
	}
	require.Nil(t, create("none").Spec.IngressClassName)

	class := func(name string, isDefault string) {
		_, err := c.IngressClasses().Create(ctx, &networkingv1.IngressClass{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: isDefault}},
			Spec:       networkingv1.IngressClassSpec{Controller: "klab.local/ingress"},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	class("other", "false")
	require.Nil(t, create("still-none").Spec.IngressClassName)
	class("klab", "true")
	var ing *networkingv1.Ingress
	require.Eventually(t, func() bool { // admission reads a cache
		_ = c.Ingresses("default").Delete(ctx, "some", metav1.DeleteOptions{})
		ing = create("some")
		return ing.Spec.IngressClassName != nil
	}, waitFor, tick)
	require.Equal(t, "klab", *ing.Spec.IngressClassName)
	require.Empty(t, ing.Status.LoadBalancer.Ingress, "who creates it does not say where it is")
	require.EqualValues(t, 1, ing.Generation)

	ing, err := c.Ingresses("default").Patch(ctx, "some", types.MergePatchType,
		[]byte(`{"spec":{"ingressClassName":"other"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"}]}}}`), metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	require.Equal(t, "klab", *ing.Spec.IngressClassName)
	require.Equal(t, "192.0.2.7", ing.Status.LoadBalancer.Ingress[0].IP)
}
