package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
)

// median of what f takes, over b.N runs and at least five.
func median(b *testing.B, name string, f func() time.Duration) time.Duration {
	b.Helper()
	var took []time.Duration
	for range max(b.N, 5) {
		took = append(took, f())
	}
	slices.Sort(took)
	m := took[len(took)/2]
	b.ReportMetric(float64(m.Microseconds())/1000, name+"-ms")
	return m
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// floor is what one run of the program costs that does nothing.
func (l *lab) floor(b *testing.B) time.Duration {
	return median(b, "floor", func() time.Duration {
		return timed(func() { require.NoError(b, exec.Command(l.klab, "--version").Run()) })
	})
}

func ratio(b *testing.B, name string, a, floor time.Duration) {
	b.ReportMetric(float64(a)/float64(floor), name+"/floor")
}

// BenchmarkUp is "klab up --nodes 3 --wait". Bar: 1,500 ms.
func BenchmarkUp(b *testing.B) {
	l := newLab(b)
	floor := l.floor(b)
	up := median(b, "up", func() time.Duration {
		took := timed(func() { l.up(3) })
		require.NoError(b, cluster.Down(context.Background(), l.Dir, false))
		return took
	})
	ratio(b, "up", up, floor)
}

// BenchmarkRun is from the start of "kubectl run" to the commit that says
// Running. Bar: 150 ms. Its floors: one run of the program that does nothing,
// and the verbs of the container runtime for this pod, which the kubelet's turn
// may exceed by half.
func BenchmarkRun(b *testing.B) {
	l := newLab(b)
	l.up(3)
	l.runPod("warm-1", "warm-2", "warm-3") // every node has the image
	floor := l.floor(b)
	c, err := cluster.Connect(l.Dir)
	require.NoError(b, err)
	stream, err := c.Events(context.Background(), 0, true)
	require.NoError(b, err)
	defer stream.Close()
	n := 0
	var verbs, sync time.Duration
	run := median(b, "run-to-running", func() time.Duration {
		n++
		name, start := "p"+strconv.Itoa(n), time.Now()
		l.runPod(name)
		var running time.Time
		running, sync, verbs = untilRunning(b, stream, name)
		return running.Sub(start)
	})
	ratio(b, "run", run, floor)
	b.ReportMetric(float64(verbs.Microseconds())/1000, "runtime-ms")
	b.ReportMetric(float64(sync)/float64(verbs), "sync/runtime")
}

func (l *lab) runPod(names ...string) {
	for _, name := range names {
		l.kubectl("run", name, "--image=klab.local/tools:1", "--restart=Never", "--", "sleep", "600")
	}
}

// untilRunning reads the journal until a pod's first turn has ended and its
// status says Running: when that was committed, how long the turn took, and
// how long the runtime's verbs in it.
func untilRunning(b *testing.B, stream *remote.Stream, pod string) (running time.Time, sync, verbs time.Duration) {
	for running.IsZero() || sync == 0 {
		batch, err := stream.Next()
		require.NoError(b, err)
		for _, e := range batch {
			if e.Object.Name != pod || e.Object.Resource != "pods" {
				continue
			}
			switch {
			case e.Phase == step.PhaseEnd && e.Verb == step.Sync && sync == 0:
				sync = e.Took.Duration()
			case e.Phase == step.PhaseEnd && e.Class == step.ClassCRI:
				verbs += e.Took.Duration()
			case e.Verb == step.Commit && e.Phase == step.PhaseFact && running.IsZero() && strings.Contains(string(e.Detail), `"phase":"Running"`):
				running = time.UnixMicro(e.Wall)
			}
		}
	}
	return running, sync, verbs
}

// BenchmarkScale is a Deployment from 1 to 20 ready replicas, with and without
// the journal on disk. Bars: 1,500 ms; 5 %.
func BenchmarkScale(b *testing.B) {
	labs := []*lab{newLab(b), newLab(b)}
	names := []string{"scale", "scale-no-history"}
	took := make([]time.Duration, 2)
	for i, l := range labs {
		require.NoError(b, cluster.Up(context.Background(), l.Dir, cluster.UpOptions{Nodes: 3, Wait: true, Without: cluster.Addons(), Self: l.klab, NoHistory: i == 1}))
		l.kubectl("create", "deployment", "web", "--image=klab.local/tools:1", "--", "sleep", "600")
		l.scale(1)
		took[i] = median(b, names[i], func() time.Duration {
			defer l.scale(1)
			return timed(func() { l.scale(20) })
		})
		require.NoError(b, cluster.Down(context.Background(), l.Dir, false))
	}
	ratio(b, "scale", took[0], took[1])
}

func (l *lab) scale(n int) {
	l.kubectl("scale", "deployment/web", "--replicas="+strconv.Itoa(n))
	l.kubectl("wait", "--for=jsonpath={.status.readyReplicas}="+strconv.Itoa(n), "deployment/web", "--timeout=120s")
	if n == 1 {
		l.eventually("v1", "get", "pods", "-o", "jsonpath={.items[*].apiVersion}")
	}
}

// BenchmarkIdle is what three nodes and the control plane cost while nothing
// happens. Bars: 300 MiB, 2 % of a core.
func BenchmarkIdle(b *testing.B) {
	l := newLab(b)
	l.up(3)
	time.Sleep(3 * time.Second) // what starting left to do
	before := l.cpu(b)
	const idle = 20 * time.Second
	time.Sleep(idle)
	used := l.cpu(b) - before
	b.ReportMetric(100*used.Seconds()/idle.Seconds(), "%core")
	b.ReportMetric(float64(l.memory(b))/1024, "MiB-PSS")
}

// each calls f with the /proc directory of each of the cluster's processes.
func (l *lab) each(b *testing.B, f func(dir string)) {
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(b, err)
	for _, p := range paths {
		env, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(env), "KLAB_CLUSTER_DIR="+l.Path+"\x00") {
			f(filepath.Dir(p))
		}
	}
}

// cpu is the processor time that the cluster's processes have used.
func (l *lab) cpu(b *testing.B) time.Duration {
	var ticks int
	l.each(b, func(dir string) {
		stat, err := os.ReadFile(dir + "/stat")
		require.NoError(b, err)
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
		for _, f := range fields[11:13] { // user and system time, in 1/100 s
			n, err := strconv.Atoi(f)
			require.NoError(b, err)
			ticks += n
		}
	})
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is the cluster's proportional set size in KiB.
func (l *lab) memory(b *testing.B) int {
	sum := 0
	l.each(b, func(dir string) {
		rollup, err := os.ReadFile(dir + "/smaps_rollup")
		require.NoError(b, err)
		for line := range strings.Lines(string(rollup)) {
			var kib int
			if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
				sum += kib
			}
		}
	})
	return sum
}
