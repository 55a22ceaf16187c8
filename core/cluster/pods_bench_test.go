package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// client is client-go's, with what it was made of.
func (l *lab) client(b *testing.B) (*rest.Config, *kubernetes.Clientset) {
	config, err := l.RESTConfig()
	require.NoError(b, err)
	config.QPS, config.Burst = 1000, 1000
	client, err := kubernetes.NewForConfig(config)
	require.NoError(b, err)
	return config, client
}

func sleeper(name string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{Name: "c", Image: "klab.local/tools:1", Args: []string{"sleep", "6000"}}}}}
}

// startPods creates pods and returns how long it took until all were Running.
func startPods(b *testing.B, client *kubernetes.Clientset, prefix string, count int) time.Duration {
	ctx := context.Background()
	list, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	require.NoError(b, err)
	watch, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	require.NoError(b, err)
	defer watch.Stop()
	start := time.Now()
	for i := range count {
		_, err := client.CoreV1().Pods("default").Create(ctx, sleeper(fmt.Sprintf("%s-%d", prefix, i)), metav1.CreateOptions{})
		require.NoError(b, err)
	}
	running := map[string]bool{}
	for len(running) < count {
		select {
		case e := <-watch.ResultChan():
			if pod, ok := e.Object.(*corev1.Pod); ok && pod.Status.Phase == corev1.PodRunning && strings.HasPrefix(pod.Name, prefix+"-") {
				running[pod.Name] = true
			}
		case <-time.After(2 * time.Minute):
			require.Fail(b, "not all pods run", "%d of %d", len(running), count)
		}
	}
	return time.Since(start)
}

// spread reports the median and the 95th percentile of what f takes.
func spread(b *testing.B, name string, count int, f func(i int) time.Duration) (p50 time.Duration) {
	var took []time.Duration
	for i := range count {
		took = append(took, f(i))
	}
	slices.Sort(took)
	b.ReportMetric(milliseconds(took[count/2]), name+"-p50-ms")
	b.ReportMetric(milliseconds(took[count*95/100]), name+"-p95-ms")
	return took[count/2]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// trueFloor is what it costs to start a program that does nothing: a busy
// machine shows in it as in everything else.
func trueFloor(b *testing.B) time.Duration {
	return spread(b, "true", 20, func(int) time.Duration {
		return timed(func() { require.NoError(b, exec.Command("true").Run()) })
	})
}

// BenchmarkPodFigures are the figures of pods on one node. Bars: from POST to
// Running p50 50 ms (kubectl's own process costs the other half of 100 ms, see
// BenchmarkRun); exec p50 40 ms; 100 pods in 4 s; 4 MiB of memory per pod;
// 1 % of a core with 30 pods; 1 s from the agent's death to a pod that runs.
func BenchmarkPodFigures(b *testing.B) {
	l := newLab(b)
	l.up(1)
	config, client := l.client(b)
	startPods(b, client, "warm", 3) // the node has the image
	floor := trueFloor(b)
	one := spread(b, "post-to-running", 20, func(i int) time.Duration { return startPods(b, client, fmt.Sprint("one", i), 1) })
	ratio(b, "post-to-running", one, floor)
	ran := spread(b, "exec", 30, func(int) time.Duration { return timed(func() { execTrue(b, config, client, "warm-0") }) })
	ratio(b, "exec", ran, floor)
	settle(b, l)
	b.ReportMetric(l.idle(b, 10*time.Second), "%core-23-pods")
	kib := l.memoryOfPods(b)
	b.ReportMetric(startPods(b, client, "many", 80).Seconds()*100/80, "s-per-100-pods")
	settle(b, l)
	b.ReportMetric((l.memoryOfPods(b)-kib)/80/1024, "MiB-per-pod")
	back := timed(func() {
		l.kill("agent/node-1")
		startPods(b, client, "after", 1)
	})
	b.ReportMetric(milliseconds(back), "agent-kill-to-running-ms")
}

// settle waits until what has been started leaves the processors alone.
func settle(b *testing.B, l *lab) {
	for range 20 {
		if l.idle(b, time.Second) < 5 {
			return
		}
	}
}

// idle is how much of one core the cluster uses, in percent.
func (l *lab) idle(b *testing.B, during time.Duration) float64 {
	before := l.cpu(b)
	time.Sleep(during)
	return 100 * (l.cpu(b) - before).Seconds() / during.Seconds()
}

func execTrue(b *testing.B, config *rest.Config, client *kubernetes.Clientset, pod string) {
	url := client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"sleep", "0"}, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	require.NoError(b, err)
	var out bytes.Buffer
	require.NoError(b, executor.StreamWithContext(context.Background(), remotecommand.StreamOptions{Stdout: &out, Stderr: &out}), out.String())
}

// memoryOfPods is the proportional set size, in KiB, of what klab has because
// of pods: the node's agent, its klab-rt, and the pause processes.
func (l *lab) memoryOfPods(b *testing.B) (kib float64) {
	paths, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(b, err)
	for _, dir := range paths {
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		cgroup, _ := os.ReadFile(dir + "/cgroup")
		words := strings.Split(string(cmdline), "\x00")
		mine := strings.Contains(string(cmdline), l.Path) && (strings.HasSuffix(words[0], "klab-rt") || len(words) > 1 && words[1] == "agent")
		if !mine && !(words[0] == "/pause" && strings.Contains(string(cgroup), "klab-"+l.Name)) {
			continue
		}
		rollup, _ := os.ReadFile(dir + "/smaps_rollup") // it may be gone
		for line := range strings.Lines(string(rollup)) {
			var n int
			if found, _ := fmt.Sscanf(line, "Pss: %d kB", &n); found == 1 {
				kib += float64(n)
			}
		}
	}
	return kib
}
