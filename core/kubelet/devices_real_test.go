package kubelet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/kubelet/devices/example"
)

const toy = "example.com/toy"

func toys(n int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		list := corev1.ResourceList{toy: *resource.NewQuantity(n, resource.DecimalSI)}
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
	}
}

// hasToys waits until the Node says so.
func (m *machine) hasToys(capacity, allocatable int64) {
	require.Eventually(m.t, func() bool {
		n, err := m.client.CoreV1().Nodes().Get(m.ctx, "node-1", metav1.GetOptions{})
		if err != nil {
			return false // it is not registered yet
		}
		c, a := n.Status.Capacity[toy], n.Status.Allocatable[toy]
		return c.Value() == capacity && a.Value() == allocatable
	}, waitTime, waitTick)
}

// A plugin's devices come to the node's status, into a pod's root as the
// kernel's device nodes, and stay the pod's when the kubelet begins anew.
func TestRealDevicePlugin(t *testing.T) {
	m := newMachine(t, configured(func(c *kubelet.Config) { c.Resources.DevicePlugins = filepath.Dir(c.Root) + "/dp" }))
	dir := t.TempDir()
	p := &example.Plugin{Resource: toy, Devices: map[string]string{"toy0": dir + "/null", "toy1": dir + "/zero"}, Prefer: []string{"toy1"}}
	require.NoError(t, unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, unix.Mknod(dir+"/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	begun := func() bool { _, err := os.Stat(m.node.Resources.DevicePlugins + "/kubelet.sock"); return err == nil }
	require.Eventually(t, begun, waitTime, waitTick)
	require.NoError(t, p.Start(m.ctx, m.node.Resources.DevicePlugins))
	t.Cleanup(p.Stop)
	m.hasToys(2, 2)

	m.run("a", []string{"sleep"}, toys(1))
	pid := func(pod *corev1.Pod) string { return m.process(pod, pod.Status.ContainerStatuses[0]) }
	a := pid(m.wait("a", running))
	root := "/proc/" + a + "/root"
	var st unix.Stat_t
	require.NoError(t, unix.Stat(root+"/dev/toy1", &st), "the one that the plugin prefers")
	require.Equal(t, unix.Mkdev(1, 5), st.Rdev)
	require.ErrorIs(t, unix.Stat(root+"/dev/toy0", &st), unix.ENOENT)
	require.DirExists(t, root+"/example")
	require.Eventually(t, func() bool { // it may be about to execute its program
		env, err := os.ReadFile("/proc/" + a + "/environ")
		return err == nil && strings.Contains(string(env), "EXAMPLE_DEVICES=toy1")
	}, waitTime, waitTick)
	require.Equal(t, []string{"toy1"}, p.Starts())

	m.stop()
	m.start(newLab())
	p.Stop() // a plugin whose socket is gone begins anew
	require.Eventually(t, begun, waitTime, waitTick)
	m.hasToys(0, 0)
	require.NoError(t, p.Start(m.ctx, m.node.Resources.DevicePlugins))
	m.hasToys(2, 2)
	m.run("b", []string{"sleep"}, toys(1))
	b := pid(m.wait("b", running))
	require.NoError(t, unix.Stat("/proc/"+b+"/root/dev/toy0", &st), "the other one")
	m.run("c", []string{"sleep"}, toys(1))
	refused := m.wait("c", over)
	require.Equal(t, "UnexpectedAdmissionError", refused.Status.Reason)
	require.Equal(t, "Pod was rejected: Allocate failed due to requested number of devices unavailable for example.com/toy. Requested: 1, Available: 0, which is unexpected",
		refused.Status.Message)

	p.Stop()
	m.hasToys(2, 0)
	ill := m.wait("b", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses[0].AllocatedResourcesStatus
		return len(s) == 1 && s[0].Resources[0].Health == corev1.ResourceHealthStatusUnhealthy
	})
	require.EqualValues(t, "toy0", ill.Status.ContainerStatuses[0].AllocatedResourcesStatus[0].Resources[0].ResourceID)
	require.True(t, running(ill), "it keeps what it has")
}

// Extended resources that somebody wrote into the Node's status stay there and
// count; those that the node does not have are not the kubelet's to judge.
func TestExtendedResourcesOfOthers(t *testing.T) {
	inLab(t, func(l *lab) {
		patch := []byte(`{"status":{"capacity":{"example.com/toy":"1"}}}`)
		_, err := l.admin.CoreV1().Nodes().Patch(l.t.Context(), "node-1", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		require.NoError(t, err)
		l.pass(11 * time.Second)
		node, err := l.admin.CoreV1().Nodes().Get(l.t.Context(), "node-1", metav1.GetOptions{})
		require.NoError(t, err)
		free := node.Status.Allocatable[toy]
		require.EqualValues(t, 1, free.Value())
		require.Equal(t, corev1.PodRunning, l.run("one", "sleep 3600", toys(1)).Status.Phase)
		two := l.run("two", "sleep 3600", toys(1))
		require.Equal(t, "OutOf"+toy, two.Status.Reason)
		require.Equal(t, "Pod was rejected: Node didn't have enough resource: example.com/toy, requested: 1, used: 1, capacity: 1", two.Status.Message)
		require.Equal(t, corev1.PodRunning, l.run("other", "sleep 3600", func(p *corev1.Pod) {
			list := corev1.ResourceList{"example.org/elsewhere": resource.MustParse("5")}
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
		}).Status.Phase)
	})
}
