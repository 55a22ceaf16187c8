package controller

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func balancedService(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	for _, f := range change {
		f(s)
	}
	return s
}

func with(ip string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Status.LoadBalancer = withIngress(netip.MustParseAddr(ip)) }
}

func TestAddressesOfLoadBalancers(t *testing.T) {
	pool := netip.MustParsePrefix("198.51.100.0/30")
	asks := func(ip string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.LoadBalancerIP = ip }
	}
	one, two := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	for name, c := range map[string]struct {
		svc   *corev1.Service
		taken map[netip.Addr]string
		want  string
		err   string
	}{
		"the first":                    {balancedService("web"), nil, "198.51.100.1", ""},
		"the first that is free":       {balancedService("web"), map[netip.Addr]string{one: "default/other"}, "198.51.100.2", ""},
		"what it has":                  {balancedService("web", with("198.51.100.2")), map[netip.Addr]string{two: "default/web"}, "198.51.100.2", ""},
		"what it had, and lost":        {balancedService("web", with("198.51.100.1")), map[netip.Addr]string{one: "default/other"}, "198.51.100.2", ""},
		"what it asks for":             {balancedService("web", asks("198.51.100.2")), nil, "198.51.100.2", ""},
		"another than it has":          {balancedService("web", with("198.51.100.1"), asks("198.51.100.2")), map[netip.Addr]string{one: "default/web"}, "198.51.100.2", ""},
		"one that is not in the pool":  {balancedService("web", asks("192.0.2.1")), nil, "", "the requested load balancer IP 192.0.2.1 is not in the pool 198.51.100.0/30"},
		"one that another Service has": {balancedService("web", asks("198.51.100.1")), map[netip.Addr]string{one: "default/other"}, "", "the requested load balancer IP 198.51.100.1 is in use by the Service default/other"},
		"none is left": {balancedService("web"), map[netip.Addr]string{one: "default/a", two: "default/b"}, "",
			"no address is free in the pool 198.51.100.0/30: delete a Service of type LoadBalancer"},
	} {
		got, err := planIngress(c.svc, pool, c.taken)
		if c.err != "" {
			require.EqualError(t, err, c.err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, c.want, got.String(), name)
	}
}

func TestWhatIsBalanced(t *testing.T) {
	pool, theirs := netip.MustParsePrefix("198.51.100.0/24"), "example.com/theirs"
	now := metav1.Now()
	list := planBalanced([]*corev1.Service{
		balancedService("local", with("198.51.100.2"), func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 31000
		}),
		balancedService("web", with("198.51.100.1")),
		balancedService("waits"),
		balancedService("ends", with("198.51.100.3"), func(s *corev1.Service) { s.DeletionTimestamp = &now }),
		balancedService("theirs", with("198.51.100.4"), func(s *corev1.Service) { s.Spec.LoadBalancerClass = &theirs }),
		balancedService("was", with("198.51.100.5"), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }),
	}, pool, 10256)
	require.Equal(t, []Balanced{
		{"default", "web", netip.MustParseAddr("198.51.100.1"), 10256}, {"default", "local", netip.MustParseAddr("198.51.100.2"), 31000},
	}, list)
	node := func(name, ip string, labels map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: ip}}}}
	}
	require.Equal(t, []BalancedNode{{"node-1", netip.MustParseAddr("172.30.0.11")}}, planNodes([]*corev1.Node{
		node("node-2", "172.30.0.12", map[string]string{corev1.LabelNodeExcludeBalancers: ""}), node("node-1", "172.30.0.11", nil), node("new", "", nil)}))
}
