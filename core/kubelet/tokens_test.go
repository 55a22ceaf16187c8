package kubelet_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// A projected token is the same until 80 % of its life have passed on the lab
// clock; then the file has a new one, while the container runs on.
func TestTokensAreRenewed(t *testing.T) {
	inLab(t, func(l *lab) {
		life := int64(1000)
		pod := l.run("p", "sleep 36000", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &life}}}}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "t", MountPath: "/t"}}
		})
		require.Equal(t, corev1.PodRunning, pod.Status.Phase)
		token := func() string {
			text, err := os.ReadFile(l.root + "/pods/" + string(pod.UID) + "/volumes/kubernetes.io~projected/t/token")
			require.NoError(t, err)
			require.NotEmpty(t, text)
			return string(text)
		}
		first := token()
		l.pass(790 * time.Second)
		require.Equal(t, first, token())
		l.pass(20 * time.Second)
		second := token()
		require.NotEqual(t, first, second)
		l.pass(780 * time.Second)
		require.Equal(t, second, token(), "its own life begins anew")
		l.pass(30 * time.Second)
		require.NotEqual(t, second, token())
		require.EqualValues(t, pod.Status.ContainerStatuses[0].ContainerID, l.main("p").ContainerID)
	})
}
