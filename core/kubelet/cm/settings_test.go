package cm

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func list(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{}
	if cpu != "" {
		l[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		l[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return l
}

func container(requests, limits corev1.ResourceList) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}
}

func TestPodSettings(t *testing.T) {
	const mi = 1 << 20
	overhead := list("100m", "20Mi")
	for _, c := range []struct {
		what  string
		spec  corev1.PodSpec
		class corev1.PodQOSClass
		want  Settings
	}{
		{"asks for nothing", corev1.PodSpec{Containers: []corev1.Container{container(nil, nil)}},
			corev1.PodQOSBestEffort, Settings{Shares: 2, Quota: -1, Memory: -1, Pids: 50}},
		{"asks for all that it may have", corev1.PodSpec{Containers: []corev1.Container{container(list("500m", "64Mi"), list("500m", "64Mi")), container(list("1", "1Mi"), list("1", "1Mi"))}},
			corev1.PodQOSGuaranteed, Settings{Shares: 1536, Quota: 150_000, Memory: 65 * mi, Pids: 50}},
		{"one container without limits", corev1.PodSpec{Containers: []corev1.Container{container(list("500m", "64Mi"), list("500m", "64Mi")), container(nil, nil)}},
			corev1.PodQOSBurstable, Settings{Shares: 512, Quota: -1, Memory: -1, Pids: 50}},
		{"a memory limit alone", corev1.PodSpec{Containers: []corev1.Container{container(list("250m", "32Mi"), list("", "64Mi"))}},
			corev1.PodQOSBurstable, Settings{Shares: 256, Quota: -1, Memory: 64 * mi, Pids: 50}},
		{"an init container that is larger", corev1.PodSpec{InitContainers: []corev1.Container{container(list("2", "8Mi"), list("2", "8Mi"))}, Containers: []corev1.Container{container(list("1", "16Mi"), list("1", "16Mi"))}},
			corev1.PodQOSGuaranteed, Settings{Shares: 2048, Quota: 200_000, Memory: 16 * mi, Pids: 50}},
		{"with overhead", corev1.PodSpec{Overhead: overhead, Containers: []corev1.Container{container(list("100m", "20Mi"), list("100m", "20Mi"))}},
			corev1.PodQOSGuaranteed, Settings{Shares: 204, Quota: 20_000, Memory: 40 * mi, Pids: 50}},
		{"limits of the pod as a whole", corev1.PodSpec{Resources: &corev1.ResourceRequirements{Requests: list("100m", "32Mi"), Limits: list("200m", "64Mi")}, Containers: []corev1.Container{container(nil, nil)}},
			corev1.PodQOSBurstable, Settings{Shares: 102, Quota: 20_000, Memory: 64 * mi, Pids: 50}},
		{"almost no CPU", corev1.PodSpec{Containers: []corev1.Container{container(list("1m", "1Mi"), list("1m", "1Mi"))}},
			corev1.PodQOSGuaranteed, Settings{Shares: 2, Quota: 1000, Memory: mi, Pids: 50}},
	} {
		t.Run(c.what, func(t *testing.T) {
			pod := &corev1.Pod{Spec: c.spec}
			require.Equal(t, c.class, QOS(pod))
			require.Equal(t, c.want, PodSettings(pod, 50))
		})
	}
}
