package kubelet

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestVolumesChangeAllAtOnce(t *testing.T) {
	dir := t.TempDir()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(text)
	}
	require.NoError(t, writeAtomically(dir, map[string]volumeFile{"a": {"1", 0o644}, "sub/b": {"2", 0o400}}))
	require.Equal(t, "1", read("a"))
	require.Equal(t, "2", read("sub/b"))
	first, err := os.Readlink(filepath.Join(dir, "..data"))
	require.NoError(t, err)
	require.NoError(t, writeAtomically(dir, map[string]volumeFile{"a": {"1", 0o644}, "sub/b": {"2", 0o400}}))
	same, err := os.Readlink(filepath.Join(dir, "..data"))
	require.NoError(t, err)
	require.Equal(t, first, same)

	require.NoError(t, writeAtomically(dir, map[string]volumeFile{"a": {"9", 0o644}}))
	require.Equal(t, "9", read("a"))
	require.NoFileExists(t, filepath.Join(dir, "sub"))
	require.NoDirExists(t, filepath.Join(dir, first))
	require.Error(t, writeAtomically(dir, map[string]volumeFile{"../x": {"9", 0o644}}))
}

func TestSubPathStaysInItsVolume(t *testing.T) {
	dir := t.TempDir()
	path, err := subPath(dir, "a/b")
	require.NoError(t, err)
	require.DirExists(t, path)
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "out")))
	_, err = subPath(dir, "out")
	require.Error(t, err)
	_, err = subPath(dir, "../x")
	require.Error(t, err)
}

func TestResolvConfAndHosts(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(conf, []byte("# comment\nnameserver 192.0.2.1\nsearch lan\noptions rotate\n"), 0o600))
	k := &Kubelet{Config: Config{NodeName: "node-1", NodeIP: netip.MustParseAddr("172.30.0.11"), ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: "cluster.local", ResolvConf: conf}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}}
	five := "2"
	pod.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.9"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &five}}}
	require.Equal(t, "search ns.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.96.0.10\nnameserver 192.0.2.9\noptions ndots:2\n",
		formatResolvConf(k.dnsConfig(pod)))
	pod.Spec.DNSPolicy, pod.Spec.DNSConfig = corev1.DNSDefault, nil
	require.Equal(t, "search lan\nnameserver 192.0.2.1\noptions rotate\n", formatResolvConf(k.dnsConfig(pod)))

	pod.Spec.Subdomain = "sub"
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"x", "y"}}}
	require.Contains(t, k.formatHosts(pod, []string{"10.244.1.2"}), "10.244.1.2\tp.sub.ns.svc.cluster.local\tp\n")
	require.Contains(t, k.formatHosts(pod, nil), "192.0.2.7\tx\ty\n")
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
