package kubelet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestArgs(t *testing.T) {
	var c Config
	require.NoError(t, c.SetArgs([]string{"--capacity=cpu=2,memory=1Gi", "max-pods=20", "kube-reserved=cpu=500m", "cpu-manager-policy=static", "pod-max-pids=64",
		"eviction-hard=memory.available<200Mi,nodefs.available<5%", "eviction-soft=memory.available<300Mi", "eviction-soft-grace-period=memory.available=1m30s",
		"eviction-pressure-transition-period=30s", "eviction-max-pod-grace-period=10"}))
	require.EqualValues(t, 1<<30, c.Capacity.Memory().Value())
	require.EqualValues(t, 20, c.Capacity.Pods().Value())
	require.EqualValues(t, 500, c.Resources.KubeReserved.Cpu().MilliValue())
	require.Equal(t, "static", c.Resources.CPUPolicy)
	require.EqualValues(t, 64, c.PodPids)
	e := c.Resources.Eviction
	require.Equal(t, map[string]string{"memory.available": "200Mi", "nodefs.available": "5%"}, e.Hard)
	require.Equal(t, map[string]string{"memory.available": "1m30s"}, e.SoftGrace)
	require.Equal(t, 30*time.Second, e.Transition)
	require.Equal(t, 10*time.Second, e.MaxPodGrace)
	for _, wrong := range []string{"colour=red", "capacity", "capacity=cpu", "kube-reserved=memory=-1", "eviction-hard=memory<1Mi", "pod-max-pids=many", "eviction-soft=memory.available<1Mi"} {
		require.Error(t, (&Config{}).SetArgs([]string{wrong}), wrong)
	}
}
