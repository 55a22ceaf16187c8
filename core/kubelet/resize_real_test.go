package kubelet_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// amount is a container's requests and limits.
func amount(cpuRequest, cpuLimit, memoryRequest, memoryLimit string) corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, one := range []struct {
		list corev1.ResourceList
		name corev1.ResourceName
		text string
	}{
		{r.Requests, corev1.ResourceCPU, cpuRequest}, {r.Limits, corev1.ResourceCPU, cpuLimit},
		{r.Requests, corev1.ResourceMemory, memoryRequest}, {r.Limits, corev1.ResourceMemory, memoryLimit},
	} {
		if one.text != "" {
			one.list[one.name] = resource.MustParse(one.text)
		}
	}
	return r
}

// resize asks for other resources of the pod's containers, in their order.
func (m *machine) resize(name string, each ...corev1.ResourceRequirements) int64 {
	var pod *corev1.Pod
	require.NoError(m.t, retry.RetryOnConflict(retry.DefaultBackoff, func() (err error) { // the kubelet writes the pod's status
		if pod, err = m.client.CoreV1().Pods("default").Get(m.ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		for i := range each {
			pod.Spec.Containers[i].Resources = each[i]
		}
		pod, err = m.client.CoreV1().Pods("default").UpdateResize(m.ctx, name, pod, metav1.UpdateOptions{})
		return err
	}))
	return pod.Generation
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// resized is so when the pod's first container has what was asked for, and
// nothing of a resize is under way any more.
func resized(generation int64, want corev1.ResourceRequirements) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return running(p) && p.Status.ObservedGeneration >= generation &&
			condition(p, corev1.PodResizePending) == nil && condition(p, corev1.PodResizeInProgress) == nil &&
			p.Status.ContainerStatuses[0].Resources != nil && equalResources(want, *p.Status.ContainerStatuses[0].Resources)
	}
}

// A resize changes the cgroups of the container and of its pod while the
// process goes on, and the status says what the cgroups have.
func TestRealResize(t *testing.T) {
	m := newMachine(t)
	m.run("p", []string{"sleep"}, func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = amount("100m", "100m", "64Mi", "64Mi")
	})
	before := m.wait("p", running)
	group := m.node.Resources.CgroupRoot + "/pod" + string(before.UID)
	inner := filepath.Join(group, strings.TrimPrefix(before.Status.ContainerStatuses[0].ContainerID, "klab-rt://"))
	limits := func(group string) []string {
		return []string{
			kernel(t, group, "memory/memory.limit_in_bytes", "memory.max"),
			strings.Fields(kernel(t, group, "cpu/cpu.cfs_quota_us", "cpu.max"))[0],
		}
	}
	require.Equal(t, []string{"67108864", "10000"}, limits(inner))

	for _, c := range []struct {
		cpu, memory string
		want        []string
	}{
		{"200m", "128Mi", []string{"134217728", "20000"}},
		{"50m", "256Mi", []string{"268435456", "5000"}},
		{"70m", "32Mi", []string{"33554432", "7000"}},
	} {
		want := amount(c.cpu, c.cpu, c.memory, c.memory)
		after := m.wait("p", resized(m.resize("p", want), want))
		require.Equal(t, c.want, limits(inner), "the container's")
		require.Equal(t, c.want, limits(group), "the pod's")
		status := after.Status.ContainerStatuses[0]
		require.Zero(t, status.RestartCount)
		require.Equal(t, before.Status.ContainerStatuses[0].ContainerID, status.ContainerID)
		require.True(t, status.AllocatedResources.Cpu().Equal(resource.MustParse(c.cpu)))
	}
}

func equalResources(a, b corev1.ResourceRequirements) bool {
	return a.Requests.Cpu().Equal(*b.Requests.Cpu()) && a.Limits.Cpu().Equal(*b.Limits.Cpu()) &&
		a.Requests.Memory().Equal(*b.Requests.Memory()) && a.Limits.Memory().Equal(*b.Limits.Memory())
}

// A resize policy may ask for a new life; one that does not fit waits, and one
// that is below what is used is refused.
func TestRealResizeByRestartAndDeferred(t *testing.T) {
	m := newMachine(t)
	m.run("p", []string{"sleep"}, func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = amount("100m", "", "64Mi", "64Mi")
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	})
	m.wait("p", running)
	want := amount("100m", "", "64Mi", "96Mi")
	after := m.wait("p", resized(m.resize("p", want), want))
	require.EqualValues(t, 1, after.Status.ContainerStatuses[0].RestartCount)
	inner := filepath.Join(m.node.Resources.CgroupRoot, "burstable", "pod"+string(after.UID), strings.TrimPrefix(after.Status.ContainerStatuses[0].ContainerID, "klab-rt://"))
	require.Equal(t, "100663296", kernel(t, inner, "memory/memory.limit_in_bytes", "memory.max"))

	m.resize("p", amount("4000", "", "64Mi", "96Mi"))
	waits := m.wait("p", func(p *corev1.Pod) bool { return condition(p, corev1.PodResizePending) != nil })
	pending := condition(waits, corev1.PodResizePending)
	require.Equal(t, corev1.PodReasonDeferred, pending.Reason)
	require.Contains(t, pending.Message, "Node didn't have enough resource: cpu, requested: 4000000, used: 0, capacity:")
	require.Equal(t, waits.Generation, pending.ObservedGeneration)
	want = amount("110m", "", "64Mi", "96Mi")
	m.wait("p", resized(m.resize("p", want), want))

	// What was granted and what is waited for outlives the kubelet.
	m.resize("p", amount("4000", "", "64Mi", "96Mi"))
	m.wait("p", func(p *corev1.Pod) bool { return condition(p, corev1.PodResizePending) != nil })
	m.stop()
	m.start(newLab())
	again := m.wait("p", func(p *corev1.Pod) bool { return running(p) && condition(p, corev1.PodResizePending) != nil })
	require.True(t, again.Status.ContainerStatuses[0].AllocatedResources.Cpu().Equal(resource.MustParse("110m")))
	require.NoError(t, m.client.CoreV1().Pods("default").Delete(context.Background(), "p", metav1.DeleteOptions{}))
	m.gone("p")
}
