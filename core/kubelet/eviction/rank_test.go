package eviction

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	api "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// candidate asks for some memory and uses some, of both in MiB, and has as many processes.
func candidate(name string, priority int32, asked, used uint64) Candidate {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "main"}}}}
	pod.Name = name
	if asked > 0 {
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(int64(asked<<20), resource.BinarySI)}
	}
	bytes := used << 20
	return Candidate{Pod: pod, Stats: &api.PodStats{
		Memory: &api.MemoryStats{WorkingSetBytes: &bytes}, ProcessStats: &api.ProcessStats{ProcessCount: &used},
		Containers: []api.ContainerStats{{Name: "main", Memory: &api.MemoryStats{WorkingSetBytes: &bytes}}},
	}}
}

func TestRank(t *testing.T) {
	unknown := candidate("unknown", 1000, 10, 0)
	unknown.Stats = nil
	for _, c := range []struct {
		what string
		of   Signal
		pods []Candidate
		want []string
	}{
		{"who uses more than it asked for goes before who does not, whatever the priority", MemoryAvailable,
			[]Candidate{candidate("modest", 0, 500, 400), candidate("greedy", 1000, 10, 20)}, []string{"greedy", "modest"}},
		{"then the lower priority", MemoryAvailable,
			[]Candidate{candidate("high", 100, 0, 400), candidate("low", 1, 0, 10)}, []string{"low", "high"}},
		{"then the most beyond what was asked for", MemoryAvailable,
			[]Candidate{candidate("a", 0, 0, 100), candidate("b", 0, 300, 450), candidate("c", 0, 10, 100)}, []string{"b", "a", "c"}},
		{"who cannot be measured goes first", MemoryAvailable,
			[]Candidate{candidate("a", 0, 0, 100), unknown}, []string{"unknown", "a"}},
		{"of processes only priority and number count", PIDAvailable,
			[]Candidate{candidate("few", 0, 0, 3), candidate("many", 0, 0, 30), candidate("high", 10, 0, 300)}, []string{"many", "few", "high"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			Rank(c.of, c.pods)
			var names []string
			for _, p := range c.pods {
				names = append(names, p.Pod.Name)
			}
			require.Equal(t, c.want, names)
		})
	}
}

func TestMessage(t *testing.T) {
	hard := config(t, Config{Hard: map[string]string{"memory.available": "100Mi"}})
	seen := Observations{MemoryAvailable: left("50Mi", "1Gi")}
	var w Watch
	o := w.Look(hard, seen, 0, 0)
	require.Equal(t, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "+
		"Container main was using 200Mi, request is 100Mi, has larger consumption of memory. ", Message(&o, candidate("p", 0, 100, 200), seen))
	require.Equal(t, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ", Message(&o, candidate("p", 0, 300, 200), seen))
}

func TestOverLimit(t *testing.T) {
	limit := resource.MustParse("1Mi")
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}}}
		change(p)
		return p
	}
	volume := func(medium corev1.StorageMedium) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit, Medium: medium}}}}
		}
	}
	container := func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: limit}
	}
	wrote := func(size uint64) *api.PodStats {
		none := uint64(0)
		return &api.PodStats{
			VolumeStats:      []api.VolumeStats{{Name: "scratch", FsStats: api.FsStats{UsedBytes: &size}}},
			EphemeralStorage: &api.FsStats{UsedBytes: &size},
			Containers:       []api.ContainerStats{{Name: "main", Rootfs: &api.FsStats{UsedBytes: &size}, Logs: &api.FsStats{UsedBytes: &none}}},
		}
	}
	require.Equal(t, `Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". `, OverLimit(Candidate{pod(volume("")), wrote(2 << 20)}))
	require.Empty(t, OverLimit(Candidate{pod(volume("")), wrote(1 << 20)}))
	require.Empty(t, OverLimit(Candidate{pod(volume(corev1.StorageMediumMemory)), wrote(2 << 20)}), "the kernel limits it")
	require.Equal(t, "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ", OverLimit(Candidate{pod(container), wrote(2 << 20)}))
	require.Empty(t, OverLimit(Candidate{pod(container), nil}))
	require.True(t, LimitsStorage(pod(container)))
	require.True(t, LimitsStorage(pod(volume(""))))
	require.False(t, LimitsStorage(pod(volume(corev1.StorageMediumMemory))))
}
