package kubelet

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestResolvers(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(conf, []byte("# comment\nnameserver 192.0.2.1\nsearch other\nsearch lan. .\noptions rotate ndots:1\noptions ndots:3\n"), 0o600))
	k := &Kubelet{Config: Config{NodeName: "node-1", ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: "cluster.local", ResolvConf: conf}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	node := &cri.DNSConfig{Servers: []string{"192.0.2.1"}, Searches: []string{"lan"}, Options: []string{"rotate", "ndots:3"}}
	cluster := &cri.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"}, Options: []string{"ndots:5"}}
	for _, c := range []struct {
		policy corev1.DNSPolicy
		host   bool
		want   *cri.DNSConfig
	}{
		{corev1.DNSClusterFirst, false, cluster}, {corev1.DNSClusterFirst, true, node}, {corev1.DNSClusterFirstWithHostNet, true, cluster},
		{corev1.DNSDefault, false, node}, {corev1.DNSNone, false, &cri.DNSConfig{Searches: []string{}}},
	} {
		pod.Spec.DNSPolicy, pod.Spec.HostNetwork = c.policy, c.host
		got, warnings := k.dnsConfig(pod)
		require.Empty(t, warnings)
		require.Equal(t, c.want, got, c.policy)
	}

	two := "2"
	pod.Spec.DNSPolicy = corev1.DNSClusterFirst
	pod.Spec.HostNetwork = false
	pod.Spec.DNSConfig = &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.9", "10.96.0.10", "192.0.2.10", "192.0.2.11"}, Searches: []string{"lan", "x"},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "debug"}},
	}
	got, warnings := k.dnsConfig(pod)
	require.Equal(t, []string{"10.96.0.10", "192.0.2.9", "192.0.2.10"}, got.Servers)
	require.Equal(t, []string{"ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan", "x"}, got.Searches)
	require.Equal(t, []string{"ndots:2", "debug"}, got.Options)
	require.Equal(t, []statusReason{{"DNSConfigForming",
		"Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 10.96.0.10 192.0.2.9 192.0.2.10"}}, warnings)

	pod.Spec.DNSConfig = &corev1.PodDNSConfig{}
	for i := range 40 {
		pod.Spec.DNSConfig.Searches = append(pod.Spec.DNSConfig.Searches, fmt.Sprintf("d%d", i))
	}
	got, warnings = k.dnsConfig(pod)
	require.Len(t, got.Searches, 32)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].Message, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ns.svc.cluster.local ")

	k.ClusterDNS, pod.Spec.DNSConfig = nil, nil
	got, warnings = k.dnsConfig(pod)
	require.Equal(t, node, got)
	require.Empty(t, warnings)
}

func TestHostNames(t *testing.T) {
	k := &Kubelet{Config: Config{NodeName: "node-1", ClusterDomain: "cluster.local"}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	pod.Spec.Subdomain = "sub"
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"x", "y"}}}
	require.Contains(t, k.formatHosts(pod, []string{"10.244.1.2", "fd00::2"}), "10.244.1.2\tp.sub.ns.svc.cluster.local\tp\nfd00::2\tp.sub.ns.svc.cluster.local\tp\n")
	require.Contains(t, k.formatHosts(pod, nil), "\n# Entries added by HostAliases.\n192.0.2.7\tx\ty\n")
	name := func() string {
		name, err := k.kernelHostname(pod)
		require.NoError(t, err)
		return name
	}
	require.Equal(t, "p", name())
	full := true
	pod.Spec.SetHostnameAsFQDN = &full
	require.Equal(t, "p.sub.ns.svc.cluster.local", name())
	require.Contains(t, k.formatHosts(pod, []string{"10.244.1.2"}), "10.244.1.2\tp.sub.ns.svc.cluster.local\tp\n")
	pod.Spec.Subdomain = ""
	require.Equal(t, "p", name())
	pod.Spec.Hostname = strings.Repeat("a", 62) + "-b"
	require.Equal(t, strings.Repeat("a", 62), name())
	pod.Spec.Subdomain = "sub"
	_, err := k.kernelHostname(pod)
	require.ErrorContains(t, err, "is too long (64 characters is the max, 87 characters requested)")
	pod.Spec.HostNetwork = true
	require.Equal(t, "node-1", name())
}

func TestExpansion(t *testing.T) {
	lookup := among([]corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "E"}})
	for in, want := range map[string]string{
		"$(A)": "1", "$$(A)": "$(A)", "$(B)": "$(B)", "$(A": "$(A", "$A": "$A", "x$(A)$(A)y$": "x11y$", "$$$(A)": "$1", "$(E)": "", "$()": "$()",
	} {
		require.Equal(t, want, expand(in, lookup), in)
	}
	_, err := expandSubPath("$(B)/$(A)/$(E)", []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "E"}})
	require.EqualError(t, err, "missing value for B, E")
}

