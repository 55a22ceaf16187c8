package kubelet

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandboxConfig is what the runtime is told about a pod as a whole.
func (k *Kubelet) sandboxConfig(pod *corev1.Pod, attempt uint32) *cri.PodSandboxConfig {
	hostname, _ := k.kernelHostname(pod) // createSandbox has checked it
	dns, _ := k.dnsConfig(pod)
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt},
		Hostname:     hostname,
		LogDirectory: k.logDir(pod),
		DnsConfig:    dns,
		Labels:       podLabels(pod),
		Annotations:  sandboxAnnotations(pod),
		PortMappings: portMappings(pod),
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    k.groupPath(pod),
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: namespaces(pod)},
			Resources:       k.podResources(pod),
			Overhead:        cgroupResources(pod.Spec.Overhead, pod.Spec.Overhead),
		},
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		config.Linux.SecurityContext.SupplementalGroups = groups(sc)
		config.Linux.Sysctls = map[string]string{}
		for _, s := range sc.Sysctls {
			config.Linux.Sysctls[strings.ReplaceAll(s.Name, "/", ".")] = s.Value
		}
	}
	for i := range pod.Spec.Containers {
		if sc := pod.Spec.Containers[i].SecurityContext; sc != nil && sc.Privileged != nil && *sc.Privileged {
			config.Linux.SecurityContext.Privileged = true
		}
	}
	maps.DeleteFunc(config.Labels, func(name, _ string) bool { return name == "" })
	return config
}

// namespaces says which of its namespaces the pod shares, and with whom.
func namespaces(pod *corev1.Pod) *cri.NamespaceOption {
	mode := func(node bool) cri.NamespaceMode {
		if node {
			return cri.NamespaceMode_NODE
		}
		return cri.NamespaceMode_POD
	}
	o := &cri.NamespaceOption{Network: mode(pod.Spec.HostNetwork), Ipc: mode(pod.Spec.HostIPC), Pid: cri.NamespaceMode_CONTAINER}
	if pod.Spec.HostPID {
		o.Pid = cri.NamespaceMode_NODE
	} else if share := pod.Spec.ShareProcessNamespace; share != nil && *share {
		o.Pid = cri.NamespaceMode_POD
	}
	return o
}

func portMappings(pod *corev1.Pod) []*cri.PortMapping {
	var list []*cri.PortMapping
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			list = append(list, &cri.PortMapping{
				Protocol:      cri.Protocol(cri.Protocol_value[string(p.Protocol)]),
				ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP,
			})
		}
	}
	return list
}

func groups(sc *corev1.PodSecurityContext) []int64 {
	list := append([]int64(nil), sc.SupplementalGroups...)
	if sc.FSGroup != nil {
		list = append(list, *sc.FSGroup)
	}
	return list
}
