package controller

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func behind(name, ip string, ready bool, change ...func(*corev1.Pod)) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestEndpoints(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")}}}}
	port := func(n int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: n, Protocol: corev1.ProtocolTCP}}
		}
	}
	now := metav1.Now()
	pods := []*corev1.Pod{
		behind("a", "10.0.0.1", true, port(8080)), behind("b", "10.0.0.2", false, port(8080)),
		behind("c", "10.0.0.3", true, port(9090)),
		behind("ends", "10.0.0.4", true, port(8080), func(p *corev1.Pod) { p.DeletionTimestamp = &now }),
		behind("ended", "10.0.0.5", false, port(8080), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		behind("starts", "", false, port(8080)),
	}
	groups := backendsOf(svc, pods)
	got := planSlices(svc, groups)
	require.Len(t, got, 2, "one for each number of the named port")
	states := map[string]string{}
	for _, s := range got {
		for _, e := range s.Endpoints {
			states[e.TargetRef.Name] = fmt.Sprint(*s.Ports[0].Port, *e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating)
		}
	}
	require.Equal(t, map[string]string{"a": "8080 true true false", "b": "8080 false false false", "c": "9090 true true false", "ends": "8080 false true true"}, states)
	subsets := planSubsets(svc, groups)
	require.Len(t, subsets, 2)
	require.Len(t, subsets[0].Addresses, 1)
	require.Len(t, subsets[0].NotReadyAddresses, 1)

	require.Len(t, planSlices(svc, nil), 1, "an empty slice says that there is nothing")
	var many []*corev1.Pod
	for i := range 250 {
		many = append(many, behind(fmt.Sprint("p", i), fmt.Sprintf("10.0.1.%d", i), true, port(80)))
	}
	require.Len(t, planSlices(svc, backendsOf(svc, many)), 3)
}

func TestEndpointsOfTwoFamilies(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}}
	groups := backendsOf(svc, []*corev1.Pod{
		behind("both", "10.0.0.1", true, func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}} }),
		behind("old", "10.0.0.2", true),
	})
	got := planSlices(svc, groups)
	addresses := map[discoveryv1.AddressType][]string{}
	for _, s := range got {
		for _, e := range s.Endpoints {
			addresses[s.AddressType] = append(addresses[s.AddressType], e.Addresses...)
		}
	}
	require.Equal(t, map[discoveryv1.AddressType][]string{"IPv6": {"fd00::1"}, "IPv4": {"10.0.0.1", "10.0.0.2"}}, addresses)
	subsets := planSubsets(svc, groups)
	require.Len(t, subsets, 1, "the older kind has the first family")
	require.Equal(t, "fd00::1", subsets[0].Addresses[0].IP)
	require.Len(t, subsets[0].Addresses, 1)

	// A slice never becomes one of the other family.
	pairs, rest := pairSlices([]discoveryv1.EndpointSlice{
		{ObjectMeta: metav1.ObjectMeta{Name: "a"}, AddressType: "IPv4"}, {ObjectMeta: metav1.ObjectMeta{Name: "b"}, AddressType: "IPv4"},
	}, got)
	require.Nil(t, pairs[0])
	require.Equal(t, "a", pairs[1].Name)
	require.Len(t, rest, 1)
	require.Equal(t, "b", rest[0].Name)
}

func TestGatheredRules(t *testing.T) {
	rule := func(resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, Verbs: []string{"get"}}
	}
	part := func(name, label string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"to": label}}, Rules: rules}
	}
	view := part("view", "view")
	view.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": "view"}}}}
	got, err := gathered(view, []*rbacv1.ClusterRole{part("b", "view", rule("pods")), view, part("a", "view", rule("pods"), rule("nodes")), part("c", "edit", rule("secrets"))})
	require.NoError(t, err)
	require.Equal(t, []rbacv1.PolicyRule{rule("pods"), rule("nodes")}, got)
}

// Endpoints that somebody wrote for a Service without selector become slices.
func TestMirrors(t *testing.T) {
	ends := &corev1.Endpoints{ //nolint:staticcheck // deprecated, but served
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", Labels: map[string]string{"team": "a"}, Annotations: map[string]string{
			"note": "by hand", corev1.LastAppliedConfigAnnotation: "{}"}},
		Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // as above
			Addresses:         []corev1.EndpointAddress{{IP: "192.0.2.10", Hostname: "a"}, {IP: "fd00::1"}},
			NotReadyAddresses: []corev1.EndpointAddress{{IP: "192.0.2.11"}},
			Ports:             []corev1.EndpointPort{{Name: "sql", Port: 5432, Protocol: corev1.ProtocolTCP}},
		}},
	}
	got := planMirror(ends)
	require.Len(t, got, 2, "one of each family")
	require.Equal(t, discoveryv1.AddressTypeIPv4, got[0].AddressType)
	require.Len(t, got[0].Endpoints, 2)
	require.True(t, *got[0].Endpoints[0].Conditions.Ready)
	require.False(t, *got[0].Endpoints[1].Conditions.Ready)
	require.Equal(t, []string{"fd00::1"}, got[1].Endpoints[0].Addresses)
	require.Equal(t, map[string]string{"team": "a", discoveryv1.LabelServiceName: "db", discoveryv1.LabelManagedBy: mirrorManager}, got[0].Labels)
	require.Equal(t, map[string]string{"note": "by hand"}, got[0].Annotations)

	svc := &corev1.Service{}
	require.True(t, mirrored(svc, ends))
	require.False(t, mirrored(nil, ends))
	require.False(t, mirrored(&corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "db"}}}, ends), "its pods are its endpoints")
	ends.Labels[discoveryv1.LabelSkipMirror] = "true"
	require.False(t, mirrored(svc, ends))
}

// With trafficDistribution endpoints say for whom they are.
func TestNearEndpoints(t *testing.T) {
	prefer := func(how string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{TrafficDistribution: &how}}
	}
	zones := map[string]string{"node-1": "a", "node-2": ""}
	slice := func(svc *corev1.Service) []discoveryv1.Endpoint {
		list := planSlices(svc, backendsOf(svc, []*corev1.Pod{behind("x", "10.0.0.1", true), behind("y", "10.0.0.2", false),
			behind("z", "10.0.0.3", true, func(p *corev1.Pod) { p.Spec.NodeName = "node-2" })}))
		place(svc, list, func(node string) string { return zones[node] })
		return list[0].Endpoints
	}
	here := []discoveryv1.ForZone{{Name: "a"}}
	for how, want := range map[string][]*discoveryv1.EndpointHints{
		corev1.ServiceTrafficDistributionPreferClose:    {{ForZones: here}, nil, nil},
		corev1.ServiceTrafficDistributionPreferSameZone: {{ForZones: here}, nil, nil},
		corev1.ServiceTrafficDistributionPreferSameNode: {{ForZones: here, ForNodes: []discoveryv1.ForNode{{Name: "node-1"}}}, nil, {ForNodes: []discoveryv1.ForNode{{Name: "node-2"}}}},
	} {
		for i, e := range slice(prefer(how)) {
			require.Equal(t, want[i], e.Hints, how)
		}
	}
	plain := slice(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
	require.Equal(t, "a", *plain[0].Zone)
	require.Nil(t, plain[0].Hints)
	require.Nil(t, plain[2].Zone)
}
