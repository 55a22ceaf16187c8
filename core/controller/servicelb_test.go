package controller

import (
	"net/netip"
	"strings"
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

func with(ips ...string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Status.LoadBalancer = withIngress(addrs(ips...)...) }
}

func of(families ...corev1.IPFamily) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.IPFamilies = families }
}

func addrs(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func TestAddressesOfLoadBalancers(t *testing.T) {
	pools := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/30"), netip.MustParsePrefix("2001:db8:198::/126")}
	asks := func(ip string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.LoadBalancerIP = ip }
	}
	six, both := of(corev1.IPv6Protocol), of(corev1.IPv4Protocol, corev1.IPv6Protocol)
	one, two, one6 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:198::1")
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
		"one of IPv6":                              {balancedService("web", six), nil, "2001:db8:198::1", ""},
		"one of each family":                       {balancedService("web", both), map[netip.Addr]string{one6: "default/other"}, "198.51.100.1 2001:db8:198::2", ""},
		"in the order of its families":             {balancedService("web", of(corev1.IPv6Protocol, corev1.IPv4Protocol)), nil, "2001:db8:198::1 198.51.100.1", ""},
		"a second one, beside its own":             {balancedService("web", both, with("198.51.100.2")), map[netip.Addr]string{two: "default/web"}, "198.51.100.2 2001:db8:198::1", ""},
		"the first of two":                         {balancedService("web", with("198.51.100.2", "2001:db8:198::1")), nil, "198.51.100.2", ""},
		"the one that it asks for and another one": {balancedService("web", both, asks("2001:db8:198::2")), nil, "198.51.100.1 2001:db8:198::2", ""},
		"one of a family that it does not have":    {balancedService("web", asks("2001:db8:198::2")), nil, "", "the requested load balancer IP 2001:db8:198::2 is not in the pool 198.51.100.0/30"},
		"one that is in neither pool": {balancedService("web", both, asks("192.0.2.1")), nil, "",
			"the requested load balancer IP 192.0.2.1 is not in the pool 198.51.100.0/30 or the pool 2001:db8:198::/126"},
	} {
		got, err := planIngress(c.svc, pools, c.taken)
		if c.err != "" {
			require.EqualError(t, err, c.err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, addrs(strings.Fields(c.want)...), got, name)
	}
}

func TestWhatIsBalanced(t *testing.T) {
	pools, theirs := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:198::/112")}, "example.com/theirs"
	now := metav1.Now()
	list := planBalanced([]*corev1.Service{
		balancedService("local", with("198.51.100.2"), func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 31000
		}),
		balancedService("web", with("198.51.100.1")),
		balancedService("both", with("198.51.100.6", "2001:db8:198::1"), of(corev1.IPv4Protocol, corev1.IPv6Protocol)),
		balancedService("waits"),
		balancedService("ends", with("198.51.100.3"), func(s *corev1.Service) { s.DeletionTimestamp = &now }),
		balancedService("theirs", with("198.51.100.4"), func(s *corev1.Service) { s.Spec.LoadBalancerClass = &theirs }),
		balancedService("was", with("198.51.100.5"), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }),
	}, pools, 10256)
	require.Equal(t, []Balanced{
		{"default", "web", netip.MustParseAddr("198.51.100.1"), 10256}, {"default", "local", netip.MustParseAddr("198.51.100.2"), 31000},
		{"default", "both", netip.MustParseAddr("198.51.100.6"), 10256}, {"default", "both", netip.MustParseAddr("2001:db8:198::1"), 10256},
	}, list)
	node := func(name string, labels map[string]string, ips ...string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
		for _, ip := range ips {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
		}
		return n
	}
	require.Equal(t, []BalancedNode{{"node-1", netip.MustParseAddr("172.30.0.11")}, {"node-1", netip.MustParseAddr("fd00:172:30::b")}}, planNodes([]*corev1.Node{
		node("node-2", map[string]string{corev1.LabelNodeExcludeBalancers: ""}, "172.30.0.12"),
		node("node-1", nil, "172.30.0.11", "fd00:172:30::b", "fd00:172:30::1b"), node("new", nil)}))
}
