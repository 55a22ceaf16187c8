package runtime

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/step"
)

// What is seen of a pod is what /proc and the cgroups say.
func TestSeeAPod(t *testing.T) {
	n := newNode(t)
	sandbox, a := n.run("web", "sleep")
	side := n.containerConfig("side", "sleep")
	dir := t.TempDir()
	side.Mounts = append(side.Mounts, &cri.Mount{ContainerPath: "/data", HostPath: dir, Readonly: true})
	b, err := n.CreateContainer(n.ctx, sandbox, side, n.sandboxConfig("web"))
	require.NoError(t, err)
	require.NoError(t, n.StartContainer(n.ctx, b))

	s := NewSeer(n.Client)
	d, err := s.SeePod(n.ctx, sandbox)
	require.NoError(t, err)
	require.Len(t, d.Containers, 3)
	find := func(kind, container string) step.SeenNamespace {
		for _, ns := range d.Namespaces {
			for _, c := range ns.Containers {
				if ns.Kind == kind && c == container {
					return ns
				}
			}
		}
		return step.SeenNamespace{}
	}
	for kind, shared := range map[string]bool{"net": true, "ipc": true, "uts": true, "mnt": false, "pid": false} {
		ns := find(kind, "side")
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", n.pid(b), kind))
		require.NoError(t, err)
		require.Equal(t, link, fmt.Sprintf("%s:[%d]", kind, ns.Inode))
		require.Equal(t, shared, ns.Pause, kind)
		require.Equal(t, shared, ns.Inode == find(kind, "main").Inode, kind)
		require.False(t, ns.Node, kind)
	}
	seen := d.Containers[2]
	require.Equal(t, n.pid(b), seen.PID)
	require.Equal(t, "overlay", seen.Root.Type)
	require.NotEmpty(t, seen.Root.Lower)
	require.NotEmpty(t, seen.Root.Upper)
	var data step.SeenMount
	for _, m := range seen.Mounts {
		if m.Target == "/data" {
			data = m
		}
	}
	require.True(t, data.ReadOnly)
	require.NotEmpty(t, data.Source)

	pod := d.Cgroups[len(d.Cgroups)-3]
	require.True(t, pod.Pod)
	require.Equal(t, n.cgroup, d.Cgroups[0].Path, "the way begins at the node's")
	require.Equal(t, "side", d.Cgroups[len(d.Cgroups)-1].Container)

	pids := map[int]string{}
	for _, p := range s.SeeProcesses(sandbox).Processes {
		pids[p.PID] = p.Container
		require.Equal(t, 1, p.Inner, "the first one in its namespace")
	}
	require.Equal(t, map[int]string{n.pid(sandbox): "", n.pid(a): "main", n.pid(b): "side"}, pids)

	u := s.SeeUsage(sandbox)
	require.Greater(t, u.Pod.Memory, int64(0))
	require.GreaterOrEqual(t, u.Pod.Pids, int64(3))
	require.Contains(t, u.Containers, "side")
	require.Greater(t, s.CPU(sandbox), u.Containers["side"].CPU.Duration())

	n.exec(a, "id")
	require.Greater(t, s.CPU(sandbox), u.Pod.CPU.Duration(), "a command has used time of the pod's")

	require.NoError(t, n.StopContainer(n.ctx, b, 0))
	d, err = s.SeePod(n.ctx, sandbox)
	require.NoError(t, err)
	require.Len(t, d.Containers, 2)
	require.NoError(t, n.StopPodSandbox(n.ctx, sandbox))
	d, err = s.SeePod(n.ctx, sandbox)
	require.NoError(t, err)
	require.Empty(t, d.Containers)
	require.Empty(t, s.SeeProcesses(sandbox).Processes)
	require.Nil(t, s.SeeUsage(sandbox))
	require.Zero(t, s.CPU(sandbox))
}

// A process that begins processes without end does not fill the journal.
func TestOnlySoManyProcesses(t *testing.T) {
	list := ""
	for range 500 {
		list += strconv.Itoa(os.Getpid()) + "\n"
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/cgroup.procs", []byte(list), 0o600))
	s := NewSeer(&Client{})
	s.pods["p"] = &seenPod{procs: []seenProc{{name: "fork", dirs: seenDirs{v2: true, dirs: map[string]string{"": dir}}}}}
	d := s.SeeProcesses("p")
	require.Len(t, d.Processes, processesSeen)
	require.Equal(t, 500-processesSeen, d.More)
}
