package kubelet_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/step"
)

func needRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

func (l *lab) configMap(name string, data map[string]string) {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	_, err := l.admin.CoreV1().ConfigMaps("default").Create(context.Background(), cm, metav1.CreateOptions{})
	require.NoError(l.t, err)
	synctest.Wait()
}

func (l *lab) setConfigMap(name string, data map[string]string) {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	_, err := l.admin.CoreV1().ConfigMaps("default").Update(context.Background(), cm, metav1.UpdateOptions{})
	require.NoError(l.t, err)
	synctest.Wait()
}

// messages are those of the pod's events with that reason.
func (l *lab) messages(name, reason string) []string {
	list, err := l.admin.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	require.NoError(l.t, err)
	var out []string
	for _, e := range list.Items {
		if e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}

// config is what the runtime was told about the pod's newest container.
func (l *lab) container(pod string) *fakeContainer {
	l.runtime.mu.Lock()
	defer l.runtime.mu.Unlock()
	var newest *fakeContainer
	for _, c := range l.runtime.containers {
		if c.status.Labels["io.kubernetes.pod.name"] == pod && (newest == nil || c.status.CreatedAt > newest.status.CreatedAt) {
			newest = c
		}
	}
	return newest
}

func (l *lab) env(pod string) map[string]string {
	env := map[string]string{}
	for _, e := range l.container(pod).config.Envs {
		env[e.Key] = string(e.Value)
	}
	return env
}

// mounted is where on the node the container's path leads.
func (l *lab) mounted(pod, path string) string {
	for _, m := range l.container(pod).config.Mounts {
		if m.ContainerPath == path {
			return m.HostPath
		}
	}
	return ""
}

// steps are those of one class since the lab began, by verb and volume.
func (l *lab) volumeSteps() []string {
	var out []string
	for seq := l.Recorder.(*step.Journal).First(); seq <= l.Recorder.(*step.Journal).Last(); seq++ {
		events, err := l.Recorder.(*step.Journal).Next(context.Background(), seq)
		require.NoError(l.t, err)
		if e := events[0]; e.Class == step.ClassVolume && e.Phase == step.PhaseBegin {
			var d step.VolumeDetail
			require.NoError(l.t, json.Unmarshal(e.Detail, &d))
			out = append(out, string(e.Verb)+" "+d.Volume)
		}
	}
	return out
}

func withConfigMap(name string, optional bool) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "cm", MountPath: "/cm"}}
	}
}

func TestEnvironmentAndVolumes(t *testing.T) {
	needRoot(t)
	inLab(t, func(l *lab) {
		l.configMap("cm", map[string]string{"colour": "red"})
		l.run("p", "sleep $(SECONDS)", func(p *corev1.Pod) {
			c := &p.Spec.Containers[0]
			c.EnvFrom = []corev1.EnvFromSource{{Prefix: "p.", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}
			c.Env = []corev1.EnvVar{
				{Name: "SECONDS", Value: "9999"}, {Name: "BOTH", Value: "$(p.colour)-$(SECONDS)-$$(x)-$(none)"},
				{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			}
			withConfigMap("cm", false)(p)
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "empty", MountPath: "/empty", SubPathExpr: "a/$(p.colour)"})
		})
		require.Equal(t, []string{"sleep", "9999"}, l.container("p").config.Command)
		env := l.env("p")
		require.Equal(t, "red-9999-$(x)-$(none)", env["BOTH"])
		require.Equal(t, "10.244.1.2", env["IP"])
		require.Equal(t, "10.96.0.1", env["KUBERNETES_SERVICE_HOST"])
		require.FileExists(t, l.mounted("p", "/cm")+"/colour")
		require.DirExists(t, l.mounted("p", "/empty"))
		require.FileExists(t, l.mounted("p", "/etc/hosts"))
		require.FileExists(t, l.mounted("p", "/dev/termination-log"))
		require.Equal(t, []string{"mount cm", "mount empty", "mount empty"}, l.volumeSteps())

		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{}))
		synctest.Wait()
		require.ElementsMatch(t, []string{"unmount cm", "unmount empty", "unmount empty"}, l.volumeSteps()[3:])
		dirs, err := os.ReadDir(l.root + "/pods")
		require.NoError(t, err)
		require.Empty(t, dirs)
	})
}

