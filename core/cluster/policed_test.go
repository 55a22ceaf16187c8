package cluster

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/klab-project/klab/netlab/policy"
)

func TestPoliced(t *testing.T) {
	var p networkingv1.NetworkPolicy
	require.NoError(t, yaml.Unmarshal([]byte(`
metadata: {namespace: default, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from:
    - podSelector: {matchExpressions: [{key: app, operator: In, values: [api]}]}
      namespaceSelector: {}
    - ipBlock: {cidr: 192.0.2.7/24, except: [192.0.2.128/25]}
    ports: [{port: 5432}, {protocol: UDP, port: 6000, endPort: 6010}, {protocol: SCTP}, {port: http}]
  - {}
`), &p))
	got := policed(&p)
	require.Equal(t, policy.Policy{
		Namespace: "default", Name: "db", Pods: policy.Selector{Labels: map[string]string{"app": "db"}},
		Isolates: policy.Directions{Ingress: true},
		Ingress: []policy.Rule{{
			Peers: []policy.Peer{
				{Pods: &policy.Selector{Expressions: []policy.Expression{{Key: "app", Operator: "In", Values: []string{"api"}}}}, Namespaces: &policy.Selector{}},
				{Block: &policy.Block{CIDR: netip.MustParsePrefix("192.0.2.0/24"), Except: []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}}},
			},
			Ports: []policy.Port{{Protocol: "TCP", Number: 5432}, {Protocol: "UDP", Number: 6000, End: 6010}, {Protocol: "SCTP"}, {Protocol: "TCP", Name: "http"}},
		}, {}},
	}, got)
	p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	require.Equal(t, policy.Directions{Ingress: true, Egress: true}, policed(&p).Isolates, "egress rules isolate")
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	require.Equal(t, policy.Directions{Egress: true}, policed(&p).Isolates)
}

func TestPolicedPods(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	port := func(name string, n int32) []corev1.ContainerPort {
		return []corev1.ContainerPort{{Name: name, ContainerPort: n, Protocol: corev1.ProtocolTCP}}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.PodSpec{
			NodeName: "node-1", Containers: []corev1.Container{{Ports: port("http", 80)}, {Ports: port("", 81)}},
			InitContainers: []corev1.Container{{Ports: port("early", 82)}, {Ports: port("side", 83), RestartPolicy: &always}},
		},
		Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.1.2"}}},
	}
	small, err := forPolicies(pod)
	require.NoError(t, err)
	require.Equal(t, policedPod(pod), policedPod(small.(*corev1.Pod)))
	require.Equal(t, []policy.NamedPort{{Name: "http", Protocol: "TCP", Number: 80}, {Name: "side", Protocol: "TCP", Number: 83}}, policedPod(pod).Ports)
	require.Len(t, policedPod(pod).IPs, 1)
	pod.Status.Phase = corev1.PodSucceeded
	require.Empty(t, policedPod(pod).IPs, "they may be another's by now")
}
