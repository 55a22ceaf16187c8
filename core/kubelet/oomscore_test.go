package kubelet

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestOOMScoreAdj(t *testing.T) {
	asking := func(memory string) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}}}
	}
	always := corev1.ContainerRestartPolicyAlways
	sidecar := asking("10Mi")
	sidecar.RestartPolicy = &always
	const node = 1000 << 20
	for _, c := range []struct {
		what string
		pod  corev1.PodSpec
		of   corev1.Container
		want int64
	}{
		{"asks for a tenth", corev1.PodSpec{Containers: []corev1.Container{asking("100Mi")}}, asking("100Mi"), 900},
		{"asks for nothing in a pod that asks", corev1.PodSpec{Containers: []corev1.Container{asking("100Mi"), {}}}, corev1.Container{}, 999},
		{"asks for all", corev1.PodSpec{Containers: []corev1.Container{asking("1000Mi")}}, asking("1000Mi"), 3},
		{"asks for nothing", corev1.PodSpec{Containers: []corev1.Container{{}}}, corev1.Container{}, 1000},
		{"the node needs it", corev1.PodSpec{PriorityClassName: "system-node-critical", Containers: []corev1.Container{{}}}, corev1.Container{}, -997},
		{"a sidecar lives as long as who needs it", corev1.PodSpec{InitContainers: []corev1.Container{sidecar}, Containers: []corev1.Container{asking("200Mi"), asking("300Mi")}}, sidecar, 800},
		{"shares what the pod as a whole asks for", corev1.PodSpec{
			Resources:  &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("300Mi")}},
			Containers: []corev1.Container{asking("100Mi"), {}}}, asking("100Mi"), 800},
	} {
		t.Run(c.what, func(t *testing.T) {
			require.Equal(t, c.want, oomScoreAdj(&corev1.Pod{Spec: c.pod}, &c.of, node))
		})
	}
}
