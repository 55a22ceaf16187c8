package apiserver

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core"
)

const (
	accessVolume = "kube-api-access-"
	accessPath   = "/var/run/secrets/kubernetes.io/serviceaccount"
	// accessSeconds is how long a pod's token is good; the kubelet gets a new
	// one in time. The odd number tells such tokens from others.
	accessSeconds = 60*60 + 7
)

// automounts: the pod's wish counts before the account's.
func automounts(account *core.ServiceAccount, pod *core.Pod) bool {
	for _, wish := range []*bool{pod.Spec.AutomountServiceAccountToken, account.AutomountServiceAccountToken} {
		if wish != nil {
			return *wish
		}
	}
	return true
}

// mountAccess mounts a volume with what a container needs to ask the API,
// where nothing else is mounted.
func (s *Server) mountAccess(pod *core.Pod) bool {
	volume, exists := "", false
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, accessVolume) {
			volume, exists = v.Name, true
		}
	}
	if !exists {
		volume = accessVolume + s.random.suffix()
	}
	needed := false
	for _, containers := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			taken := slices.ContainsFunc(containers[i].VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == accessPath })
			if !taken {
				containers[i].VolumeMounts = append(containers[i].VolumeMounts, core.VolumeMount{Name: volume, ReadOnly: true, MountPath: accessPath})
				needed = true
			}
		}
	}
	if needed && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, core.Volume{Name: volume, VolumeSource: core.VolumeSource{Projected: access()}})
	}
	return needed
}

// access is the volume's content: token, ca.crt, namespace.
func access() *core.ProjectedVolumeSource {
	return &core.ProjectedVolumeSource{
		DefaultMode: new(corev1.ProjectedVolumeSourceDefaultMode),
		Sources: []core.VolumeProjection{
			{ServiceAccountToken: &core.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(accessSeconds))}},
			{ConfigMap: &core.ConfigMapProjection{
				LocalObjectReference: core.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []core.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &core.DownwardAPIProjection{Items: []core.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &core.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
			}}},
		},
	}
}
