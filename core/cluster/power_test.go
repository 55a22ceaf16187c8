package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
)

const nodeReady = `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason}`

func (l *lab) power(node string, p cluster.Power) {
	l.t.Helper()
	require.NoError(l.t, cluster.SetPower(context.Background(), l.Dir, node, p))
}

// processes counts the processes in a node's control groups, in all hierarchies.
func (l *lab) processes(node string) int {
	l.t.Helper()
	n := 0
	for _, pattern := range []string{"/sys/fs/cgroup/memory/", "/sys/fs/cgroup/"} {
		root := filepath.Join(pattern, l.ID(), node)
		_ = filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err == nil && filepath.Base(path) == "cgroup.procs" {
				text, _ := os.ReadFile(path)
				n += strings.Count(string(text), "\n")
			}
			return nil
		})
	}
	return n
}

// A node that is shut down ends its pods first, and says why; without power it
// says nothing. Turned on again it takes up what is still its.
func TestNodeOffAndOn(t *testing.T) {
	l := newLab(t)
	l.up(2)
	l.kubectl("cordon", "node-1")
	l.kubectl("run", "polite", "--image=klab.local/tools:1", "--", "sh", "-c", `trap "echo goodbye; exit 0" TERM; echo hello; while true; do sleep 0.1; done`)
	l.eventually("hello", "logs", "polite") // it is ready to say goodbye

	l.power("node-2", cluster.Shutdown)
	l.power("node-2", cluster.Shutdown)
	require.Zero(t, l.processes("node-2"))
	require.NoDirExists(t, filepath.Join("/run/netns", l.ID()+"-node-2"))
	l.eventually("Failed Terminated Pod was terminated in response to imminent node shutdown.",
		"get", "pod", "polite", "-o", "jsonpath={.status.phase} {.status.reason} {.status.message}")
	require.Equal(t, "TerminationByKubelet", l.kubectl("get", "pod", "polite", "-o", `jsonpath={.status.conditions[?(@.type=="DisruptionTarget")].reason}`))
	require.Equal(t, "0", l.kubectl("get", "pod", "polite", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"))
	require.Equal(t, "False KubeletNotReady", l.kubectl("get", "node", "node-2", "-o", nodeReady))

	// The node stays off, also for the next daemon.
	require.NoError(t, cluster.Down(context.Background(), l.Dir, true))
	l.up(2)
	require.True(t, l.NodeOff("node-2"))
	require.Zero(t, l.processes("node-2"))

	l.power("node-2", cluster.PowerOn)
	require.False(t, l.NodeOff("node-2"))
	l.eventually("True KubeletReady", "get", "node", "node-2", "-o", nodeReady)
	l.kubectl("run", "again", "--image=klab.local/tools:1", "--", "sleep", "600")
	l.kubectl("wait", "--for=condition=Ready", "pod/again", "--timeout=120s")

	l.power("node-2", cluster.PowerOff)
	require.Zero(t, l.processes("node-2"))
	require.Equal(t, "Running", l.kubectl("get", "pod", "again", "-o", phase), "nobody has told the API")
	l.power("node-2", cluster.PowerOn)
	l.eventually("1", "get", "pod", "again", "-o", restarts)
	l.kubectl("wait", "--for=condition=Ready", "pod/again", "--timeout=120s")
}

func TestPowerOfAStrangeNode(t *testing.T) {
	l := newLab(t)
	require.ErrorIs(t, cluster.SetPower(context.Background(), l.Dir, "node-1", cluster.PowerOff), cluster.ErrNotUp)
	l.up(1)
	err := cluster.SetPower(context.Background(), l.Dir, "node-7", cluster.PowerOff)
	require.EqualError(t, err, `there is no node "node-7": this cluster has node-1`)
}
