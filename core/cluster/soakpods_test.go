//go:build soak

package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// kind is one sort of pod; end says how far it has come when that is all that
// will come of it, and "" before.
type kind struct {
	name   string
	change func(*corev1.Pod, *rand.Rand)
	end    func(*corev1.Pod) string
}

func kinds() []kind {
	return []kind{
		{"exits", exitsAnyhow, endsWithCode},
		{"crash loop", func(p *corev1.Pod, _ *rand.Rand) { p.Spec.Containers[0].Command = script("exit 1") }, restarted},
		{"serves", func(p *corev1.Pod, _ *rand.Rand) { p.Spec.Containers[0].Command = script(serves) }, isReady},
		{"stubborn", func(p *corev1.Pod, _ *rand.Rand) { p.Spec.Containers[0].Command = script(`trap "" TERM; sleep 3600`) }, isReady},
		{"probed", probedBy, isReady},
		{"never live", neverLive, restarted},
		{"volumes", manyVolumes, isReady},
		{"hooks", func(p *corev1.Pod, _ *rand.Rand) {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{
				PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}},
				PreStop:   &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "0.3"}}},
			}
		}, isReady},
		{"out of memory", tooMuchMemory, endsWithCode},
		{"host network", func(p *corev1.Pod, _ *rand.Rand) { p.Spec.HostNetwork = true }, isReady},
		{"user namespace", func(p *corev1.Pod, _ *rand.Rand) { userNamespace(p) }, isReady},
		{"no image", func(p *corev1.Pod, _ *rand.Rand) { p.Spec.Containers[0].Image = "klab.local/nothing:1" }, waitsFor("ErrImagePull", "ImagePullBackOff")},
		{"no command", func(p *corev1.Pod, _ *rand.Rand) { p.Spec.Containers[0].Command = []string{"/nothing"} }, waitsFor("RunContainerError", "CrashLoopBackOff")},
		{"no config", func(p *corev1.Pod, _ *rand.Rand) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "nothing"}}}}
		}, waitsFor("CreateContainerConfigError")},
		{"init and sidecar", initAndSidecar, isReady},
	}
}

// serves writes no mark: there are too many of them.
const serves = `trap "exit 0" TERM; sleep 3600 & wait`

func isReady(p *corev1.Pod) string {
	if ready(p) {
		return "Ready"
	}
	return ""
}

func restarted(p *corev1.Pod) string {
	if status(p).RestartCount > 0 {
		return "restarted"
	}
	return ""
}

func endsWithCode(p *corev1.Pod) string {
	end := status(p).State.Terminated
	if !ended(p) || end == nil {
		return ""
	}
	return fmt.Sprintf("%s %s %d", p.Status.Phase, end.Reason, end.ExitCode)
}

func waitsFor(reasons ...string) func(*corev1.Pod) string {
	return func(p *corev1.Pod) string {
		if w := status(p).State.Waiting; w != nil && slices.Contains(reasons, w.Reason) {
			return w.Reason
		}
		return ""
	}
}

func exitsAnyhow(p *corev1.Pod, r *rand.Rand) {
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.Containers[0].Command = script(fmt.Sprintf("echo bye; exit %d", r.IntN(3)))
}

func tooMuchMemory(p *corev1.Pod, _ *rand.Rand) {
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.Containers[0].Command = []string{"eatmem", "200Mi", "20Mi"}
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}
}

func probedBy(p *corev1.Pod, r *rand.Rand) {
	check := &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 30}
	c := &p.Spec.Containers[0]
	switch r.IntN(3) {
	case 0:
		check.Exec = &corev1.ExecAction{Command: []string{"true"}}
	case 1:
		check.HTTPGet = &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}
		c.Command = []string{"httpd", ":8080"}
	default:
		check.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}
		c.Command = []string{"httpd", ":8080"}
	}
	c.ReadinessProbe, c.LivenessProbe = check, check
}

func neverLive(p *corev1.Pod, _ *rand.Rand) {
	p.Spec.Containers[0].LivenessProbe = &corev1.Probe{
		PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}},
	}
}

func manyVolumes(p *corev1.Pod, _ *rand.Rand) {
	from := corev1.LocalObjectReference{Name: "soak"}
	p.Spec.Volumes = append(p.Spec.Volumes,
		corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: from}}},
		corev1.Volume{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "soak"}}},
		corev1.Volume{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
	)
	c := &p.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts,
		corev1.VolumeMount{Name: "config", MountPath: "/config"},
		corev1.VolumeMount{Name: "config", MountPath: "/one", SubPath: "a"},
		corev1.VolumeMount{Name: "secret", MountPath: "/secret", ReadOnly: true},
		corev1.VolumeMount{Name: "memory", MountPath: "/memory"},
	)
}

func initAndSidecar(p *corev1.Pod, _ *rand.Rand) {
	c := p.Spec.Containers[0]
	first, side := *c.DeepCopy(), *c.DeepCopy()
	always := corev1.ContainerRestartPolicyAlways
	first.Name, first.Command = "first", []string{"true"}
	side.Name, side.RestartPolicy = "side", &always
	p.Spec.InitContainers = []corev1.Container{first, side}
}

// configs makes what volumes show.
func (s *soak) configs() {
	ctx, meta := context.Background(), metav1.ObjectMeta{Name: "soak"}
	_, err := s.client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "b"}}, metav1.CreateOptions{})
	require.NoError(s.t, err)
	_, err = s.client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"a": "b"}}, metav1.CreateOptions{})
	require.NoError(s.t, err)
}

// memoryByRole is the proportional set size of klab's processes in MiB.
func (s *soak) memoryByRole() map[string]int {
	found := map[string]int{}
	for _, role := range []string{"daemon", "agent/node-1", "agent/node-2", "klab-rt/node-1", "klab-rt/node-2"} {
		rollup, _ := os.ReadFile(filepath.Join("/proc", fmt.Sprint(s.pid(role)), "smaps_rollup"))
		for line := range bytes.Lines(rollup) {
			var kib int
			if n, _ := fmt.Sscanf(strings.TrimSpace(string(line)), "Pss: %d kB", &kib); n == 1 {
				found[role] = kib / 1024
			}
		}
	}
	return found
}

// growth is what a process may have more in the end, in MiB: a heap does not
// give everything back at once.
const growth = 150

func (s *soak) compare(before, after map[string]int) {
	s.t.Logf("MiB before: %v, after: %v", before, after)
	for role, mib := range after {
		require.Less(s.t, mib, before[role]+growth, "%s has grown", role)
	}
}
