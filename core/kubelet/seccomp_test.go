package kubelet

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSeccompProfile(t *testing.T) {
	local := "profiles/audit.json"
	runtimeDefault := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	unconfined := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
	localhost := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &local}
	for name, c := range map[string]struct {
		pod, container *corev1.SeccompProfile
		byDefault      bool
		want           cri.SecurityProfile_ProfileType
		path           string
	}{
		"nothing said":            {want: cri.SecurityProfile_Unconfined},
		"nothing said, defaulted": {byDefault: true, want: cri.SecurityProfile_RuntimeDefault},
		"the pod's":               {pod: runtimeDefault, want: cri.SecurityProfile_RuntimeDefault},
		"the container's wins":    {pod: runtimeDefault, container: unconfined, byDefault: true, want: cri.SecurityProfile_Unconfined},
		"a file of the node":      {container: localhost, want: cri.SecurityProfile_Localhost, path: "/node/seccomp/profiles/audit.json"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &Kubelet{Config: Config{Root: "/node", SeccompDefault: c.byDefault}}
			pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{SeccompProfile: c.pod}}}
			got := k.seccompProfile(pod, &corev1.Container{SecurityContext: &corev1.SecurityContext{SeccompProfile: c.container}})
			require.Equal(t, c.want, got.ProfileType)
			require.Equal(t, c.path, got.LocalhostRef)
		})
	}
}
