package kubelet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/step"
)

const (
	waitTime = 20 * time.Second
	waitTick = 10 * time.Millisecond
)

func newLab() *step.Lab {
	return step.NewLab(step.NewJournal(1, 10_000), step.NewClock(time.Now(), 0))
}

// asks gives the pod's container requests and, where they are not empty, limits.
func asks(cpu, memory, memoryLimit string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		r := &p.Spec.Containers[0].Resources
		r.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
		if memoryLimit != "" {
			r.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memoryLimit)}
		}
	}
}

// kernel reads a file of a control group, by its names in cgroup v1 and v2.
func kernel(t testing.TB, group, v1, v2 string) string {
	t.Helper()
	path := filepath.Join("/sys/fs/cgroup", filepath.Dir(v1), group, filepath.Base(v1))
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		path = filepath.Join("/sys/fs/cgroup", group, v2)
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}

// Each class of pods is where the kubelet's tree has it, with the pod's own
// limits around those of its containers.
func TestRealPodGroups(t *testing.T) {
	m := newMachine(t)
	root := m.node.Resources.CgroupRoot
	for _, c := range []struct {
		name, class, group, limit string
		change                    func(*corev1.Pod)
	}{
		{"fixed", "Guaranteed", "/pod", "67108864", asks("100m", "64Mi", "64Mi")},
		{"burst", "Burstable", "/burstable/pod", "134217728", asks("100m", "64Mi", "128Mi")},
		{"free", "BestEffort", "/besteffort/pod", "", func(*corev1.Pod) {}},
	} {
		m.run(c.name, []string{"sleep"}, c.change)
		pod := m.wait(c.name, running)
		require.EqualValues(t, c.class, pod.Status.QOSClass)
		group := root + c.group + string(pod.UID)
		if c.limit != "" {
			require.Equal(t, c.limit, kernel(t, group, "memory/memory.limit_in_bytes", "memory.max"))
		}
		id := strings.TrimPrefix(pod.Status.ContainerStatuses[0].ContainerID, "klab-rt://")
		require.NotEmpty(t, kernel(t, filepath.Join(group, id), "memory/cgroup.procs", "cgroup.procs"), "the container runs in its pod's group")

		require.NoError(t, m.client.CoreV1().Pods("default").Delete(m.ctx, c.name, metav1.DeleteOptions{}))
		m.wait(c.name, gone)
		left, err := filepath.Glob("/sys/fs/cgroup/*" + group)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

// A pod that has ended has no group any more, though its Pod is still there;
// groups that an earlier kubelet left go when a new one begins.
func TestRealGroupsThatAreLeft(t *testing.T) {
	m := newMachine(t)
	root := m.node.Resources.CgroupRoot
	m.run("ends", []string{"exit", "0"}, never, asks("100m", "64Mi", "64Mi"))
	pod := m.wait("ends", over)
	groups := func(uid string) (left []string) {
		for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup"} {
			found, err := filepath.Glob(pattern + root + "/pod" + uid)
			require.NoError(t, err)
			left = append(left, found...)
		}
		return left
	}
	require.Eventually(t, func() bool { return len(groups(string(pod.UID))) == 0 }, waitTime, waitTick)

	m.stop()
	memory := "/sys/fs/cgroup/memory"
	if _, err := os.Stat(memory); err != nil {
		memory = "/sys/fs/cgroup"
	}
	require.NoError(t, os.Mkdir(memory+root+"/podstray", 0o755))
	m.start(newLab())
	require.Eventually(t, func() bool { return len(groups("stray")) == 0 }, waitTime, waitTick)
}
