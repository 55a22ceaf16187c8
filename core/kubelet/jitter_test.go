package kubelet_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// arrivals are the times at which each path was asked for.
type arrivals struct {
	mu sync.Mutex
	at map[string][]time.Time
}

func (a *arrivals) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[r.URL.Path] = append(a.at[r.URL.Path], time.Now())
}

// late is, for each probe after the first of its pod since begin, how far it
// was from a whole number of periods.
func (a *arrivals) late(begin time.Time, period time.Duration) []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []time.Duration
	for _, times := range a.at {
		i, _ := slices.BinarySearchFunc(times, begin, time.Time.Compare)
		for _, at := range times[min(i+1, len(times)):] {
			off := at.Sub(times[i]) % period
			all = append(all, min(off, period-off))
		}
	}
	slices.Sort(all)
	return all
}

// BenchmarkProbeJitter probes 100 pods once a second each and tells how far
// the probes are from where they should be.
func BenchmarkProbeJitter(b *testing.B) {
	const pods, period = 100, time.Second
	seen := &arrivals{at: map[string][]time.Time{}}
	server := httptest.NewServer(seen)
	defer server.Close()
	port := intstr.FromInt32(int32(server.Listener.Addr().(*net.TCPAddr).Port))
	m := newMachine(b)
	for i := range pods {
		m.run(fmt.Sprintf("p%d", i), []string{"sleep"}, func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{PeriodSeconds: int32(period / time.Second), ProbeHandler: corev1.ProbeHandler{
				HTTPGet: &corev1.HTTPGetAction{Path: fmt.Sprintf("/p%d", i), Port: port}}}
		})
	}
	for i := range pods {
		m.wait(fmt.Sprintf("p%d", i), running)
	}
	b.ResetTimer()
	begin := time.Now()
	for b.Loop() {
		time.Sleep(period)
	}
	late := seen.late(begin, period)
	require.NotEmpty(b, late, "at least three rounds are needed: -benchtime 10x")
	b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "ms-p99")
	b.ReportMetric(float64(late[len(late)-1].Microseconds())/1000, "ms-max")
}
