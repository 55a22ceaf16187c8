package cluster_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/leak"
)

// pid is the cluster's process with a role, or 0. What such a process has begun
// has its environment, and may outlive it: it is not meant.
func (l *lab) pid(role string) int {
	all := l.pids(role)
	for _, pid := range all {
		program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if strings.HasPrefix(filepath.Base(program), "klab") && !slices.Contains(all, parent(pid)) {
			return pid
		}
	}
	return 0
}

// parent is the process that began another one, or 0 if that has ended.
func parent(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	var state string
	var of int
	_, _ = fmt.Sscan(after, &state, &of)
	return of
}

// pids are the processes with a role, also those that it has begun.
func (l *lab) pids(role string) (found []int) {
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range paths {
		env, err := os.ReadFile(p)
		vars := strings.Split(string(env), "\x00")
		if err != nil || !slices.Contains(vars, "KLAB_CLUSTER_DIR="+l.Path) || !slices.Contains(vars, "KLAB_ROLE="+role) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(p, "/proc/%d/environ", &pid); err == nil {
			found = append(found, pid)
		}
	}
	return found
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
	p.Except = []string{"lock", "last_reserved_ip.0", "last_reserved_ip.1"} // beside the leases
	for _, class := range []string{"", "burstable", "besteffort"} {
		p.Names = append(p.Names, filepath.Join(pods, class, "pod"))
	}
	for _, d := range []string{"rt/c", "rt/rt", "kubelet/pods", "kubelet/logs", "cni/state/results", "cni/state/networks/klab"} {
		p.Dirs = append(p.Dirs, filepath.Join(dir, d))
	}
	return p
}

// as waits until the node is as it was.
func (l *lab) as(before leak.Snapshot, node string) {
	l.t.Helper()
	var diff []string
	for end := time.Now().Add(eventually); ; time.Sleep(10 * tick) {
		if all := l.pids("klab-rt/" + node); len(all) != 1 && time.Now().After(end) {
			require.Fail(l.t, "there is one klab-rt of "+node, l.about(all))
		} else if len(all) != 1 {
			continue
		}
		after, err := l.place(node).Take(context.Background())
		require.NoError(l.t, err)
		if diff = before.Diff(after); len(diff) == 0 {
			return
		}
		if time.Now().After(end) {
			require.Fail(l.t, "something is left on "+node, strings.Join(diff, "\n")+"\n"+l.about(l.pids("klab-rt/"+node)))
		}
	}
}

// about tells what processes do.
func (l *lab) about(pids []int) string {
	var out strings.Builder
	for _, pid := range pids {
		for _, file := range []string{"cmdline", "status", "wchan", "cgroup", "stack"} {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			fmt.Fprintf(&out, "%d %s: %s\n", pid, file, strings.ReplaceAll(string(text), "\x00", " "))
		}
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			to, _ := os.Readlink(fd)
			fmt.Fprintf(&out, "%s → %s\n", fd, to)
		}
	}
	return out.String()
}
