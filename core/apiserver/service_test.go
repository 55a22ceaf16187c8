package apiserver_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/apiserver"
)

func newService(name string, change ...func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}},
	}}
	for _, f := range change {
		f(&s.Spec)
	}
	return s
}

func TestServicesGetNumbers(t *testing.T) {
	l := newLab(t)
	ctx, services := t.Context(), l.admin(t).CoreV1().Services("default")
	create := func(s *corev1.Service) (*corev1.Service, error) {
		return services.Create(ctx, s, metav1.CreateOptions{})
	}

	s, err := create(newService("a"))
	require.NoError(t, err)
	require.Regexp(t, `^10\.(9[6-9]|10\d|11[01])\.`, s.Spec.ClusterIP)
	require.Equal(t, []string{s.Spec.ClusterIP}, s.Spec.ClusterIPs)
	require.Equal(t, []corev1.IPFamily{corev1.IPv4Protocol}, s.Spec.IPFamilies)
	require.Equal(t, corev1.IPFamilyPolicySingleStack, *s.Spec.IPFamilyPolicy)

	_, err = create(newService("same", func(spec *corev1.ServiceSpec) { spec.ClusterIP = s.Spec.ClusterIP }))
	require.ErrorContains(t, err, "failed to allocate IP "+s.Spec.ClusterIP+": provided IP is already allocated")
	_, err = create(newService("far", func(spec *corev1.ServiceSpec) { spec.ClusterIP = "192.168.0.1" }))
	require.ErrorContains(t, err, "The range of valid IPs is 10.96.0.0/12")
	headless, err := create(newService("headless", func(spec *corev1.ServiceSpec) { spec.ClusterIP = "None" }))
	require.NoError(t, err)
	require.Equal(t, "None", headless.Spec.ClusterIP)
	external, err := create(newService("external", func(spec *corev1.ServiceSpec) {
		spec.Type, spec.ExternalName, spec.Selector = corev1.ServiceTypeExternalName, "example.com", nil
	}))
	require.NoError(t, err)
	require.Empty(t, external.Spec.ClusterIP)

	node, err := create(newService("node", func(spec *corev1.ServiceSpec) {
		spec.Type = corev1.ServiceTypeNodePort
		spec.Ports = []corev1.ServicePort{{Name: "t", Port: 53}, {Name: "u", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "x", Port: 54, NodePort: 30001}}
	}))
	require.NoError(t, err)
	require.NotZero(t, node.Spec.Ports[0].NodePort)
	require.Equal(t, node.Spec.Ports[0].NodePort, node.Spec.Ports[1].NodePort, "one number for both protocols")
	_, err = create(newService("port", func(spec *corev1.ServiceSpec) {
		spec.Type, spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30001
	}))
	require.ErrorContains(t, err, "provided port is already allocated")
	_, err = create(newService("port", func(spec *corev1.ServiceSpec) {
		spec.Type, spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 80
	}))
	require.ErrorContains(t, err, "The range of valid ports is 30000-32767")

	address := node.Spec.ClusterIP
	node.Spec.Type = corev1.ServiceTypeClusterIP
	node, err = services.Update(ctx, node, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Zero(t, node.Spec.Ports[0].NodePort, "they are given back")
	require.Equal(t, address, node.Spec.ClusterIP)
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.77", []string{"10.96.0.77"}
	_, err = services.Update(ctx, s, metav1.UpdateOptions{})
	require.True(t, apierrors.IsInvalid(err), err)
	require.ErrorContains(t, err, "may not change once set")
}

// Many at once never get the same number, and a full range is an error. What
// is taken is known from the store alone.
func TestNumbersAreGivenOnce(t *testing.T) {
	s := serve(t, func(c *apiserver.Config) { c.ServiceCIDR = netip.MustParsePrefix("10.96.0.0/26") }) // 16 are left for choosing, one is the last
	ctx, services := t.Context(), s.admin(t).CoreV1().Services("default")
	var wg sync.WaitGroup
	errs := make([]error, 47)
	for i := range errs {
		wg.Go(func() { _, errs[i] = services.Create(ctx, newService(fmt.Sprint("s-", i)), metav1.CreateOptions{}) })
	}
	wg.Wait()
	seen := map[string]bool{}
	list, err := services.List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	for i, svc := range list.Items {
		require.False(t, seen[svc.Spec.ClusterIP], svc.Spec.ClusterIP)
		seen[svc.Spec.ClusterIP] = true
		require.NoError(t, errs[min(i, len(errs)-1)])
	}
	_, err = services.Create(ctx, newService("one-more"), metav1.CreateOptions{})
	require.ErrorContains(t, err, "range is full")
	require.NoError(t, services.Delete(ctx, "s-7", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		_, err = services.Create(ctx, newService("one-more"), metav1.CreateOptions{})
		return err == nil
	}, waitFor, tick)
}

// Who chooses a node port of the first 86 does not meet one that was given out,
// as long as there are others.
func TestChosenPortsAreGivenLast(t *testing.T) {
	ctx, services := t.Context(), serve(t).admin(t).CoreV1().Services("default")
	give := func(name string, ports int) []corev1.ServicePort {
		svc, err := services.Create(ctx, newService(name, func(spec *corev1.ServiceSpec) {
			spec.Type, spec.Ports = corev1.ServiceTypeNodePort, nil
			for i := range ports {
				spec.Ports = append(spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: int32(i + 1)})
			}
		}), metav1.CreateOptions{})
		require.NoError(t, err)
		return svc.Spec.Ports
	}
	for _, p := range give("most", 32767-30086+1) {
		require.GreaterOrEqual(t, p.NodePort, int32(30086))
	}
	require.Less(t, give("last", 1)[0].NodePort, int32(30086))
}
