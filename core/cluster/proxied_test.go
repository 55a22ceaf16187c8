package cluster

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/netlab/proxy"
)

func TestProxied(t *testing.T) {
	local, hour := corev1.ServiceInternalTrafficPolicyLocal, int32(3600)
	proxying := corev1.LoadBalancerIPModeProxy
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.7", ExternalIPs: []string{"192.0.2.5", "fd00::5"},
			Ports:                 []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}},
			InternalTrafficPolicy: &local, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, HealthCheckNodePort: 31000,
			SessionAffinity: corev1.ServiceAffinityClientIP, SessionAffinityConfig: &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &hour}},
			LoadBalancerSourceRanges: []string{" 192.0.2.9/24 ", "fd00::/8"},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{
			{IP: "192.0.2.6"}, {IP: "192.0.2.7", IPMode: &proxying}, {Hostname: "lb.example"}}}},
	}
	require.Equal(t, &proxy.Service{
		Namespace: "shop", Name: "web", ClusterIP: netip.MustParseAddr("10.96.0.7"),
		Ports:       []proxy.Port{{Name: "http", Protocol: "TCP", Port: 80, NodePort: 30080}},
		ExternalIPs: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, LoadBalancerIPs: []netip.Addr{netip.MustParseAddr("192.0.2.6")},
		SourceRanges: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Affinity: 3600,
		InternalLocal: true, ExternalLocal: true, HealthCheckNodePort: 31000,
	}, proxied(svc, false))

	svc.Spec.LoadBalancerSourceRanges = append(svc.Spec.LoadBalancerSourceRanges, "0.0.0.0/0")
	require.Empty(t, proxied(svc, false).SourceRanges, "everybody")
	for name, change := range map[string]func(*corev1.Service){
		"headless":        func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone },
		"another name":    func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
		"somebody else's": func(s *corev1.Service) { s.Labels = map[string]string{otherProxy: "theirs"} },
	} {
		other := svc.DeepCopy()
		change(other)
		require.Nil(t, proxied(other, false), name)
	}
}

func TestRangesOfServices(t *testing.T) {
	cidrs := func(texts ...string) *networkingv1.ServiceCIDR {
		return &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: texts}}
	}
	all := []*networkingv1.ServiceCIDR{cidrs("10.112.0.0/24"), cidrs("10.100.0.0/24"), cidrs("10.96.0.0/12", "fd00:10:96::/112"), cidrs("10.98.0.0/24"), cidrs("10.96.0.0/16")}
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("10.112.0.0/24")}, serviceRanges(all, false))
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("fd00:10:96::/112")}, serviceRanges(all, true))
	require.Empty(t, serviceRanges(nil, false))
}

func TestProxiedSlice(t *testing.T) {
	name, node, port, tcp, yes, no := "http", "node-2", int32(8080), corev1.ProtocolTCP, true, false
	e := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}, {Name: &name}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.2.2"}, NodeName: &node, Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}}}},
			{Addresses: []string{"10.244.2.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}},
			{Addresses: []string{"::ffff:10.244.2.4"}},
			{Addresses: []string{"somewhere"}}, {Addresses: []string{"fd00::4"}},
		},
	}
	require.Equal(t, &proxy.Slice{
		Namespace: "shop", Service: "web", Ports: []proxy.SlicePort{{Name: "http", Protocol: "TCP", Port: 8080}},
		Endpoints: []proxy.Endpoint{
			{IP: netip.MustParseAddr("10.244.2.2"), Node: "node-2", Ready: true, Serving: true, Zones: []string{"a"}},
			{IP: netip.MustParseAddr("10.244.2.3"), Serving: true, Terminating: true},
			{IP: netip.MustParseAddr("10.244.2.4"), Ready: true, Serving: true},
		},
	}, proxiedSlice(e, false))
	e.Labels[corev1.IsHeadlessService] = ""
	require.Nil(t, proxiedSlice(e, false))
}
