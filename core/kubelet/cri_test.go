package kubelet_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/runtime/criclient"
	"github.com/klab-project/klab/core/runtime/criserver"
)

// overCRI puts the CRI between the kubelet and the runtime: the real gRPC
// protocol over a unix socket, streams over their URLs.
func overCRI(m *machine, rt runtime.Runtime) runtime.Runtime {
	dir, err := os.MkdirTemp("", "klab-cri-")
	require.NoError(m.t, err)
	streams, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(m.t, err)
	ctx, stop := context.WithCancel(m.ctx)
	served := make(chan error, 1)
	socket := filepath.Join(dir, "cri.sock")
	go func() {
		served <- criserver.Serve(ctx, criserver.Config{Runtime: rt, Socket: socket, Streams: []net.Listener{streams}})
	}()
	client, err := criclient.Dial(m.ctx, "unix://"+socket)
	require.NoError(m.t, err)
	m.t.Cleanup(func() {
		client.Close()
		stop()
		require.NoError(m.t, <-served)
		require.NoError(m.t, os.RemoveAll(dir))
	})
	return client
}

// A kubelet whose runtime is at the other end of the CRI does what it does
// with one of its own.
func TestRealPodOverTheCRI(t *testing.T) {
	m := newMachine(t, overCRI)
	m.run("p", []string{"sleep"})
	m.run("says", []string{"echo", "hello"}, never)
	m.run("fails", []string{"exit", "3"}, never)
	m.run("nowhere", []string{"sleep"}, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "127.0.0.1:1/none:1" })
	m.run("badname", []string{"sleep"}, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "NO:NAME" })

	pod := m.wait("p", running)
	require.Contains(t, pod.Status.ContainerStatuses[0].ContainerID, "klab-rt://")
	out, err := m.exec("p", "/bin/tool", "read", "/etc/hosts")
	require.NoError(t, err)
	require.Contains(t, out, "10.244.1.2\tp")
	_, err = m.exec("p", "/bin/tool", "exit", "7")
	var exit utilexec.CodeExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.Code)

	m.wait("says", over)
	require.Contains(t, m.logs("says", corev1.PodLogOptions{}), "hello")
	pod = m.wait("fails", over)
	require.EqualValues(t, 3, pod.Status.ContainerStatuses[0].State.Terminated.ExitCode)
	require.Equal(t, "Error", pod.Status.ContainerStatuses[0].State.Terminated.Reason)
	m.wait("nowhere", waits("ErrImagePull", "ImagePullBackOff"))
	m.wait("badname", waits("InvalidImageName"))

	for _, name := range []string{"p", "says", "fails", "nowhere", "badname"} {
		require.NoError(t, m.client.CoreV1().Pods("default").Delete(m.ctx, name, metav1.DeleteOptions{}))
	}
	require.Eventually(t, func() bool {
		list, err := m.client.CoreV1().Pods("default").List(m.ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0
	}, time.Minute, 20*time.Millisecond)
	left, err := m.node.Runtime.ListPodSandbox(m.ctx)
	require.NoError(t, err)
	require.Empty(t, left)
}

// waits tells whether the pod's container waits for one of these reasons.
func waits(reasons ...string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		if p == nil || len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
			return false
		}
		for _, r := range reasons {
			if p.Status.ContainerStatuses[0].State.Waiting.Reason == r {
				return true
			}
		}
		return false
	}
}

// Port-forward goes through three streams: to the API server, to the kubelet,
// and over the runtime's URL to the pod.
func TestRealPortForwardOverTheCRI(t *testing.T) {
	m := newMachine(t, overCRI)
	m.run("web", []string{"serve", "8080"})
	m.wait("web", running)
	require.Contains(t, m.firstLine("web"), "ready")
	req := m.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("web").SubResource("portforward")
	transport, upgrader, err := spdy.RoundTripperFor(m.config)
	require.NoError(t, err)
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, req.URL())
	stop, ready := make(chan struct{}), make(chan struct{})
	forward, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080"}, stop, ready, nil, nil)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- forward.ForwardPorts() }()
	<-ready
	ports, err := forward.GetPorts()
	require.NoError(t, err)
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local), time.Minute)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "hello\n", string(answer))
	close(stop)
	require.NoError(t, <-ended)
}

// firstLine waits for the pod's first line.
func (m *machine) firstLine(pod string) string {
	logs, err := m.client.CoreV1().Pods("default").GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(m.ctx)
	require.NoError(m.t, err)
	defer logs.Close()
	line, err := bufio.NewReader(logs).ReadString('\n')
	require.NoError(m.t, err)
	return line
}