// A change of an object reaches the pods that show it at once, and only one
// that changes what they show.
func TestVolumesFollowTheAPI(t *testing.T) {
	inLab(t, func(l *lab) {
		l.configMap("cm", map[string]string{"a": "1"})
		l.run("p", "sleep 9999", withConfigMap("cm", true))
		at := l.mounted("p", "/cm")
		l.setConfigMap("cm", map[string]string{"a": "2", "b": "3"})
		require.FileExists(t, at+"/b")
		text, err := os.ReadFile(at + "/a")
		require.NoError(t, err)
		require.Equal(t, "2", string(text))
		require.NoError(t, l.admin.CoreV1().ConfigMaps("default").Delete(context.Background(), "cm", metav1.DeleteOptions{}))
		synctest.Wait()
		require.NoFileExists(t, at+"/a")
		l.configMap("cm", map[string]string{"a": "4"})
		require.FileExists(t, at+"/a")
		l.configMap("other", map[string]string{"a": "4"})
		require.Equal(t, slices.Repeat([]string{"mount cm"}, 4), l.volumeSteps())
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)
		require.Zero(t, l.main("p").RestartCount)
	})
}

// Nobody watches what says that it does not change, nor what no pod refers to.
func TestOnlyWhatPodsReferToIsWatched(t *testing.T) {
	inLab(t, func(l *lab) {
		yes := true
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm"}, Immutable: &yes, Data: map[string]string{"a": "1"}}
		_, err := l.admin.CoreV1().ConfigMaps("default").Create(context.Background(), cm, metav1.CreateOptions{})
		require.NoError(t, err)
		l.configMap("changes", map[string]string{"a": "1"})
		l.run("p", "sleep 9999", withConfigMap("cm", false))
		l.run("q", "sleep 9999", withConfigMap("changes", false))
		delivered := func() int {
			count := 0
			journal := l.Recorder.(*step.Journal)
			events, err := journal.Next(context.Background(), journal.First())
			require.NoError(t, err)
			for _, e := range events {
				if e.Verb == step.Deliver && strings.HasPrefix(e.Object.Resource, "configmaps") && strings.Contains(e.Actor, "kubelet") && e.Phase == step.PhaseEnd {
					count++
				}
			}
			return count
		}
		before := delivered()
		l.setConfigMap("changes", map[string]string{"a": "2"})
		require.Equal(t, before+1, delivered())
		for _, pod := range []string{"p", "q"} {
			require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), pod, metav1.DeleteOptions{}))
		}
		synctest.Wait()
		l.pass(time.Second)
		require.NoError(t, l.admin.CoreV1().ConfigMaps("default").Delete(context.Background(), "cm", metav1.DeleteOptions{}))
		l.setConfigMap("changes", map[string]string{"a": "3"})
		require.Equal(t, before+1, delivered())
	})
}

// A volume that cannot be mounted keeps its pod from starting, with upstream's
// words, and is tried again ever later, or at once when its object appears.
func TestVolumesThatCannotBeMounted(t *testing.T) {
	inLab(t, func(l *lab) {
		pod := l.run("p", "sleep 9999", withConfigMap("late", false))
		require.Equal(t, corev1.PodPending, pod.Status.Phase)
		require.Equal(t, "ContainerCreating", l.main("p").State.Waiting.Reason)
		require.Equal(t, []string{`MountVolume.SetUp failed for volume "cm" : configmap "late" not found`}, l.messages("p", "FailedMount"))
		require.Empty(t, l.runtime.did())
		attempts := func() int32 {
			list, err := l.admin.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{})
			require.NoError(t, err)
			for _, e := range list.Items {
				if e.Reason == "FailedMount" {
					return e.Count
				}
			}
			return 0
		}
		l.pass(8 * time.Second) // after 0.5, 1.5, 3.5 and 7.5 seconds
		require.EqualValues(t, 5, attempts())
		l.Clock.Hold(true)
		l.pass(time.Hour)
		require.EqualValues(t, 5, attempts())
		l.Clock.Hold(false)
		l.pass(2 * time.Minute)
		require.Contains(t, l.messages("p", "FailedMount"),
			"Unable to attach or mount volumes: unmounted volumes=[cm], unattached volumes=[], failed to process volumes=[]: context deadline exceeded")
		l.configMap("late", map[string]string{"a": "1"})
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)

		file := corev1.HostPathFile
		l.run("q", "sleep 9999", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: l.root, Type: &file}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "h", MountPath: "/h"}}
		})
		require.Equal(t, []string{`MountVolume.SetUp failed for volume "h" : hostPath type check failed: ` + l.root + " is not a file, it's a Directory"}, l.messages("q", "FailedMount"))
		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "q", metav1.DeleteOptions{}))
		synctest.Wait()
		_, err := l.admin.CoreV1().Pods("default").Get(context.Background(), "q", metav1.GetOptions{})
		require.Error(t, err)
	})
}

