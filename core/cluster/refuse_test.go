package cluster_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/leak"
)

func TestUpOnAFullDiskSaysSoAndLeavesNothing(t *testing.T) {
	l := newLab(t)
	root := t.TempDir()
	leak.Check(t, root)
	require.NoError(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=2m"))
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return unix.Unmount(root, 0) == nil }, eventually, tick, "nothing is open in it")
	})
	d, err := cluster.NewDir(root, "full")
	require.NoError(t, err)
	err = cluster.Up(context.Background(), d, cluster.UpOptions{Nodes: 1, Self: l.klab})
	require.ErrorContains(t, err, "space")
	require.False(t, d.Exists())
}

func TestWithoutRootOneSentence(t *testing.T) {
	l := newLab(t)
	open := t.TempDir() // the checkout may be closed to others
	require.NoError(t, os.Chmod(open, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(open), 0o755))
	klab := filepath.Join(open, "klab")
	require.NoError(t, exec.Command("cp", l.klab, klab).Run())
	for _, args := range [][]string{{"up"}, {"down"}, {"doctor"}} {
		cmd := exec.Command("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", klab}, args...)...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s: %s", args, out)
		require.Equal(t, 1, exit.ExitCode())
		require.Contains(t, string(out), "root")
		require.Contains(t, string(out), "sudo")
	}
}

func TestAPartOfTheKernelIsMissing(t *testing.T) {
	l := newLab(t)
	// Without /sys/fs/cgroup there is nowhere to make control groups.
	out, err := exec.Command("unshare", "--mount", "sh", "-c",
		`umount -l /sys/fs/cgroup && KLAB_ROOT=`+filepath.Dir(l.Path)+` exec `+l.klab+` --cluster `+l.Name+` up --nodes 1`).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "cgroup")
	require.Contains(t, string(out), "klab doctor")
	require.False(t, l.Exists())
}
