package cm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/runtime/shim"
)

func openTree(t *testing.T) *Tree {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	parent := fmt.Sprintf("/klab-test-cm-%d", os.Getpid())
	t.Cleanup(func() { require.NoError(t, shim.RemoveCgroup(parent)) })
	tree, err := Open(Config{Root: parent + "/kubepods", Allocatable: list("1500m", "512Mi"), PodPids: 77})
	require.NoError(t, err)
	return tree
}

// kernel reads a number of a group: the file of cgroup v1 with its controller,
// or that of v2.
func (t *Tree) kernel(tb testing.TB, group, v1, v2 string) string {
	tb.Helper()
	var path string
	if t.unified {
		path = filepath.Join(mountRoot, group, v2)
	} else {
		controller, file, _ := strings.Cut(v1, "/")
		path = filepath.Join(mountRoot, controller, group, file)
	}
	text, err := os.ReadFile(path)
	require.NoError(tb, err)
	return strings.TrimSpace(string(text))
}

// either is what v1 says, or v2.
func (t *Tree) either(v1, v2 string) string {
	if t.unified {
		return v2
	}
	return v1
}

func pod(uid string, c ...corev1.Container) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: c}}
	p.UID = types.UID(uid)
	return p
}

func TestTreeIsTheKernels(t *testing.T) {
	tree := openTree(t)
	memory := func(group string) string {
		return tree.kernel(t, group, "memory/memory.limit_in_bytes", "memory.max")
	}
	quota := func(group string) string {
		return strings.TrimSuffix(tree.kernel(t, group, "cpu/cpu.cfs_quota_us", "cpu.max"), " 100000")
	}
	require.Equal(t, fmt.Sprint(512<<20), memory(tree.Root()))
	if !tree.unified {
		require.Equal(t, "1536", tree.kernel(t, tree.Root(), "cpu/cpu.shares", ""))
		require.Equal(t, "2", tree.kernel(t, tree.Root()+"/besteffort", "cpu/cpu.shares", ""))
	}

	fixed := pod("fixed", container(list("500m", "64Mi"), list("500m", "64Mi")))
	_, changed, err := tree.Put(fixed, false)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, tree.Root()+"/podfixed", tree.Path(fixed))
	require.Equal(t, fmt.Sprint(64<<20), memory(tree.Path(fixed)))
	require.Equal(t, "50000", quota(tree.Path(fixed)))
	require.Equal(t, "77", tree.kernel(t, tree.Path(fixed), "pids/pids.max", "pids.max"))

	_, changed, err = tree.Put(fixed, false)
	require.NoError(t, err)
	require.False(t, changed, "it is there already")

	for i, want := range []string{"256", "512"} { // together they have what they ask for
		p := pod(fmt.Sprint("burst", i), container(list("250m", ""), nil))
		_, _, err := tree.Put(p, false)
		require.NoError(t, err)
		require.Equal(t, tree.either("-1", "max"), quota(tree.Path(p)))
		if !tree.unified {
			require.Equal(t, want, tree.kernel(t, tree.Root()+"/burstable", "cpu/cpu.shares", ""))
		}
	}
	free := pod("free", container(nil, nil))
	_, _, err = tree.Put(free, false)
	require.NoError(t, err)
	require.Equal(t, tree.Root()+"/besteffort/podfree", tree.Path(free))
	require.Equal(t, []types.UID{"burst0", "burst1", "fixed", "free"}, tree.Pods())

	// A resize, one number and then another.
	require.NoError(t, tree.Update(fixed, Settings{Memory: 96 << 20}))
	require.NoError(t, tree.Update(fixed, Settings{Quota: 80_000}))
	require.Equal(t, fmt.Sprint(96<<20), memory(tree.Path(fixed)))
	require.Equal(t, "80000", quota(tree.Path(fixed)))
	require.NoError(t, tree.Update(fixed, Settings{Quota: Unlimited}))
	require.Equal(t, tree.either("-1", "max"), quota(tree.Path(fixed)))
	now, _, err := tree.Put(fixed, false)
	require.NoError(t, err)
	require.Equal(t, Settings{Shares: 512, Quota: Unlimited, Memory: 96 << 20, Pids: 77}, now)
	require.ErrorIs(t, tree.Update(pod("unknown"), Settings{Memory: 1 << 20}), os.ErrNotExist)

	// A kubelet that begins anew finds the groups; removing kills what is left.
	again, err := Open(tree.c)
	require.NoError(t, err)
	sleep := exec.Command("sleep", "1000")
	require.NoError(t, sleep.Start())
	procs := filepath.Join(again.mounts()[0], tree.Path(free), "cgroup.procs")
	require.NoError(t, os.WriteFile(procs, fmt.Append(nil, sleep.Process.Pid), 0))
	exited := make(chan error, 1)
	go func() { exited <- sleep.Wait() }()
	for _, uid := range again.Pods() {
		require.NoError(t, again.Remove(uid))
		require.NoError(t, again.Remove(uid), "removing may be repeated")
	}
	require.Error(t, <-exited)
	require.Empty(t, again.Pods())
}
