package kubelet_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// answers is a server that is healthy or not; it wants the header that the
// probe has and redirects /moved to another host.
func answers(t *testing.T, secure bool, healthy *atomic.Bool) intstr.IntOrString {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "http://example.invalid/", http.StatusFound)
		case r.Header.Get("X-Who") != "probe" || r.Host != "web.local" || r.UserAgent() != "kube-probe/1.37":
			w.WriteHeader(http.StatusTeapot)
		case !healthy.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	return intstr.FromInt32(int32(port))
}

// Probes by http, https, tcp and grpc reach real servers from the node's
// network, and what they find is the pod's readiness.
func TestRealProbes(t *testing.T) {
	m := newMachine(t)
	var healthy atomic.Bool
	get := func(scheme corev1.URIScheme, port intstr.IntOrString, path string) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Scheme: scheme, Port: port, Path: path,
			HTTPHeaders: []corev1.HTTPHeader{{Name: "X-Who", Value: "probe"}, {Name: "Host", Value: "web.local"}}}}
	}
	plain, secure := answers(t, false, &healthy), answers(t, true, &healthy)

	listen, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	state := health.NewServer()
	state.SetServingStatus("db", healthv1.HealthCheckResponse_NOT_SERVING)
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, state)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listen) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	port := int32(listen.Addr().(*net.TCPAddr).Port)
	db := "db"

	probes := map[string]corev1.ProbeHandler{
		"http": get(corev1.URISchemeHTTP, plain, "/healthz"), "https": get(corev1.URISchemeHTTPS, secure, "healthz"),
		"grpc": {GRPC: &corev1.GRPCAction{Port: port, Service: &db}},
	}
	words := map[string]string{"http": "HTTP probe failed with statuscode: 503", "https": "HTTP probe failed with statuscode: 503",
		"grpc": `service unhealthy (responded with "NOT_SERVING")`}
	probed := func(h corev1.ProbeHandler) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: h, PeriodSeconds: 1, FailureThreshold: 1}
		}
	}
	for name, h := range probes {
		m.run(name, []string{"sleep"}, probed(h))
	}
	m.run("tcp", []string{"sleep"}, probed(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}}))
	m.run("moved", []string{"sleep"}, probed(get(corev1.URISchemeHTTP, plain, "/moved")))
	m.wait("tcp", running)
	m.wait("moved", running)
	for name := range probes {
		require.Eventually(t, func() bool { return strings.Contains(m.events(name), "Readiness probe failed: "+words[name]) }, waitTime, waitTick, name)
		pod, err := m.client.CoreV1().Pods("default").Get(m.ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		require.False(t, pod.Status.ContainerStatuses[0].Ready)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(m.events("moved"), "Readiness probe warning: Probe terminated redirects")
	}, waitTime, waitTick)

	healthy.Store(true)
	state.SetServingStatus("db", healthv1.HealthCheckResponse_SERVING)
	for name := range probes {
		m.wait(name, running)
	}
}

// events are the messages of a pod's events, a line each.
func (m *machine) events(name string) string {
	list, err := m.client.CoreV1().Events("default").List(m.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	require.NoError(m.t, err)
	var b strings.Builder
	for _, e := range list.Items {
		b.WriteString(e.Reason + ": " + e.Message + "\n")
	}
	return b.String()
}
