package runtime

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
)

func TestMountsOfAContainer(t *testing.T) {
	const root = "/lab/nodes/n/rt"
	lines := strings.Join([]string{
		`169 117 0:47 / / ro,relatime - overlay overlay rw,lowerdir=` + root + `/layers/16e9:` + root + `/layers/77aa,upperdir=` + root + `/c/` + strings.Repeat("ab", 32) + `/up,workdir=` + root + `/c/x/work`,
		`171 169 0:63 / /proc rw,nosuid - proc proc rw`,
		`174 169 254:0 /lab/nodes/n/kubelet/pods/2d12/volumes/kubernetes.io~configmap/cfg /cfg ro,relatime - ext4 /dev/vda rw`,
		`176 169 254:0 /tmp/a\040b /host rw,relatime shared:7 master:3 - ext4 /dev/vda rw`,
		`118 171 0:63 /bus /proc/bus ro,nosuid - proc proc rw`,
		`not a line`,
	}, "\n")
	file := filepath.Join(t.TempDir(), "mountinfo")
	require.NoError(t, os.WriteFile(file, []byte(lines), 0o600))
	node := []mountLine{{device: "0:47", fs: "overlay", target: root + "/c/x/fs"}}
	r, mounts, more := describeMounts(readMounts(file), node, root)
	require.Equal(t, &step.SeenRoot{Type: "overlay", Lower: []string{"layers/16e9", "layers/77aa"}, Upper: "c/abababababab/up", Work: "c/x/work", Merged: "c/x/fs", ReadOnly: true}, r)
	require.Equal(t, 1, more, "what covers a part of /proc is only counted")
	require.Equal(t, []step.SeenMount{
		{Target: "/proc", Type: "proc", Source: "proc"},
		{Target: "/cfg", Type: "ext4", Source: "pods/2d12/volumes/kubernetes.io~configmap/cfg", Volume: "cfg", Kind: "configmap", ReadOnly: true},
		{Target: "/host", Type: "ext4", Source: "/tmp/a b", Propagation: "shared:7 master:3"},
	}, mounts)
}

func TestMountsAreBounded(t *testing.T) {
	var lines []mountLine
	for i := range 500 {
		lines = append(lines, mountLine{target: "/m" + strconv.Itoa(i) + strings.Repeat("x", 5000), root: "/" + strings.Repeat("y", 5000)})
	}
	_, mounts, more := describeMounts(lines, nil, "/root")
	require.Len(t, mounts, mountsSeen)
	require.Equal(t, 500-mountsSeen, more)
	require.Len(t, mounts[0].Target, pathSeen)
	require.Len(t, mounts[0].Source, pathSeen)
}

// Limits and counters are in the words of the version of cgroups.
func TestCgroupsOfBothVersions(t *testing.T) {
	dir := t.TempDir()
	put := func(name, value string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600))
	}
	for name, value := range map[string]string{
		"proc/cgroup":          "3:cpu:/part/pod/c\n2:memory:/part/pod/c\n1:cpuacct:/part/pod/c\n4:pids:/part/pod/c\n0::/part/v2/c\n",
		"cpu/pod/c/cpu.shares": "102\n", "cpu/pod/c/cpu.cfs_quota_us": "20000\n", "cpu/pod/c/cpu.cfs_period_us": "100000\n",
		"cpu/pod/c/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 5000000\n", "cpu/pod/c/cgroup.procs": "7\n5\n",
		"cpuacct/pod/c/cpuacct.usage": "3000000\n", "memory/pod/c/memory.limit_in_bytes": "9223372036854771712\n",
		"memory/pod/c/memory.usage_in_bytes": "4096\n", "memory/pod/c/memory.oom_control": "oom_kill_disable 0\noom_kill 2\n",
		"pids/pod/c/pids.max": "max\n", "pids/pod/c/pids.current": "3\n",
		"v2/c/cpu.max": "max 100000\n", "v2/c/cpu.weight": "4\n", "v2/c/memory.max": "1048576\n", "v2/c/memory.current": "8192\n",
		"v2/c/cpu.stat": "usage_usec 3000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 5000\n", "v2/c/memory.events": "oom 3\noom_kill 2\n", "v2/c/pids.current": "3\n",
	} {
		put(name, value)
	}
	v1 := []mountLine{}
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids"} {
		v1 = append(v1, mountLine{fs: "cgroup", root: "/part", target: filepath.Join(dir, c), super: "rw," + c})
	}
	want := step.CgroupUsage{CPU: step.Seconds(3 * time.Millisecond), Memory: 4096, Pids: 3, Periods: 10, Throttled: 4, Waited: step.Seconds(5 * time.Millisecond), OOMKills: 2}
	d := newCgroupMounts(false, v1).of(filepath.Join(dir, "proc"))
	require.Equal(t, "/part/pod/c", d.path)
	require.Equal(t, map[string]string{"cpu.shares": "102", "cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "100000"}, d.limits(), "what limits nothing is left out")
	require.Equal(t, want, d.usage())
	require.Equal(t, []int{5, 7}, d.processes())

	d = newCgroupMounts(true, []mountLine{{fs: "cgroup2", root: "/part", target: dir}}).of(filepath.Join(dir, "proc"))
	require.Equal(t, map[string]string{"cpu.weight": "4", "memory.max": "1048576"}, d.limits())
	want.Memory = 8192
	require.Equal(t, want, d.usage())
	require.Equal(t, "/part/v2", newCgroupMounts(true, nil).parent(d).path)
}

func TestReadsItsOwnProcess(t *testing.T) {
	p, ok := readProcess("/proc/self")
	require.True(t, ok)
	require.Equal(t, os.Getppid(), p.Parent)
	require.Equal(t, uint32(os.Getuid()), p.UID)
	require.NotEmpty(t, p.Comm)
	require.Greater(t, p.Threads, 1)
	require.LessOrEqual(t, len(p.Command), commandSeen)
	require.NotZero(t, namespaceInode("/proc/self", "net"))
	_, ok = readProcess("/proc/0")
	require.False(t, ok)
}
