package runtime

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
)

// journal keeps events as text.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Record(e step.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, strings.TrimSpace(strings.Join([]string{string(e.Phase), e.Node, string(e.Verb), e.Object.String(), e.Err}, " ")))
}

func TestSteps(t *testing.T) {
	n := newNode(t)
	j := &journal{}
	lab := &step.Lab{Gate: &step.Gate{}, Recorder: j, Clock: step.NewClock(time.Now(), 0), Node: "node-1"}
	ctx := step.With(n.ctx, lab)
	r := Steps(n.Client, "node-1")
	_, err := r.PullImage(ctx, n.image, nil)
	require.NoError(t, err)
	config := n.sandboxConfig("web")
	sandbox, err := r.RunPodSandbox(ctx, config)
	require.NoError(t, err)
	id, err := r.CreateContainer(ctx, sandbox, n.containerConfig("main", "ignore"), config)
	require.NoError(t, err)
	require.NoError(t, r.StartContainer(ctx, id))
	eventually(t, "ready", func() bool { return len(n.log(id)) == 1 })

	// The grace period is lab time: it ends because the clock is moved.
	done := make(chan error, 1)
	go func() { done <- r.StopContainer(ctx, id, time.Hour) }()
	eventually(t, "the timer", func() bool { return len(lab.Clock.Upcoming()) == 1 })
	lab.Clock.AdvanceTo(2 * time.Hour)
	require.NoError(t, <-done)
	require.NoError(t, r.RemovePodSandbox(ctx, sandbox))

	all := strings.Join(j.lines, "\n")
	for _, want := range []string{
		"begin node-1 PullImage images/" + n.image, "end node-1 RunPodSandbox pods/default/web",
		"end node-1 CreateContainer pods/default/web", "end node-1 StartContainer pods/default/web",
		"end node-1 StopContainer pods/default/web", "end node-1 RemovePodSandbox pods/default/web", "fact node-1 ran",
	} {
		require.Contains(t, all, want)
	}
}

func TestShimStaysSmall(t *testing.T) {
	cmd := exec.Command("go", "list", "-tags", "netgo osusergo seccomp", "-deps", "../../cmd/klab-rt")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := cmd.Output()
	require.NoError(t, err)
	for _, banned := range []string{"k8s.io/", "etcd", "net/http", "google.golang.org/grpc"} {
		for _, dep := range strings.Fields(string(out)) {
			if dep != banned && strings.Contains(dep, banned) || dep == banned {
				t.Errorf("klab-rt imports %s", dep)
			}
		}
	}
}

// TestCleanAfterEverythingWasKilled: nobody is there to ask.
func TestCleanAfterEverythingWasKilled(t *testing.T) {
	n := newNode(t)
	n.run("web", "sleep")
	config := n.sandboxConfig("half")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(t, err)
	_, err = n.CreateContainer(n.ctx, sandbox, n.containerConfig("main", "sleep"), config)
	require.NoError(t, err)
	require.NoError(t, n.Freeze(n.ctx, sandbox))
	n.stop()
	n.Client.Close()
	n.Client = nil
	for range 2 {
		require.NoError(t, Clean(context.Background(), CleanOptions{Root: n.root, CgroupParent: n.cgroup}))
	}
	n.noLeaks()
}

func TestOpenRefusesNonsense(t *testing.T) {
	for _, c := range []Config{{}, {Root: "relative"}, {Root: "/x"}, {Root: "/x", CgroupParent: "/"}, {Root: "/x", CgroupParent: "klab"}} {
		_, err := Open(context.Background(), c)
		require.Error(t, err)
	}
	require.Error(t, Clean(context.Background(), CleanOptions{Root: "/"}))
}
