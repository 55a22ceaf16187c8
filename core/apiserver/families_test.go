package apiserver_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/apiserver"
)

const four, six = corev1.IPv4Protocol, corev1.IPv6Protocol

func policy(p corev1.IPFamilyPolicy) func(*corev1.ServiceSpec) {
	return func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = &p }
}

func families(list ...corev1.IPFamily) func(*corev1.ServiceSpec) {
	return func(s *corev1.ServiceSpec) { s.IPFamilies = list }
}

func TestFamiliesOfServices(t *testing.T) {
	single, prefer, require2 := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	headless := func(s *corev1.ServiceSpec) { s.ClusterIP, s.Selector = "None", nil }
	for _, c := range []struct {
		name   string
		dual   bool
		change []func(*corev1.ServiceSpec)
		policy corev1.IPFamilyPolicy
		has    []corev1.IPFamily
		ips    int
		err    string
	}{
		{name: "one by default", dual: true, policy: single, has: []corev1.IPFamily{four}, ips: 1},
		{name: "both if preferred", dual: true, change: []func(*corev1.ServiceSpec){policy(prefer)}, policy: prefer, has: []corev1.IPFamily{four, six}, ips: 2},
		{name: "one if both are preferred and there is one", change: []func(*corev1.ServiceSpec){policy(prefer)}, policy: prefer, has: []corev1.IPFamily{four}, ips: 1},
		{name: "both required", dual: true, change: []func(*corev1.ServiceSpec){policy(require2), families(six, four)}, policy: require2, has: []corev1.IPFamily{six, four}, ips: 2},
		{name: "both required of one", change: []func(*corev1.ServiceSpec){policy(require2)}, err: "this cluster is not configured for dual-stack services"},
		{name: "the other alone", dual: true, change: []func(*corev1.ServiceSpec){families(six)}, policy: single, has: []corev1.IPFamily{six}, ips: 1},
		{name: "the other where there is none", change: []func(*corev1.ServiceSpec){families(six)}, err: "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"},
		{name: "two for a single one", dual: true, change: []func(*corev1.ServiceSpec){policy(single), families(four, six)}, err: "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"},
		{name: "an address says the family", dual: true, change: []func(*corev1.ServiceSpec){func(s *corev1.ServiceSpec) { s.ClusterIP = "fd00:10:96::77" }}, policy: single, has: []corev1.IPFamily{six}, ips: 1},
		{name: "an address out of range", dual: true, change: []func(*corev1.ServiceSpec){func(s *corev1.ServiceSpec) { s.ClusterIP = "fd00:10:97::77" }}, err: "The range of valid IPs is fd00:10:96::/112"},
		{name: "headless without a selector", change: []func(*corev1.ServiceSpec){headless}, policy: require2, has: []corev1.IPFamily{four, six}, ips: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, func(cfg *apiserver.Config) {
				if c.dual {
					cfg.ServiceCIDR6 = netip.MustParsePrefix("fd00:10:96::/112")
				}
			})
			got, err := s.admin(t).CoreV1().Services("default").Create(t.Context(), newService("s", c.change...), metav1.CreateOptions{})
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.policy, *got.Spec.IPFamilyPolicy)
			require.Equal(t, c.has, got.Spec.IPFamilies)
			require.Len(t, got.Spec.ClusterIPs, c.ips)
			require.Equal(t, got.Spec.ClusterIPs[0], got.Spec.ClusterIP)
			for i, ip := range got.Spec.ClusterIPs {
				if ip != "None" {
					require.Equal(t, c.has[i] == six, netip.MustParseAddr(ip).Is6(), ip)
				}
			}
		})
	}
}

// A service gets a second family, and gives it up, only when it says so.
func TestFamiliesOfServicesChange(t *testing.T) {
	s := serve(t, func(cfg *apiserver.Config) { cfg.ServiceCIDR6 = netip.MustParsePrefix("fd00:10:96::/112") })
	ctx, services := t.Context(), s.admin(t).CoreV1().Services("default")
	svc, err := services.Create(ctx, newService("s"), metav1.CreateOptions{})
	require.NoError(t, err)
	first := svc.Spec.ClusterIP

	policy(corev1.IPFamilyPolicyPreferDualStack)(&svc.Spec)
	svc, err = services.Update(ctx, svc, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, first, svc.Spec.ClusterIP)
	require.Len(t, svc.Spec.ClusterIPs, 2)
	second := svc.Spec.ClusterIPs[1]

	svc.Spec.ClusterIPs = svc.Spec.ClusterIPs[:1]
	_, err = services.Update(ctx, svc, metav1.UpdateOptions{})
	require.ErrorContains(t, err, "must be 'SingleStack' to release the secondary cluster IP")
	svc.Spec.ClusterIPs = []string{first, second}

	svc.Labels = map[string]string{"a": "b"}
	svc, err = services.Update(ctx, svc, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{first, second}, svc.Spec.ClusterIPs)

	policy(corev1.IPFamilyPolicySingleStack)(&svc.Spec)
	svc, err = services.Update(ctx, svc, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{first}, svc.Spec.ClusterIPs)
	require.Equal(t, []corev1.IPFamily{four}, svc.Spec.IPFamilies)
	require.Eventually(t, func() bool {
		_, err = services.Create(ctx, newService("t", func(spec *corev1.ServiceSpec) { spec.ClusterIP = second }), metav1.CreateOptions{})
		return err == nil
	}, waitFor, tick, "it is free again")
}
