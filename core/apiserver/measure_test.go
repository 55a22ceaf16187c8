package apiserver_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/klab-project/klab/core/apiserver"
)

// meter is a kubelet that is looked at every two seconds: the node uses one
// and a half cores, container c a quarter of one, d an eighth.
type meter struct {
	asked   atomic.Int64
	restart atomic.Int64 // d began again before this look
	silent  atomic.Bool
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics/resource" || m.silent.Load() {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	n := m.asked.Add(1)
	at := time.Unix(1_700_000_000+2*n, 0).UnixMilli()
	started, since := 1_600_000_000, n
	if again := m.restart.Load(); again > 0 && n >= again {
		started, since = 1_700_000_000, n-again
	}
	_, _ = fmt.Fprintf(w, "# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total %v %d\nnode_memory_working_set_bytes 1048576 %d\n", 3*float64(n), at, at)
	_, _ = fmt.Fprintf(w, "container_cpu_usage_seconds_total{container=\"c\",namespace=\"default\",pod=\"a\"} %v %d\n", 0.5*float64(n), at)
	_, _ = fmt.Fprintf(w, "container_memory_working_set_bytes{container=\"c\",namespace=\"default\",pod=\"a\"} 2048 %d\n", at)
	_, _ = fmt.Fprintf(w, "container_start_time_seconds{container=\"c\",namespace=\"default\",pod=\"a\"} 1600000000\n")
	_, _ = fmt.Fprintf(w, "container_cpu_usage_seconds_total{container=\"d\",namespace=\"default\",pod=\"a\"} %v %d\n", 0.25*float64(since), at)
	_, _ = fmt.Fprintf(w, "container_memory_working_set_bytes{container=\"d\",namespace=\"default\",pod=\"a\"} 1024 %d\n", at)
	_, _ = fmt.Fprintf(w, "container_start_time_seconds{container=\"d\",namespace=\"default\",pod=\"a\"} %d\n", started)
}

func withMeter(t *testing.T) (*meter, *served, metricsclient.Interface) {
	m := &meter{}
	s := withNode(t, m)
	ctx, c := t.Context(), s.admin(t)
	pod, err := c.CoreV1().Pods("default").Get(ctx, "a", metav1.GetOptions{})
	require.NoError(t, err)
	pod.Status.Phase = corev1.PodRunning
	_, err = c.CoreV1().Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	client, err := metricsclient.NewForConfig(s.as(t, "kubectl", "kubernetes-admin", "system:masters"))
	require.NoError(t, err)
	return m, s, client
}

func TestUsageOfNodesAndPods(t *testing.T) {
	m, s, c := withMeter(t)
	ctx := t.Context()
	require.Zero(t, m.asked.Load(), "nobody wants to know yet")
	nodes, err := c.MetricsV1beta1().NodeMetricses().List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, nodes.Items, 1)
	node := nodes.Items[0]
	require.Equal(t, "node-1 1500m 1Mi 2s", fmt.Sprint(node.Name, " ", node.Usage.Cpu(), " ", node.Usage.Memory(), " ", node.Window.Duration))

	pods, err := c.MetricsV1beta1().PodMetricses("").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	require.NoError(t, err)
	require.Len(t, pods.Items, 1, "the other pod does not run")
	require.Equal(t, map[string]string{"app": "web"}, pods.Items[0].Labels)
	require.Equal(t, []string{"c 250m 2Ki", "d 125m 1Ki"}, usages(pods.Items[0]))
	pods, err = c.MetricsV1beta1().PodMetricses("default").List(ctx, metav1.ListOptions{LabelSelector: "app=db"})
	require.NoError(t, err)
	require.Empty(t, pods.Items)
	pod, err := c.MetricsV1beta1().PodMetricses("default").Get(ctx, "a", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"c 250m 2Ki", "d 125m 1Ki"}, usages(*pod))

	_, err = c.MetricsV1beta1().PodMetricses("default").Get(ctx, "waiting", metav1.GetOptions{})
	require.EqualError(t, err, `podmetrics.metrics.k8s.io "default/waiting" not found`)
	_, err = c.MetricsV1beta1().NodeMetricses().Get(ctx, "node-9", metav1.GetOptions{})
	require.EqualError(t, err, `nodemetrics.metrics.k8s.io "node-9" not found`)
	_, err = c.MetricsV1beta1().PodMetricses("default").Watch(ctx, metav1.ListOptions{})
	require.True(t, apierrors.IsMethodNotSupported(err), err)

	kubectl := s.kubectl(t)
	out, err := kubectl("", "get", "pods.metrics.k8s.io")
	require.NoError(t, err, out)
	require.Equal(t, "NAME   CPU    MEMORY   WINDOW\na      375m   3Ki      2s\n", out)
	out, err = kubectl("", "top", "pod", "--containers", "-A", "--sort-by=cpu")
	require.NoError(t, err, out)
	require.Regexp(t, `NAMESPACE +POD +NAME +CPU\(cores\) +MEMORY\(bytes\) *\ndefault +a +c +250m +0Mi *\ndefault +a +d +125m +0Mi`, out)
}

func usages(p metricsv1beta1.PodMetrics) []string {
	var all []string
	for _, c := range p.Containers {
		all = append(all, fmt.Sprint(c.Name, " ", c.Usage.Cpu(), " ", c.Usage.Memory()))
	}
	return all
}

func TestUsageAfterARestart(t *testing.T) {
	m, _, c := withMeter(t)
	m.restart.Store(2) // between the two looks that a rate takes
	pod, err := c.MetricsV1beta1().PodMetricses("default").Get(t.Context(), "a", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), pod)
	pod, err = c.MetricsV1beta1().PodMetricses("default").Get(t.Context(), "a", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"c 250m 2Ki", "d 125m 1Ki"}, usages(*pod))
}

func TestUsageOfASilentNode(t *testing.T) {
	m, s, c := withMeter(t)
	m.silent.Store(true)
	nodes, err := c.MetricsV1beta1().NodeMetricses().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, nodes.Items)
	out, err := s.kubectl(t)("", "top", "node")
	require.Error(t, err)
	require.Contains(t, out, "metrics not available yet")
}

func TestWhoMayViewMaySeeUsage(t *testing.T) {
	l := newLab(t, func(cfg *apiserver.Config) { cfg.Authorize = nil })
	_, err := l.admin(t).RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "eve"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:aggregated-metrics-reader"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "eve"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	list := func(cfg *rest.Config) error {
		c, err := metricsclient.NewForConfig(cfg)
		require.NoError(t, err)
		_, err = c.MetricsV1beta1().PodMetricses("default").List(t.Context(), metav1.ListOptions{})
		return err
	}
	require.Eventually(t, func() bool { return list(l.config("kubectl", "eve")) == nil }, waitFor, tick)
	require.True(t, apierrors.IsForbidden(list(l.config("kubectl", "mallory"))))
}
