package cluster_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/leak"
)

// pid is the process of the cluster with a role, or 0.
func (l *lab) pid(role string) int {
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range paths {
		env, err := os.ReadFile(p)
		vars := strings.Split(string(env), "\x00")
		if err != nil || !contains(vars, "KLAB_CLUSTER_DIR="+l.Path) || !contains(vars, "KLAB_ROLE="+role) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(p, "/proc/%d/environ", &pid); err == nil {
			return pid
		}
	}
	return 0
}

// place is what pods may leave on a node: links and addresses, mounts, control
// groups and processes, leases, and what the kubelet and klab-rt remember.
func (l *lab) place(node string) leak.Place {
	l.t.Helper()
	dir := filepath.Join(l.Path, "nodes", node)
	pods := filepath.Join(l.ID(), node, "kubepods")
	pid := l.pid("klab-rt/" + node)
	require.NotZero(l.t, pid, "klab-rt of %s", node)
	p := leak.Place{PID: pid, Names: []string{filepath.Join(dir, "kubelet", "pods"), filepath.Join(dir, "rt", "c")}}
	for _, class := range []string{"", "burstable", "besteffort"} {
		p.Names = append(p.Names, filepath.Join(pods, class, "pod"))
	}
	for _, d := range []string{"rt/c", "rt/rt", "kubelet/pods", "kubelet/logs", "cni/state/results", "cni/state/addresses/klab"} {
		p.Dirs = append(p.Dirs, filepath.Join(dir, d))
	}
	return p
}

// as waits until the node is as it was.
func (l *lab) as(before leak.Snapshot, node string) {
	l.t.Helper()
	var diff []string
	for end := time.Now().Add(eventually); ; time.Sleep(10 * tick) {
		after, err := l.place(node).Take(context.Background())
		require.NoError(l.t, err)
		if diff = before.Diff(after); len(diff) == 0 {
			return
		}
		if time.Now().After(end) {
			require.Fail(l.t, "something is left on "+node, strings.Join(diff, "\n"))
		}
	}
}
