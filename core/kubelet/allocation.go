package kubelet

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// allocation is the resources of a pod and of its containers by name: those
// that it was granted, or those that its cgroups have. ("Resize CPU and Memory
// Resources assigned to Containers".)
type allocation struct {
	Pod        *corev1.ResourceRequirements           `json:"pod,omitempty"`
	Containers map[string]corev1.ResourceRequirements `json:"containers,omitempty"`
}

// allocationOf is what the pod's spec asks for.
func allocationOf(pod *corev1.Pod) *allocation {
	a := &allocation{Pod: pod.Spec.Resources.DeepCopy(), Containers: map[string]corev1.ResourceRequirements{}}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			a.Containers[list[i].Name] = *list[i].Resources.DeepCopy()
		}
	}
	return a
}

func (a *allocation) clone() *allocation {
	if a == nil {
		return &allocation{Containers: map[string]corev1.ResourceRequirements{}}
	}
	return &allocation{Pod: a.Pod.DeepCopy(), Containers: maps.Clone(a.Containers)}
}

// on is the pod with these resources instead of its own; a copy if they differ.
func (a *allocation) on(pod *corev1.Pod) *corev1.Pod {
	if a == nil || !a.differs(pod) {
		return pod
	}
	pod = pod.DeepCopy()
	pod.Spec.Resources = a.Pod.DeepCopy()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if r, ok := a.Containers[list[i].Name]; ok {
				list[i].Resources = *r.DeepCopy()
			}
		}
	}
	return pod
}

// differs tells whether the pod's spec asks for something else.
func (a *allocation) differs(pod *corev1.Pod) bool {
	if !equal(a.Pod, pod.Spec.Resources) {
		return true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if r, ok := a.Containers[list[i].Name]; ok && !equal(r, list[i].Resources) {
				return true
			}
		}
	}
	return false
}

// amounts are the four numbers of a container that can be resized.
type amounts struct{ cpuRequest, cpuLimit, memoryRequest, memoryLimit int64 } // milli-CPUs and bytes

func amountsOf(pod, container *corev1.ResourceRequirements) amounts {
	a := amounts{
		cpuRequest: container.Requests.Cpu().MilliValue(), cpuLimit: container.Limits.Cpu().MilliValue(),
		memoryRequest: container.Requests.Memory().Value(), memoryLimit: container.Limits.Memory().Value(),
	}
	if pod != nil { // what the container leaves open is bounded by the pod's
		if a.cpuLimit == 0 {
			a.cpuLimit = pod.Limits.Cpu().MilliValue()
		}
		if a.memoryLimit == 0 {
			a.memoryLimit = pod.Limits.Memory().Value()
		}
	}
	return a
}

// desired and actual are a container's amounts by the pod's spec and by what
// its cgroup was given.
func desired(pod *corev1.Pod, c *corev1.Container) amounts {
	return amountsOf(pod.Spec.Resources, &c.Resources)
}

func (a *allocation) actual(name string) amounts {
	if a == nil {
		return amounts{}
	}
	r := a.Containers[name]
	return amountsOf(a.Pod, &r)
}

// podLevel are the pod's own amounts.
func podLevel(r *corev1.ResourceRequirements) amounts {
	if r == nil {
		return amounts{}
	}
	return amountsOf(nil, r)
}
