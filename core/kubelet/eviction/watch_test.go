package eviction

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func left(available, capacity string) Observation {
	return Observation{Available: resource.MustParse(available), Capacity: resource.MustParse(capacity)}
}

func config(t *testing.T, c Config) []Threshold {
	t.Helper()
	list, err := c.Thresholds()
	require.NoError(t, err)
	return list
}

func signals(list []Threshold) (names []Signal) {
	for _, t := range list {
		names = append(names, t.Signal)
	}
	return names
}

func TestThresholdsAreRead(t *testing.T) {
	list := config(t, Config{Hard: DefaultHard()})
	require.Equal(t, []Signal{ImageFSAvailable, ImageFSInodes, MemoryAvailable, AllocatableMemory, NodeFSAvailable, NodeFSInodes}, signals(list))
	require.Empty(t, config(t, Config{Hard: map[string]string{"memory.available": "0%", "nodefs.available": "100%"}}), "0% and 100% turn a threshold off")
	for text, c := range map[string]Config{
		"unsupported eviction signal memory":                                                            {Hard: map[string]string{"memory": "1Mi"}},
		"grace period must be specified for the soft eviction threshold memory.available":               {Soft: map[string]string{"memory.available": "1Mi"}},
		"eviction percentage threshold nodefs.available must be between 0% and 100%: 120%":              {Hard: map[string]string{"nodefs.available": "120%"}},
		"eviction threshold memory.available: eviction threshold memory.available must be positive: -1": {Hard: map[string]string{"memory.available": "-1"}},
	} {
		_, err := c.Thresholds()
		require.EqualError(t, err, text)
	}
	reserved := Reserved(list, corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("1000")})
	require.EqualValues(t, 100<<20, reserved.Memory().Value())
	require.EqualValues(t, 100, reserved.StorageEphemeral().Value())
}

func TestLook(t *testing.T) {
	const minute = time.Minute
	hard := config(t, Config{Hard: map[string]string{"memory.available": "100Mi", "nodefs.available": "10%"}, MinReclaim: map[string]string{"nodefs.available": "5%"}})
	soft := config(t, Config{Soft: map[string]string{"memory.available": "300Mi"}, SoftGrace: map[string]string{"memory.available": "1m30s"}})
	plenty := Observations{MemoryAvailable: left("1Gi", "2Gi"), NodeFSAvailable: left("50", "100")}
	low := Observations{MemoryAvailable: left("99Mi", "2Gi"), NodeFSAvailable: left("50", "100")}
	type look struct {
		at         time.Duration
		seen       Observations
		conditions []corev1.NodeConditionType
		due        []Signal
	}
	memory, disk := []corev1.NodeConditionType{corev1.NodeMemoryPressure}, []corev1.NodeConditionType{corev1.NodeDiskPressure}
	for _, c := range []struct {
		what       string
		thresholds []Threshold
		looks      []look
	}{
		{"there is enough", hard, []look{{0, plenty, nil, nil}}},
		{"just enough is enough", hard, []look{{0, Observations{MemoryAvailable: left("100Mi", "2Gi")}, nil, nil}}},
		{"nobody looked", hard, []look{{0, Observations{}, nil, nil}}},
		{"a hard threshold acts at once, its condition stays for a while", hard, []look{
			{0, low, memory, []Signal{MemoryAvailable}}, {minute, plenty, memory, nil}, {4 * minute, plenty, memory, nil}, {6 * minute, plenty, nil, nil}}},
		{"a soft threshold acts after its grace", soft, []look{
			{0, low, memory, nil}, {minute, low, memory, nil}, {2 * minute, low, memory, []Signal{MemoryAvailable}}}},
		{"a grace begins anew", soft, []look{
			{0, low, memory, nil}, {minute, plenty, memory, nil}, {2 * minute, low, memory, nil}, {3 * minute, low, memory, nil}, {4 * minute, low, memory, []Signal{MemoryAvailable}}}},
		{"more is reclaimed than was missing", hard, []look{
			{0, Observations{NodeFSAvailable: left("9", "100")}, disk, []Signal{NodeFSAvailable}},
			{1, Observations{NodeFSAvailable: left("14", "100")}, disk, []Signal{NodeFSAvailable}},
			{2, Observations{NodeFSAvailable: left("15", "100")}, disk, nil},
			{3, Observations{NodeFSAvailable: left("14", "100")}, disk, nil}}},
		{"memory comes first", hard, []look{
			{0, Observations{NodeFSAvailable: left("1", "100"), AllocatableMemory: left("1Mi", "1Gi")},
				[]corev1.NodeConditionType{corev1.NodeDiskPressure, corev1.NodeMemoryPressure}, []Signal{AllocatableMemory, NodeFSAvailable}}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			var w Watch
			for _, l := range c.looks {
				o := w.Look(c.thresholds, l.seen, 5*minute, l.at)
				require.Equal(t, l.conditions, o.Conditions, "at %s", l.at)
				require.Equal(t, l.due, signals(o.Due), "at %s", l.at)
			}
		})
	}
}
