package runtime

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/runtime/shim"
)

// BenchmarkPodStart is a sandbox with one container, from nothing to running,
// and its parts.
func BenchmarkPodStart(b *testing.B) {
	n := newNode(b)
	i := 0
	var took []time.Duration
	for b.Loop() {
		i++
		began := time.Now()
		sandbox, _ := n.run(fmt.Sprint("p", i), "sleep")
		took = append(took, time.Since(began))
		b.StopTimer()
		require.NoError(b, n.RemovePodSandbox(n.ctx, sandbox))
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(took[0].Seconds()*1000, "ms-min")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-median")
}

func BenchmarkSandbox(b *testing.B) {
	n := newNode(b)
	i := 0
	for b.Loop() {
		i++
		sandbox, err := n.RunPodSandbox(n.ctx, n.sandboxConfig(fmt.Sprint("p", i)))
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, n.RemovePodSandbox(n.ctx, sandbox))
		b.StartTimer()
	}
}

func BenchmarkContainer(b *testing.B) {
	n := newNode(b)
	config := n.sandboxConfig("p")
	sandbox, err := n.RunPodSandbox(n.ctx, config)
	require.NoError(b, err)
	before := n.cpu()
	defer func() { b.ReportMetric((n.cpu()-before)*10/float64(b.N), "cpu-ms/op") }()
	for b.Loop() {
		id, err := n.CreateContainer(n.ctx, sandbox, n.containerConfig("main", "sleep"), config)
		require.NoError(b, err)
		require.NoError(b, n.StartContainer(n.ctx, id))
		b.StopTimer()
		require.NoError(b, n.RemoveContainer(n.ctx, id))
		b.StartTimer()
	}
}

// cpu is the processor time of klab-rt and its ended children so far, in
// clock ticks of 10 ms: it tells more than the clock on a busy machine.
func (n *node) cpu() (ticks float64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.rt()))
	require.NoError(n.t, err)
	for _, field := range strings.Fields(string(data))[13:17] {
		v, err := strconv.ParseFloat(field, 64)
		require.NoError(n.t, err)
		ticks += v
	}
	return ticks
}

func (n *node) rt() int {
	data, err := os.ReadFile(shim.Lock(n.root))
	require.NoError(n.t, err)
	rt, err := strconv.Atoi(strings.TrimSpace(string(data)))
	require.NoError(n.t, err)
	return rt
}

func BenchmarkExec(b *testing.B) {
	n := newNode(b)
	_, id := n.run("p", "sleep")
	for b.Loop() {
		_, code := n.exec(id, "exit", "0")
		require.Zero(b, code)
	}
}

// BenchmarkMemory prints what klab-rt and pods cost, in KiB of PSS.
func BenchmarkMemory(b *testing.B) {
	n := newNode(b)
	rt := n.rt()
	for b.Loop() {
		b.ReportMetric(pss(b, rt), "KiB-idle")
		var pause string
		for i := range 20 {
			pause, _ = n.run(fmt.Sprint("p", i), "sleep")
		}
		b.ReportMetric(pss(b, rt), "KiB-20-pods")
		b.ReportMetric(pss(b, n.pid(pause)), "KiB-pause")
	}
}

func pss(b *testing.B, pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	require.NoError(b, err)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			require.NoError(b, err)
			return float64(kib)
		}
	}
	return 0
}
