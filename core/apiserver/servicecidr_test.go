package apiserver_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/apiserver"
)

func newServiceCIDR(name string, cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

// inUse are the names of the IPAddresses, by the Services that have them.
func inUse(t *testing.T, client kubernetes.Interface) map[string]string {
	t.Helper()
	list, err := client.NetworkingV1().IPAddresses().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	by := map[string]string{}
	for _, ip := range list.Items {
		by[ip.Name] = ip.Spec.ParentRef.Resource + "/" + ip.Spec.ParentRef.Namespace + "/" + ip.Spec.ParentRef.Name
	}
	return by
}

// Each cluster IP is an IPAddress, from the Service's first moment to its last.
func TestIPAddressesOfServices(t *testing.T) {
	l := serve(t, func(cfg *apiserver.Config) {
		cfg.ServiceCIDR6 = netip.MustParsePrefix("fd00:10:96::/112")
		cfg.ServiceIP, cfg.Endpoint = netip.MustParseAddr("10.96.0.1"), netip.MustParseAddrPort("172.30.0.2:6443")
	})
	ctx, client := t.Context(), l.admin(t)
	services, ips := client.CoreV1().Services("default"), client.NetworkingV1().IPAddresses()
	require.Equal(t, map[string]string{"10.96.0.1": "services/default/kubernetes"}, inUse(t, client))
	first, err := client.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"10.96.0.0/12", "fd00:10:96::/112"}, first.Spec.CIDRs)

	both, err := services.Create(ctx, newService("both", policy(corev1.IPFamilyPolicyRequireDualStack)), metav1.CreateOptions{})
	require.NoError(t, err)
	for i, family := range []string{"IPv4", "IPv6"} {
		ip, err := ips.Get(ctx, both.Spec.ClusterIPs[i], metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, &networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "both"}, ip.Spec.ParentRef)
		require.Equal(t, map[string]string{"ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}, ip.Labels)
	}
	one := both.DeepCopy()
	single := corev1.IPFamilyPolicySingleStack
	one.Spec.IPFamilyPolicy = &single
	_, err = services.Update(ctx, one, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.NotContains(t, inUse(t, client), both.Spec.ClusterIPs[1], "it was given up")

	_, err = services.Create(ctx, newService("dry"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(t, err)
	_, err = services.Create(ctx, newService("bad", func(s *corev1.ServiceSpec) { s.Ports = nil }), metav1.CreateOptions{})
	require.True(t, apierrors.IsInvalid(err))
	_, err = services.Create(ctx, newService("both"), metav1.CreateOptions{})
	require.True(t, apierrors.IsAlreadyExists(err))
	require.Len(t, inUse(t, client), 2, "who has no Service has no address")

	_, err = ips.Create(ctx, &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.0.77"}, Spec: networkingv1.IPAddressSpec{
		ParentRef: &networkingv1.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = services.Create(ctx, newService("taken", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.77" }), metav1.CreateOptions{})
	require.ErrorContains(t, err, "failed to allocate IP 10.96.0.77: provided IP is already allocated")

	require.NoError(t, services.Delete(ctx, "both", metav1.DeleteOptions{}))
	require.Equal(t, map[string]string{"10.96.0.1": "services/default/kubernetes", "10.96.0.77": "gateways//g"}, inUse(t, client))
	for name, want := range map[string]string{"10.96.0.01": "must not have leading 0s", "a": "must be a valid IP address", "FD00::1": "must be in canonical form"} {
		_, err = ips.Create(ctx, &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IPAddressSpec{
			ParentRef: &networkingv1.ParentReference{Resource: "services", Name: "x"}}}, metav1.CreateOptions{})
		require.ErrorContains(t, err, want)
	}
}

// Addresses come from all ServiceCIDRs that are ready, and from no other.
func TestAddressesOfSeveralServiceCIDRs(t *testing.T) {
	l := serve(t, func(cfg *apiserver.Config) {
		cfg.ServiceCIDR = netip.MustParsePrefix("10.96.0.0/29")
		cfg.Networks = []apiserver.Network{{Prefix: netip.MustParsePrefix("10.244.0.0/16"), Of: "pods"}}
	})
	ctx, client := t.Context(), l.admin(t)
	services, cidrs := client.CoreV1().Services("default"), client.NetworkingV1().ServiceCIDRs()
	for i := range 5 { // one of six is default/kubernetes
		_, err := services.Create(ctx, newService("s"+string(rune('0'+i))), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	_, err := services.Create(ctx, newService("more"), metav1.CreateOptions{})
	require.ErrorContains(t, err, "range is full")
	there := func(s *corev1.ServiceSpec) { s.ClusterIP = "203.0.113.10" }
	_, err = services.Create(ctx, newService("there", there), metav1.CreateOptions{})
	require.ErrorContains(t, err, "The range of valid IPs is 10.96.0.0/29")

	made, err := cidrs.Create(ctx, newServiceCIDR("second", "203.0.113.0/24"), metav1.CreateOptions{})
	require.NoError(t, err)
	var more *corev1.Service
	require.Eventually(t, func() bool { // until the server's cache has heard of it
		more, err = services.Create(ctx, newService("more"), metav1.CreateOptions{})
		return err == nil
	}, waitFor, tick)
	require.Regexp(t, `^203\.0\.113\.`, more.Spec.ClusterIP)
	_, err = services.Create(ctx, newService("there", there), metav1.CreateOptions{})
	require.NoError(t, err)

	made.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Terminating", LastTransitionTime: metav1.Now()}}
	_, err = cidrs.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err = services.Create(ctx, newService("late"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil
	}, waitFor, tick)
	require.ErrorContains(t, err, "range is full")

	for _, x := range []struct {
		cidrs []string
		says  string
	}{
		{[]string{"10.244.3.0/24"}, `spec.cidrs[0]: Invalid value: "10.244.3.0/24": overlaps with 10.244.0.0/16, the network of pods: packets to these Services would go there`},
		{[]string{"2001:db8::/64", "10.0.0.0/8"}, `spec.cidrs[1]: Invalid value: "10.0.0.0/8": overlaps with 10.244.0.0/16`},
		{[]string{"10.9.0.0/24", "10.10.0.0/24"}, "may specify no more than one IP for each IP family"},
		{[]string{"10.9.0.1/24"}, "must not have bits set beyond the prefix length"},
		{nil, "at least one CIDR required"},
	} {
		_, err = cidrs.Create(ctx, newServiceCIDR("bad", x.cidrs...), metav1.CreateOptions{})
		require.ErrorContains(t, err, x.says)
	}
	_, err = cidrs.Patch(ctx, "second", "application/merge-patch+json", []byte(`{"spec":{"cidrs":["203.0.112.0/24"]}}`), metav1.PatchOptions{})
	require.ErrorContains(t, err, "field is immutable")
}
