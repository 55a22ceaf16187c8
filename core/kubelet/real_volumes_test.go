package kubelet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/step"
)

// inside is the root of the pod's container as the kernel has it.
func (m *machine) inside(pod *corev1.Pod) string {
	return fmt.Sprintf("/proc/%s/root", m.process(pod, pod.Status.ContainerStatuses[0]))
}

// mountOptions are those of a mount point in the container, from mountinfo.
func mountOptions(t *testing.T, root, at string) (options []string, fstype string) {
	text, err := os.ReadFile(filepath.Dir(root) + "/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[4] != at {
			continue
		}
		for i := 6; i < len(f); i++ {
			if f[i] == "-" {
				fstype = f[i+1]
				options = append(strings.Split(f[5], ","), f[6:i]...)
			}
		}
	}
	return options, fstype
}

// What the kernel has of each kind of volume, seen from outside.
func TestRealVolumes(t *testing.T) {
	m := newMachine(t)
	_, err := m.client.CoreV1().ConfigMaps("default").Create(m.ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "cm"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = m.client.CoreV1().Secrets("default").Create(m.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"password": []byte("hush")}}, metav1.CreateOptions{})
	require.NoError(t, err)
	host := t.TempDir()
	require.NoError(t, os.Symlink("/etc", host+"/escape"))
	limit, mode, group, user := resource.MustParse("1Mi"), int32(0o400), int64(2000), int64(1000)
	m.run("p", []string{"sleep"}, func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group, RunAsUser: &user}
		source := func(name string, s corev1.VolumeSource) corev1.Volume {
			return corev1.Volume{Name: name, VolumeSource: s}
		}
		p.Spec.Volumes = []corev1.Volume{
			source("cm", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}),
			source("s", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: &mode}}),
			source("disk", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
			source("memory", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}}),
			source("host", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}),
		}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
			{Name: "cm", MountPath: "/cm"}, {Name: "s", MountPath: "/s"}, {Name: "disk", MountPath: "/disk"}, {Name: "memory", MountPath: "/memory"},
			{Name: "host", MountPath: "/host", ReadOnly: true}, {Name: "host", MountPath: "/deep", SubPath: "x/y"}, {Name: "cm", MountPath: "/bin/a", SubPath: "a"},
		}
	})
	root := m.inside(m.wait("p", running))
	stat := func(path string) (os.FileMode, int, int) {
		info, err := os.Stat(root + path)
		require.NoError(t, err)
		st := info.Sys().(*syscall.Stat_t)
		return info.Mode() &^ os.ModeDir, int(st.Uid), int(st.Gid)
	}
	for path, want := range map[string]os.FileMode{
		"/cm/..data/a": 0o644, "/s/..data/password": 0o440, "/disk": 0o777 | os.ModeSetgid, "/memory": 0o777 | os.ModeSetgid | os.ModeSticky,
	} {
		mode, uid, gid := stat(path)
		require.Equal(t, want, mode, path)
		require.Zero(t, uid, path)
		require.EqualValues(t, group, gid, path)
	}
	for at, want := range map[string]struct{ access, fstype string }{"/s": {"ro", "tmpfs"}, "/memory": {"rw", "tmpfs"}, "/cm": {"ro", ""}, "/host": {"ro", ""}, "/deep": {"rw", ""}, "/bin/a": {"ro", ""}} {
		options, fstype := mountOptions(t, root, at)
		require.Contains(t, options, want.access, at)
		if want.fstype != "" {
			require.Equal(t, want.fstype, fstype, at)
		}
	}
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(root+"/memory", &fs))
	require.EqualValues(t, 1<<20, int64(fs.Blocks)*fs.Bsize)
	text, err := os.ReadFile(root + "/bin/a")
	require.NoError(t, err)
	require.Equal(t, "1", string(text))
	require.DirExists(t, host+"/x/y")

	_, err = m.client.CoreV1().ConfigMaps("default").Update(m.ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "cm"}, Data: map[string]string{"a": "2"}}, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(root + "/cm/..data/a")
		return err == nil && string(text) == "2"
	}, time.Minute, 5*time.Millisecond)
	text, err = os.ReadFile(root + "/bin/a") // a subPath keeps what it has
	require.NoError(t, err)
	require.Equal(t, "1", string(text))

	m.run("escapes", []string{"sleep"}, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "host", MountPath: "/host", SubPath: "escape"}}
	})
	pod := m.wait("escapes", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerConfigError"
	})
	require.Equal(t, `failed to prepare subPath for volumeMount "host" of container "main"`, pod.Status.ContainerStatuses[0].State.Waiting.Message)

	for _, name := range []string{"p", "escapes"} {
		require.NoError(t, m.client.CoreV1().Pods("default").Delete(m.ctx, name, metav1.DeleteOptions{}))
		m.gone(name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), m.node.Root+"/pods/")
	require.DirExists(t, host+"/x/y")
}

// A kubelet that is killed at any step of mounting leaves nothing once the pod
// is gone.
func TestRealKilledWhileMounting(t *testing.T) {
	m := newMachine(t)
	_, err := m.client.CoreV1().Secrets("default").Create(m.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"password": []byte("hush")}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := m.client.CoreV1().Nodes().Get(m.ctx, "node-1", metav1.GetOptions{})
		return err == nil
	}, time.Minute, 5*time.Millisecond)
	for i := range 3 {
		m.stop()
		journal := step.NewJournal(1, 100_000)
		lab := step.NewLab(journal, step.NewClock(time.Now(), 0))
		lab.Gate.SetMode(step.Mode{State: step.Running, Breaks: []step.Match{{Verb: step.Mount}}})
		m.start(lab)
		name := fmt.Sprintf("p%d", i)
		m.run(name, []string{"sleep"}, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{
				{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
				{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}},
			}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "memory", MountPath: "/m"}, {Name: "s", MountPath: "/s"}, {Name: "memory", MountPath: "/x", SubPath: "x"}}
		})
		holdMount(t, lab.Gate, i)
		m.stop() // the kubelet is gone, with one mount not made
		now := int64(0)
		require.NoError(t, m.client.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
		m.start(step.NewLab(step.NewJournal(1, 100_000), step.NewClock(time.Now(), 0)))
		require.Eventually(t, func() bool {
			entries, err := os.ReadDir(m.node.Root + "/pods")
			mounts, readErr := os.ReadFile("/proc/self/mountinfo")
			return err == nil && readErr == nil && len(entries) == 0 && !strings.Contains(string(mounts), m.node.Root+"/pods/")
		}, time.Minute, 10*time.Millisecond)
	}
}

// holdMount lets everything happen until the mount after so many others, which
// stays held.
func holdMount(t *testing.T, gate *step.Gate, others int) {
	seen := map[uint64]bool{}
	require.Eventually(t, func() bool {
		for _, held := range gate.Pending() {
			if held.Verb == step.Mount && !seen[held.ID] {
				seen[held.ID] = true
				if len(seen) > others {
					return true
				}
			}
			_ = gate.Pick(held.ID, step.How{Kind: step.Run}) // it may be gone
		}
		return false
	}, time.Minute, 2*time.Millisecond)
}