// A container whose environment cannot be made starts when it can.
func TestMissingEnvironmentAppears(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "sleep 9999", func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "a"}}}}
		})
		waiting := func() *corev1.ContainerStateWaiting { return l.main("p").State.Waiting }
		require.Equal(t, "CreateContainerConfigError", waiting().Reason)
		require.Equal(t, `configmap "cm" not found`, waiting().Message)
		l.configMap("cm", map[string]string{"b": "1"})
		require.Equal(t, "couldn't find key a in ConfigMap default/cm", waiting().Message)
		require.Contains(t, l.messages("p", "Failed"), "Error: couldn't find key a in ConfigMap default/cm")
		l.setConfigMap("cm", map[string]string{"a": "2"})
		require.Equal(t, "2", l.env("p")["A"])
		require.Equal(t, corev1.PodRunning, l.pod("p").Status.Phase)
	})
}

// What a container wrote for another one becomes its environment.
func TestEnvironmentFromAFile(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "sleep 9999", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: image, Command: []string{"sleep", "5"},
				VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}}
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "v", Path: "env", Key: "K"}}}}
		})
		require.NoError(t, os.WriteFile(l.mounted("p", "/v")+"/env", []byte("K='from the file'\n"), 0o600))
		l.pass(6 * time.Second)
		require.Equal(t, "from the file", l.env("p")["A"])
	})
}

// A pod's end frees its volumes, also while the pod is still listed, and a new
// kubelet removes what it finds of pods that are gone.
func TestVolumesOfPodsThatEnded(t *testing.T) {
	needRoot(t)
	inLab(t, func(l *lab) {
		memory := func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Volumes = []corev1.Volume{{Name: "m", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "m", MountPath: "/m"}, {Name: "m", MountPath: "/sub", SubPath: "a"}}
		}
		mounts := func() int {
			text, err := os.ReadFile("/proc/self/mountinfo")
			require.NoError(t, err)
			return strings.Count(string(text), l.root+"/pods/")
		}
		l.run("ends", "sleep 5", memory)
		require.Equal(t, 2, mounts())
		l.pass(6 * time.Second)
		require.Equal(t, corev1.PodSucceeded, l.pod("ends").Status.Phase)
		require.Zero(t, mounts())

		l.run("orphan", "sleep 9999", memory)
		require.Equal(t, 2, mounts())
		l.stop()
		l.runtime.killAll()
		l.runtime.mu.Lock()
		clear(l.runtime.containers)
		clear(l.runtime.sandboxes)
		l.runtime.mu.Unlock()
		now := int64(0)
		require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), "orphan", metav1.DeleteOptions{GracePeriodSeconds: &now}))
		require.Equal(t, 2, mounts())
		l.start()
		require.Zero(t, mounts())
		dirs, err := filepath.Glob(l.root + "/pods/*")
		require.NoError(t, err)
		require.Len(t, dirs, 1) // that of the pod that is still listed
	})
}

// Labels that change are seen in the volume that shows them.
func TestDownwardVolumeFollowsThePod(t *testing.T) {
	needRoot(t)
	inLab(t, func(l *lab) {
		l.run("p", "sleep 9999", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.cpu"}},
			}}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
		})
		at := l.mounted("p", "/d")
		cpu, err := os.ReadFile(at + "/cpu")
		require.NoError(t, err)
		require.NotEqual(t, "0", string(cpu)) // that of the node
		pod := l.pod("p")
		pod.Labels = map[string]string{"a": "b"}
		_, err = l.admin.CoreV1().Pods("default").Update(context.Background(), pod, metav1.UpdateOptions{})
		require.NoError(t, err)
		synctest.Wait()
		text, err := os.ReadFile(at + "/labels")
		require.NoError(t, err)
		require.Equal(t, "a=\"b\"", string(text))
	})
}
