package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cgroupFile reads a file of a container's or a pod's cgroup: the name is v1's
// "controller/file", or v2's "file".
func (n *node) cgroupFile(group, v1, v2 string) string {
	path := filepath.Join("/sys/fs/cgroup", filepath.Dir(v1), n.cgroup, group, filepath.Base(v1))
	if n.v2 {
		path = filepath.Join("/sys/fs/cgroup", n.cgroup, group, v2)
	}
	data, err := os.ReadFile(path)
	require.NoError(n.t, err)
	return strings.TrimSpace(string(data))
}

// either is v1's or v2's way to say something.
func (n *node) either(v1, v2 string) string {
	if n.v2 {
		return v2
	}
	return v1
}

func TestUpdateResources(t *testing.T) {
	n := newNode(t)
	sandbox, id := n.run("web", "sleep")
	group := "uid-web/" + id
	require.NoError(t, n.UpdateContainerResources(n.ctx, id, &cri.LinuxContainerResources{
		CpuShares: 2048, CpuQuota: 30000, CpuPeriod: 100000, MemoryLimitInBytes: 96 << 20, CpusetCpus: "0",
		Unified: map[string]string{"pids.max": "99"},
	}))
	check := func(cpu, memory, pids string) {
		t.Helper()
		quota, period, _ := strings.Cut(cpu, " ")
		if n.v2 {
			require.Equal(t, cpu, n.cgroupFile(group, "", "cpu.max"))
		} else {
			require.Equal(t, quota, n.cgroupFile(group, "cpu/cpu.cfs_quota_us", ""))
			require.Equal(t, period, n.cgroupFile(group, "cpu/cpu.cfs_period_us", ""))
		}
		require.Equal(t, memory, n.cgroupFile(group, "memory/memory.limit_in_bytes", "memory.max"))
		require.Equal(t, pids, n.cgroupFile(group, "pids/pids.max", "pids.max"))
	}
	check("30000 100000", "100663296", "99")
	require.Equal(t, "0", n.cgroupFile(group, "cpuset/cpuset.cpus", "cpuset.cpus"))
	said, _ := n.exec(id, "echo", "still")
	require.Contains(t, said, "out: still", "commands start as before")

	// One field alone; the others stay, also over a restart of klab-rt.
	n.killRT()
	require.NoError(t, n.UpdateContainerResources(n.ctx, id, &cri.LinuxContainerResources{MemoryLimitInBytes: 128 << 20}))
	check("30000 100000", "134217728", "99")
	status, err := n.ContainerStatus(n.ctx, id)
	require.NoError(t, err)
	require.Equal(t, int64(128<<20), status.Resources.Linux.MemoryLimitInBytes)
	require.Equal(t, int64(30000), status.Resources.Linux.CpuQuota)

	require.NoError(t, n.UpdateContainerResources(n.ctx, id, &cri.LinuxContainerResources{CpuQuota: -1, MemoryLimitInBytes: -1}))
	check(n.either("-1 100000", "max 100000"), n.either("9223372036854771712", "max"), "99")

	err = n.UpdateContainerResources(n.ctx, id, &cri.LinuxContainerResources{CpusetCpus: "900"})
	require.Error(t, err)
	require.Equal(t, "0", n.cgroupFile(group, "cpuset/cpuset.cpus", "cpuset.cpus"), "as it was before")

	require.NoError(t, n.StopContainer(n.ctx, id, 0))
	err = n.UpdateContainerResources(n.ctx, id, &cri.LinuxContainerResources{CpuShares: 2})
	require.ErrorContains(t, err, "has ended")
	require.NoError(t, n.UpdatePodSandboxResources(n.ctx, sandbox, nil, &cri.LinuxContainerResources{CpuShares: 7}))
	require.ErrorIs(t, n.UpdateContainerResources(n.ctx, "nobody", nil), ErrNotFound)
}

