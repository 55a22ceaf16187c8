package kubelet_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// process is the first process of a container as the machine sees it: the one
// in the container's cgroup whose parent is not.
func (m *machine) process(pod *corev1.Pod, status corev1.ContainerStatus) string {
	id := strings.TrimPrefix(status.ContainerID, "klab-rt://")
	group := fmt.Sprintf("%s/besteffort/pod%s/%s", m.node.Resources.CgroupRoot, pod.UID, id)
	return strings.Fields(kernel(m.t, group, "memory/cgroup.procs", "cgroup.procs"))[0]
}

func namespace(t *testing.T, pid, kind string) string {
	link, err := os.Readlink("/proc/" + pid + "/ns/" + kind)
	require.NoError(t, err)
	return link
}

func second(p *corev1.Pod) {
	c := *p.Spec.Containers[0].DeepCopy()
	c.Name = "other"
	p.Spec.Containers = append(p.Spec.Containers, c)
}

func allReady(p *corev1.Pod) bool {
	c := (*corev1.PodCondition)(nil)
	if p != nil {
		c = condition(p, corev1.PodReady)
	}
	return c != nil && c.Status == corev1.ConditionTrue
}

// The namespaces of a pod's containers are those that its spec says, by their
// inodes.
func TestRealNamespaces(t *testing.T) {
	m := newMachine(t)
	yes := true
	for _, c := range []struct {
		name         string
		change       func(*corev1.Pod)
		shared, node []string
	}{
		{"plain", func(*corev1.Pod) {}, []string{"net", "ipc", "uts"}, nil},
		{"processes", func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = &yes }, []string{"net", "ipc", "uts", "pid"}, nil},
		{"node", func(p *corev1.Pod) { p.Spec.HostNetwork, p.Spec.HostPID, p.Spec.HostIPC = true, true, true }, []string{"net", "ipc", "uts", "pid"}, []string{"net", "ipc", "pid"}},
	} {
		m.run(c.name, []string{"sleep"}, second, c.change)
		pod := m.wait(c.name, allReady)
		a, b := m.process(pod, pod.Status.ContainerStatuses[0]), m.process(pod, pod.Status.ContainerStatuses[1])
		for _, kind := range []string{"net", "ipc", "uts", "pid", "mnt"} {
			same := namespace(t, a, kind) == namespace(t, b, kind)
			require.Equal(t, contains(c.shared, kind), same, "%s: %s is shared", c.name, kind)
			if kind != "uts" {
				require.Equal(t, contains(c.node, kind), namespace(t, a, kind) == namespace(t, "thread-self", kind), "%s: %s is the node's", c.name, kind)
			}
		}
	}
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// A debugging container sees the processes of the one that it names.
func TestRealEphemeralContainer(t *testing.T) {
	m := newMachine(t)
	m.run("p", []string{"sleep"}, second)
	pod := m.wait("p", allReady)
	pod.ResourceVersion = "" // the kubelet may write the status meanwhile
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{TargetContainerName: "other", EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: "debugger", Image: m.image, Args: []string{"sleep"}, ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePolicy: corev1.TerminationMessageReadFile}}}
	_, err := m.client.CoreV1().Pods("default").UpdateEphemeralContainers(m.ctx, "p", pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	pod = m.wait("p", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.EphemeralContainerStatuses) == 1 && p.Status.EphemeralContainerStatuses[0].State.Running != nil
	})
	debugger := m.process(pod, pod.Status.EphemeralContainerStatuses[0])
	require.Equal(t, namespace(t, m.process(pod, pod.Status.ContainerStatuses[1]), "pid"), namespace(t, debugger, "pid"))
	require.NotEqual(t, namespace(t, m.process(pod, pod.Status.ContainerStatuses[0]), "pid"), namespace(t, debugger, "pid"))
}

// Root in a pod with a user namespace is nobody on the node, and two pods are
// two different nobodies.
func TestRealUserNamespace(t *testing.T) {
	m := newMachine(t)
	no := false
	seen := map[string]bool{}
	for _, name := range []string{"a", "b"} {
		m.run(name, []string{"sleep"}, func(p *corev1.Pod) { p.Spec.HostUsers = &no })
		pod := m.wait(name, allReady)
		pid := m.process(pod, pod.Status.ContainerStatuses[0])
		require.NotEqual(t, namespace(t, "self", "user"), namespace(t, pid, "user"))
		text, err := os.ReadFile("/proc/" + pid + "/uid_map")
		require.NoError(t, err)
		fields := strings.Fields(string(text))
		require.Equal(t, []string{"0", "65536"}, []string{fields[0], fields[2]})
		require.False(t, seen[fields[1]], "each pod has ids of its own")
		seen[fields[1]] = true
	}
}
