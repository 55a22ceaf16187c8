package kubelet_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/kubelet/eviction"
)

// pressure is the status of one of the node's conditions.
func (m *machine) pressure(t corev1.NodeConditionType) corev1.ConditionStatus {
	node, err := m.client.CoreV1().Nodes().Get(m.ctx, "node-1", metav1.GetOptions{})
	if err != nil {
		return corev1.ConditionUnknown
	}
	for _, c := range node.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// kubelet asks the kubelet's own API.
func (m *machine) kubelet(method, path string, body any) string {
	data, err := json.Marshal(body)
	require.NoError(m.t, err)
	req, err := http.NewRequestWithContext(m.ctx, method, "http://"+m.node.Listen.Addr().String()+path, bytes.NewReader(data))
	require.NoError(m.t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(m.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(m.t, err)
	require.Equal(m.t, http.StatusOK, res.StatusCode, "%s", text)
	return string(text)
}

// A pod that eats a small node's memory has to go; one that keeps to what it
// asked for stays.
func TestRealEvictionByMemory(t *testing.T) {
	m := newMachine(t, configured(func(c *kubelet.Config) {
		c.Capacity = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")}
		c.Resources.Eviction = eviction.Config{Hard: map[string]string{"memory.available": "1500Mi"}}
	}))
	require.Eventually(t, func() bool { return m.pressure(corev1.NodeReady) == corev1.ConditionTrue }, waitTime, waitTick)
	m.run("modest", []string{"sleep"}, asks("10m", "16Mi", ""))
	m.wait("modest", running)
	m.run("eater", []string{"hold", "600"}, asks("10m", "16Mi", ""))
	require.Eventually(t, func() bool { // that it has all, or was found before
		pods := m.client.CoreV1().Pods("default")
		pod, err := pods.Get(m.ctx, "eater", metav1.GetOptions{})
		text, _ := pods.GetLogs("eater", &corev1.PodLogOptions{}).DoRaw(m.ctx)
		return err == nil && (over(pod) || strings.Contains(string(text), "ready"))
	}, waitTime, waitTick)
	m.kubelet("PUT", "/klab/pressure", kubelet.Pressure{Of: "memory", Off: true}) // look now
	pod := m.wait("eater", over)
	require.Equal(t, corev1.PodFailed, pod.Status.Phase)
	require.Equal(t, "Evicted", pod.Status.Reason)
	require.True(t, strings.HasPrefix(pod.Status.Message, "The node was low on resource: memory. Threshold quantity: 1500Mi, available: "), pod.Status.Message)
	require.Contains(t, pod.Status.Message, "Container main was using ")
	require.Contains(t, pod.Status.Message, ", request is 16Mi, has larger consumption of memory. ")
	require.Eventually(t, func() bool { return m.pressure(corev1.NodeMemoryPressure) == corev1.ConditionTrue }, waitTime, waitTick)
	m.wait("modest", running)
	var disrupted bool
	for _, c := range pod.Status.Conditions {
		disrupted = disrupted || c.Type == corev1.DisruptionTarget && c.Reason == "TerminationByKubelet"
	}
	require.True(t, disrupted)

	// While the condition lasts, pods that ask for nothing are not taken.
	m.run("free", []string{"sleep"})
	pod = m.wait("free", over)
	require.Equal(t, "Evicted", pod.Status.Reason)
	require.Equal(t, "Pod was rejected: The node had condition: [MemoryPressure]. ", pod.Status.Message)
}

// A fault of the lab makes a node believe that it runs out; when it ends, the
// condition stays for the transition period.
func TestRealPressureFault(t *testing.T) {
	m := newMachine(t, configured(func(c *kubelet.Config) {
		c.Resources.Eviction = eviction.Config{Hard: map[string]string{"nodefs.available": "1Mi", "memory.available": "1Mi"}, Transition: 1}
	}))
	m.run("stays", []string{"sleep"})
	m.wait("stays", running)
	available := resource.MustParse("1Ki")
	m.kubelet("PUT", "/klab/pressure", kubelet.Pressure{Of: "disk", Available: &available})
	pod := m.wait("stays", over)
	require.Contains(t, pod.Status.Message, "The node was low on resource: ephemeral-storage. Threshold quantity: 1Mi, available: 1Ki. ")
	require.Eventually(t, func() bool { return m.pressure(corev1.NodeDiskPressure) == corev1.ConditionTrue }, waitTime, waitTick)
	m.kubelet("PUT", "/klab/pressure", kubelet.Pressure{Of: "disk", Off: true})
	require.Eventually(t, func() bool { return m.pressure(corev1.NodeDiskPressure) == corev1.ConditionFalse }, waitTime, waitTick)
}

// The numbers are the kernel's.
func TestRealStats(t *testing.T) {
	m := newMachine(t)
	m.run("holds", []string{"hold", "50"}, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
	})
	m.wait("holds", running)
	summary := func() (s statsapi.Summary) {
		require.NoError(t, json.Unmarshal([]byte(m.kubelet("GET", "/stats/summary", nil)), &s))
		return s
	}
	require.Eventually(t, func() bool {
		s := summary()
		return len(s.Pods) == 1 && s.Pods[0].Memory != nil && *s.Pods[0].Memory.WorkingSetBytes > 50<<20
	}, waitTime, waitTick)
	_, err := m.exec("holds", "/bin/tool", "fill", "/scratch/file", "100001")
	require.NoError(t, err)
	s := summary()
	require.Len(t, s.Pods, 1)
	require.Equal(t, "main", s.Pods[0].Containers[0].Name)
	i := slices.IndexFunc(s.Pods[0].VolumeStats, func(v statsapi.VolumeStats) bool { return v.Name == "scratch" })
	require.GreaterOrEqual(t, i, 0)
	require.Greater(t, *s.Pods[0].VolumeStats[i].UsedBytes, uint64(100_000))
	require.Greater(t, *s.Pods[0].EphemeralStorage.UsedBytes, uint64(100_000))
	require.Eventually(t, func() bool { // they are read one after the other
		s := summary()
		return *s.Node.Memory.WorkingSetBytes >= *s.Pods[0].Memory.WorkingSetBytes
	}, waitTime, waitTick)

	text := m.kubelet("GET", "/metrics/resource", nil)
	for _, want := range []string{`container_memory_working_set_bytes{container="main",namespace="default",pod="holds"} `, "node_cpu_usage_seconds_total ", "resource_scrape_error 0"} {
		require.Contains(t, text, want)
	}
	require.Contains(t, m.kubelet("GET", "/metrics/cadvisor", nil), `container_fs_usage_bytes{container="main",namespace="default",pod="holds"}`)
	require.Contains(t, m.kubelet("GET", "/metrics", nil), `kubelet_running_containers{container_state="running"} 1`)
}

// A pod that writes more than its volume may hold has to go.
func TestRealEvictionByVolume(t *testing.T) {
	m := newMachine(t)
	limit := resource.MustParse("64Ki")
	m.run("writer", []string{"sleep"}, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
	})
	m.wait("writer", running)
	_, _ = m.exec("writer", "/bin/tool", "fill", "/scratch/file", "100001")       // the pod may be ended before the answer is there
	m.kubelet("PUT", "/klab/pressure", kubelet.Pressure{Of: "memory", Off: true}) // look now
	pod := m.wait("writer", over)
	require.Equal(t, `Usage of EmptyDir volume "scratch" exceeds the limit "64Ki". `, pod.Status.Message)
}
