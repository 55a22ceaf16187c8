package kubelet

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// sized is what a container asks for: request and limit of CPU and memory.
func sized(cpu, cpuLimit, memory, memoryLimit string) corev1.ResourceRequirements {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	return corev1.ResourceRequirements{Requests: list(cpu, memory), Limits: list(cpuLimit, memoryLimit)}
}

func TestResizePlan(t *testing.T) {
	small, large := sized("100m", "200m", "64Mi", "128Mi"), sized("300m", "400m", "256Mi", "512Mi")
	restart := func(c *corev1.Container, name corev1.ResourceName) {
		c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: name, RestartPolicy: corev1.RestartContainer}}
	}
	for _, c := range []struct {
		name   string
		has    []corev1.ResourceRequirements // of containers main and other
		wants  []corev1.ResourceRequirements
		change func(*corev1.Pod)
		plan   []string
	}{
		{"nothing changes", []corev1.ResourceRequirements{small, large}, []corev1.ResourceRequirements{small, large}, nil, nil},
		{"less comes before more", []corev1.ResourceRequirements{small, large}, []corev1.ResourceRequirements{large, small}, nil, []string{
			"resize memory of container other: limit 536870912 to 134217728", "resize memory of container main: limit 134217728 to 536870912",
			"resize cpu of container other: request 300m to 100m, limit 400m to 200m", "resize cpu of container main: request 100m to 300m, limit 200m to 400m",
			"adjust the pod's cgroup"}},
		{"only cpu", []corev1.ResourceRequirements{small, large}, []corev1.ResourceRequirements{sized("150m", "200m", "64Mi", "128Mi"), large}, nil, []string{
			"resize cpu of container main: request 100m to 150m, limit 200m to 200m", "adjust the pod's cgroup"}},
		{"memory by restart", []corev1.ResourceRequirements{small, small}, []corev1.ResourceRequirements{large, small},
			func(p *corev1.Pod) { restart(&p.Spec.Containers[0], corev1.ResourceMemory) }, []string{
				"stop container main: Container main resize requires restart", "adjust the pod's cgroup", "start container main"}},
		{"the other resource by restart", []corev1.ResourceRequirements{small, small}, []corev1.ResourceRequirements{sized("150m", "200m", "64Mi", "128Mi"), small},
			func(p *corev1.Pod) { restart(&p.Spec.Containers[0], corev1.ResourceMemory) }, []string{
				"resize cpu of container main: request 100m to 150m, limit 200m to 200m", "adjust the pod's cgroup"}},
		{"a limit is added", []corev1.ResourceRequirements{sized("100m", "", "", ""), small}, []corev1.ResourceRequirements{sized("100m", "200m", "", "64Mi"), small}, nil, []string{
			"resize memory of container main: limit 0 to 67108864", "resize cpu of container main: request 100m to 100m, limit 0m to 200m", "adjust the pod's cgroup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := podOf(&Case{policy: corev1.RestartPolicyAlways})
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "other", Image: "i"})
			state := stateWith(true, up("main"), up("other"))
			state.actuated = &allocation{Containers: map[string]corev1.ResourceRequirements{"main": c.has[0], "other": c.has[1]}}
			pod.Spec.Containers[0].Resources, pod.Spec.Containers[1].Resources = c.wants[0], c.wants[1]
			if c.change != nil {
				c.change(pod)
			}
			a := computeActions(pod, state, verdicts{})
			require.Equal(t, c.plan, a.plan(pod))
			require.Equal(t, c.plan != nil, resizing(pod, state))
		})
	}
}

// What was granted stands for what the spec asks for until more is granted.
func TestAllocationStandsForTheSpec(t *testing.T) {
	pod := podOf(&Case{policy: corev1.RestartPolicyAlways})
	pod.Spec.Containers[0].Resources = sized("100m", "", "64Mi", "")
	granted := allocationOf(pod)
	require.Same(t, pod, granted.on(pod), "nothing differs, nothing is copied")
	pod.Spec.Containers[0].Resources = sized("5", "", "64Mi", "")
	require.True(t, granted.differs(pod))
	require.Equal(t, "100m", granted.on(pod).Spec.Containers[0].Resources.Requests.Cpu().String())
	require.Equal(t, "5", pod.Spec.Containers[0].Resources.Requests.Cpu().String())
}
