package cm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/utils/cpuset"
)

func TestCPUs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpu_manager_state")
	open := func() *CPUs {
		c, err := OpenCPUs(path, cpuset.New(0, 1, 2, 3), cpuset.New(0))
		require.NoError(t, err)
		return c
	}
	c := open()
	whole := container(list("2", "1Mi"), list("2", "1Mi"))
	whole.Name = "whole"
	part := container(list("500m", "1Mi"), list("500m", "1Mi"))
	part.Name = "part"
	a := pod("a", whole, part)
	changed, err := c.Take(a)
	require.NoError(t, err)
	require.True(t, changed)
	for name, want := range map[string]string{"whole": "1-2", "part": "0,3"} {
		cpus, alone := c.Of("a", name)
		require.Equal(t, want, cpus)
		require.Equal(t, name == "whole", alone)
	}
	_, err = c.Take(pod("b", whole))
	require.EqualError(t, err, "not enough cpus available to satisfy request: requested=2, available=1")
	burst := container(list("1", "1Mi"), list("2", "1Mi"))
	changed, err = c.Take(pod("c", burst))
	require.NoError(t, err)
	require.False(t, changed, "only Guaranteed pods have CPUs alone")

	// The next kubelet knows what was given, and does not give it twice.
	c = open()
	cpus, alone := c.Of("a", "whole")
	require.Equal(t, "1-2", cpus)
	require.True(t, alone)
	changed, err = c.Free("a")
	require.NoError(t, err)
	require.True(t, changed)
	require.Empty(t, c.Pods())
	cpus, _ = open().Of("c", "x")
	require.Equal(t, "0-3", cpus)

	_, err = OpenCPUs(path, cpuset.New(0, 1), cpuset.New())
	require.EqualError(t, err, "the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append([]byte{' '}, data[:len(data)-3]...), 0o600))
	_, err = OpenCPUs(path, cpuset.New(0, 1), cpuset.New(0))
	require.ErrorContains(t, err, "is damaged")
}
