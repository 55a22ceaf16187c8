package kubelet

import (
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// seccompProfile is what the runtime is told about a container's system calls:
// the container's own profile, or the pod's, or what the kubelet has for those
// that name none. ("Restrict a Container's Syscalls with seccomp".)
func (k *Kubelet) seccompProfile(pod *corev1.Pod, c *corev1.Container) *cri.SecurityProfile {
	var profile *corev1.SeccompProfile
	if pod.Spec.SecurityContext != nil {
		profile = pod.Spec.SecurityContext.SeccompProfile
	}
	if c.SecurityContext != nil {
		profile = or(c.SecurityContext.SeccompProfile, profile)
	}
	switch {
	case profile == nil && k.SeccompDefault:
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	case profile == nil || profile.Type == corev1.SeccompProfileTypeUnconfined:
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}
	case profile.Type == corev1.SeccompProfileTypeLocalhost && profile.LocalhostProfile != nil:
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: filepath.Join(k.Root, "seccomp", *profile.LocalhostProfile)}
	}
	return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
}