func TestStats(t *testing.T) {
	n := newNode(t)
	sandbox, id := n.run("web", "burn")
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })
	s, err := n.ContainerStats(n.ctx, id)
	require.NoError(t, err)
	require.Equal(t, "main", s.Attributes.Metadata.Name)
	require.Positive(t, s.Cpu.UsageCoreNanoSeconds.Value)
	require.Nil(t, s.Cpu.UsageNanoCores, "one look knows no speed")
	require.GreaterOrEqual(t, s.Memory.UsageBytes.Value, s.Memory.WorkingSetBytes.Value)
	eventually(t, "memory of its own", func() bool { // the kernel adds it up from time to time
		s, err := n.ContainerStats(n.ctx, id)
		return err == nil && s.Memory.RssBytes.Value > 0
	})
	eventually(t, "a speed", func() bool {
		all, err := n.ListContainerStats(n.ctx)
		if err != nil || len(all) != 1 || all[0].Cpu == nil {
			return false
		}
		speed := all[0].Cpu.UsageNanoCores
		return speed != nil && speed.Value > 10_000_000
	})

	before := s.WritableLayer.UsedBytes.Value
	_, code := n.exec(id, "fill", "/tmp/big", "3000000")
	require.Zero(t, code)
	s, err = n.ContainerStats(n.ctx, id)
	require.NoError(t, err)
	require.GreaterOrEqual(t, s.WritableLayer.UsedBytes.Value, before+3_000_000)

	pods, err := n.ListPodSandboxStats(n.ctx)
	require.NoError(t, err)
	require.Len(t, pods, 1)
	require.Len(t, pods[0].Linux.Containers, 1)
	require.GreaterOrEqual(t, pods[0].Linux.Process.ProcessCount.Value, uint64(2), "the pause process and the container")
	require.Positive(t, pods[0].Linux.Cpu.UsageCoreNanoSeconds.Value)
	require.NotNil(t, pods[0].Linux.Network)

	disk, err := n.ImageFsInfo(n.ctx)
	require.NoError(t, err)
	require.Greater(t, disk.ImageFilesystems[0].UsedBytes.Value, uint64(1_000_000))
	require.Greater(t, disk.ContainerFilesystems[0].UsedBytes.Value, uint64(3_000_000))
	require.Positive(t, disk.ImageFilesystems[0].InodesUsed.Value)

	ready, err := n.RuntimeStatus(n.ctx)
	require.NoError(t, err)
	require.True(t, ready.Status.Conditions[0].Status)
	require.NoError(t, n.StopPodSandbox(n.ctx, sandbox))
	eventually(t, "no stats of what does not run", func() bool {
		none, err := n.ListPodSandboxStats(n.ctx)
		return err == nil && len(none) == 0
	})
	_, err = n.PodSandboxStats(n.ctx, "nobody")
	require.ErrorIs(t, err, ErrNotFound)
}

// TestCgroupParent: the kubelet's tree is used and left as it was.
func TestCgroupParent(t *testing.T) {
	n := newNode(t)
	tree := n.cgroup + "/kubepods/burstable/poduid"
	own := filepath.Join("/sys/fs/cgroup", n.either("memory", ""), tree)
	require.NoError(t, os.MkdirAll(own, 0o755))
	config := n.sandboxConfig("web")
	config.Linux.CgroupParent = tree
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	id := n.start(sandbox, n.containerConfig("main", "sleep"), config)
	for _, one := range []string{sandbox, id} {
		procs := n.cgroupFile("kubepods/burstable/poduid/"+one, "memory/cgroup.procs", "cgroup.procs")
		require.Contains(t, strings.Fields(procs), strconv.Itoa(n.pid(one)))
	}
	require.NoError(t, n.RemovePodSandbox(n.ctx, sandbox))
	require.DirExists(t, own, "it was there before")
	left, err := os.ReadDir(own)
	require.NoError(t, err)
	for _, e := range left {
		require.False(t, e.IsDir(), "%s is left", e.Name())
	}
	if !n.v2 {
		require.NoDirExists(t, filepath.Join("/sys/fs/cgroup/pids", tree), "this one was not")
	}

	// One that names no node's cgroup is below this node's.
	config.Linux.CgroupParent = "/other"
	sandbox, err = n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	require.NotEmpty(t, n.cgroupFile("other/"+sandbox, "memory/cgroup.procs", "cgroup.procs"))
}

func TestMemoryReservationAndWeights(t *testing.T) {
	n := newNode(t)
	config := n.sandboxConfig("web")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	container := n.containerConfig("main", "sleep")
	container.Linux.Resources = &cri.LinuxContainerResources{
		CpuShares: 512, CpusetCpus: "0", OomScoreAdj: 777,
		Unified: map[string]string{"memory.low": "16777216", "memory.oom.group": "1"},
	}
	id := n.start(sandbox, container, config)
	group := "uid-web/" + id
	require.Equal(t, "16777216", n.cgroupFile(group, "memory/memory.soft_limit_in_bytes", "memory.low"))
	require.Equal(t, n.either("512", "59"), n.cgroupFile(group, "cpu/cpu.shares", "cpu.weight"))
	if n.v2 {
		require.Equal(t, "1", n.cgroupFile(group, "", "memory.oom.group"))
	}
	adj, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", n.pid(id)))
	require.NoError(t, err)
	require.Equal(t, "777", strings.TrimSpace(string(adj)))

	container.Linux.Resources.Unified = map[string]string{"nonsense.max": "1"}
	id, err = n.CreateContainer(n.ctx, sandbox, container, config)
	if err == nil {
		err = n.StartContainer(n.ctx, id)
	}
	require.ErrorContains(t, err, "nonsense")
}