func TestEnvironmentFiles(t *testing.T) {
	file := "# comment\n\n  A='1'\nB='two\nlines # kept' # comment\nC= 'x'\nD=''\n"
	for key, want := range map[string]string{"A": "1", "B": "two\nlines # kept", "C": "", "D": "", "none": ""} {
		got, err := readEnvFile(strings.NewReader(file), key)
		require.NoError(t, err)
		require.Equal(t, want, got, key)
	}
	for text, want := range map[string]string{
		"A": "at line 1: missing '='", "\n='x'": "at line 2: empty variable name", "A ='x'": "whitespace before '=' is not allowed",
		"A=x": "value must be enclosed in single quotes", "A='x": "starting at line 1: unclosed single quote", "A='x\ny' z": "at line 2: unexpected content",
	} {
		_, err := readEnvFile(strings.NewReader(text), "Z")
		require.ErrorContains(t, err, want)
	}
}

func TestServiceVariables(t *testing.T) {
	s := newServices()
	service := func(namespace, name, ip string, ports ...corev1.ServicePort) any {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	}
	web := []corev1.ServicePort{{Name: "http-a", Port: 80}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}}
	require.NoError(t, s.Replace([]any{
		service("default", "kubernetes", "10.96.0.1", corev1.ServicePort{Name: "https", Port: 443}), service("default", "other", "10.96.0.9", web...),
		service("ns", "my-web", "10.96.0.2", web...), service("ns", "headless", corev1.ClusterIPNone, web...),
	}, ""))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}
	vars := map[string]string{}
	for _, v := range serviceVariables(s.visible(pod)) {
		vars[v.Name] = v.Value
	}
	require.Equal(t, map[string]string{
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
		"KUBERNETES_PORT": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
		"KUBERNETES_PORT_443_TCP_PORT": "443", "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
		"MY_WEB_SERVICE_HOST": "10.96.0.2", "MY_WEB_SERVICE_PORT": "80", "MY_WEB_SERVICE_PORT_HTTP_A": "80", "MY_WEB_SERVICE_PORT_DNS": "53",
		"MY_WEB_PORT": "tcp://10.96.0.2:80", "MY_WEB_PORT_80_TCP": "tcp://10.96.0.2:80", "MY_WEB_PORT_80_TCP_PROTO": "tcp",
		"MY_WEB_PORT_80_TCP_PORT": "80", "MY_WEB_PORT_80_TCP_ADDR": "10.96.0.2", "MY_WEB_PORT_53_UDP": "udp://10.96.0.2:53",
		"MY_WEB_PORT_53_UDP_PROTO": "udp", "MY_WEB_PORT_53_UDP_PORT": "53", "MY_WEB_PORT_53_UDP_ADDR": "10.96.0.2",
	}, vars)
	no := false
	pod.Spec.EnableServiceLinks = &no
	require.Len(t, s.visible(pod), 1)
}

func TestResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
	c := &pod.Spec.Containers[0]
	require.Equal(t, corev1.PodQOSBestEffort, qosClass(pod))
	r := containerResources(pod, c, 1<<30)
	require.EqualValues(t, 2, r.CpuShares)
	require.EqualValues(t, 1000, r.OomScoreAdj)

	c.Resources.Requests = list("250m", "256Mi")
	require.Equal(t, corev1.PodQOSBurstable, qosClass(pod))
	r = containerResources(pod, c, 1<<30)
	require.EqualValues(t, 256, r.CpuShares)
	require.EqualValues(t, 750, r.OomScoreAdj)
	require.Zero(t, r.CpuQuota)

	c.Resources.Limits = list("250m", "256Mi")
	require.Equal(t, corev1.PodQOSGuaranteed, qosClass(pod))
	r = containerResources(pod, c, 1<<30)
	require.EqualValues(t, 25_000, r.CpuQuota)
	require.EqualValues(t, 256<<20, r.MemoryLimitInBytes)
	require.EqualValues(t, -997, r.OomScoreAdj)
	require.EqualValues(t, 256<<20, podResources(pod).MemoryLimitInBytes)
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "b"})
	require.Zero(t, podResources(pod).MemoryLimitInBytes)
}

func TestDownwardAPI(t *testing.T) {
	k := &Kubelet{Config: Config{NodeName: "node-1", NodeIP: netip.MustParseAddr("172.30.0.11")}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"b": "2", "a": "1"}}}
	for path, want := range map[string]string{
		"metadata.name": "p", "metadata.labels": "a=\"1\"\nb=\"2\"", "metadata.labels['b']": "2", "spec.nodeName": "node-1",
		"status.hostIP": "172.30.0.11", "status.podIPs": "10.244.1.2",
	} {
		got, err := k.podField(pod, path, []string{"10.244.1.2"})
		require.NoError(t, err)
		require.Equal(t, want, got, path)
	}
	_, err := k.podField(pod, "spec.unknown", nil)
	require.Error(t, err)
}
