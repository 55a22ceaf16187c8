package kubelet_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/step"
)

const (
	waitTime = time.Minute
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
		m.gone(c.name)
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

// A Guaranteed container that asks for a whole CPU has it alone: the others,
// also those that run already, have what is left.
func TestRealExclusiveCPUs(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Fatal("this needs two CPUs")
	}
	m := newMachine(t, configured(func(c *kubelet.Config) {
		c.Resources.CPUPolicy, c.Resources.ReservedCPUs = "static", "0"
	}))
	allowed := func(pod string) (list string) {
		out, err := m.exec(pod, "/bin/tool", "read", "/proc/self/status")
		require.NoError(t, err)
		for line := range strings.Lines(out) {
			if value, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
				list = strings.TrimSpace(value)
			}
		}
		return list
	}
	m.run("shares", []string{"sleep"})
	m.wait("shares", running)
	all := allowed("shares")
	m.run("alone", []string{"sleep"}, asks("1", "16Mi", "16Mi"))
	alone := m.wait("alone", running)
	require.Equal(t, "1", allowed("alone"))
	require.Eventually(t, func() bool { return allowed("shares") != all }, waitTime, waitTick)
	require.NotContains(t, allowed("shares"), "1")
	group := m.node.Resources.CgroupRoot + "/pod" + string(alone.UID)
	id := strings.TrimPrefix(alone.Status.ContainerStatuses[0].ContainerID, "klab-rt://")
	for _, path := range []string{group, group + "/" + id} {
		quota := strings.Fields(kernel(t, path, "cpu/cpu.cfs_quota_us", "cpu.max"))[0]
		require.Contains(t, []string{"-1", "max"}, quota, "nobody else has those CPUs")
	}
	more := []byte(`{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"2"},"limits":{"cpu":"2"}}}]}}`)
	_, err := m.client.CoreV1().Pods("default").Patch(m.ctx, "alone", types.StrategicMergePatchType, more, metav1.PatchOptions{}, "resize")
	require.NoError(t, err)
	m.wait("alone", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodResizePending && c.Reason == corev1.PodReasonInfeasible &&
				c.Message == `Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"`
		})
	})
	state, err := os.ReadFile(m.node.Root + "/cpu_manager_state")
	require.NoError(t, err)
	require.Contains(t, string(state), `"`+string(alone.UID)+`":{"main":"1"}`)

	m.run("many", []string{"sleep"}, asks("1", "16Mi", "16Mi"), func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = *resource.NewQuantity(int64(runtime.NumCPU()-1), resource.DecimalSI)
		p.Spec.Containers[0].Resources.Limits[corev1.ResourceCPU] = *resource.NewQuantity(int64(runtime.NumCPU()-1), resource.DecimalSI)
	})
	pod := m.wait("many", over)
	require.Equal(t, "UnexpectedAdmissionError", pod.Status.Reason)
	require.Contains(t, pod.Status.Message, "Pod was rejected: Allocate failed due to not enough cpus available to satisfy request: requested=")

	require.NoError(t, m.client.CoreV1().Pods("default").Delete(m.ctx, "alone", metav1.DeleteOptions{}))
	m.gone("alone")
	require.Eventually(t, func() bool { return allowed("shares") == all }, waitTime, waitTick)
}
