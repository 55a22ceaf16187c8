package apiserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // client-go's port forwarder has this one's types
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	streamingportforward "k8s.io/cri-streaming/pkg/streaming/portforward"
	streamingcommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/klab-project/klab/core/apiserver"
)

// kubelet is a small one: its container echoes, and exits with 3.
type kubelet struct{}

func (kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "kube-apiserver" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch parts[0] {
	case "containerLogs":
		if r.URL.Query().Get("previous") == "true" {
			http.Error(w, "previous terminated container not found", http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s\n", r.URL.Path, r.URL.RawQuery)
		if r.URL.Query().Get("follow") == "true" {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	case "exec":
		options, err := streamingcommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		streamingcommand.ServeExec(w, r, kubelet{}, parts[2], "", parts[3], r.URL.Query()["command"], options, time.Minute, time.Minute,
			streamingcommand.SupportedStreamingProtocols)
	case "portForward":
		options, err := streamingportforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		streamingportforward.ServePortForward(w, r, kubelet{}, parts[2], "", options, time.Minute, time.Minute, streamingportforward.SupportedProtocols)
	default:
		http.NotFound(w, r)
	}
}

func (kubelet) ExecInContainer(_ context.Context, _, _, container string, cmd []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan streamingcommand.TerminalSize, _ time.Duration) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%s %v %s", container, cmd, text)
	return utilexec.CodeExitError{Err: fmt.Errorf("exit 3"), Code: 3}
}

func (kubelet) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	line, err := bufio.NewReader(stream).ReadString('\n')
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stream, "%d says %s", port, line)
	_ = stream.Close()
	return err
}

// withKubelet is a served lab with a pod "a" (two containers) on a node whose
// kubelet is there.
func withKubelet(t *testing.T) *served { return withNode(t, kubelet{}) }

// withNode is the same with another kubelet.
func withNode(t *testing.T, handler http.Handler) *served {
	t.Helper()
	ca := newAuthority(t)
	node := httptest.NewUnstartedServer(handler)
	node.TLS = &tls.Config{Certificates: []tls.Certificate{ca.server(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
	node.StartTLS()
	t.Cleanup(func() {
		node.CloseClientConnections()
		node.Close()
	})
	cert, key := ca.client(t, "kube-apiserver")
	pair, err := tls.X509KeyPair(cert, key)
	require.NoError(t, err)
	s := serve(t, func(cfg *apiserver.Config) {
		cfg.KubeletTLS = &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{pair}}
		cfg.DialNode = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "127.0.0.1:10250" {
				return nil, fmt.Errorf("no route to %s", addr)
			}
			return (&net.Dialer{}).DialContext(ctx, network, node.Listener.Addr().String())
		}
	})
	ctx, c := t.Context(), s.admin(t)
	n, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	_, err = c.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
	require.NoError(t, err)
	pod := newPod("a")
	pod.Spec.NodeName = "node-1"
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "d", Image: "x"})
	_, err = c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.CoreV1().Pods("default").Create(ctx, newPod("waiting"), metav1.CreateOptions{})
	require.NoError(t, err)
	return s
}

func TestLogs(t *testing.T) {
	s := withKubelet(t)
	c := client(t, s.as(t, "kubectl", "kubernetes-admin", "system:masters"))
	logs := func(pod string, o corev1.PodLogOptions) (string, error) {
		stream, err := c.CoreV1().Pods("default").GetLogs(pod, &o).Stream(t.Context())
		if err != nil {
			return "", err
		}
		defer func() { _ = stream.Close() }()
		text, err := io.ReadAll(stream)
		return string(text), err
	}
	text, err := logs("a", corev1.PodLogOptions{Container: "d", TailLines: new(int64(7)), Timestamps: true})
	require.NoError(t, err)
	require.Equal(t, "/containerLogs/default/a/d tailLines=7&timestamps=true\n", text)
	_, err = logs("a", corev1.PodLogOptions{})
	require.EqualError(t, err, "a container name must be specified for pod a, choose one of: [c d]")
	_, err = logs("a", corev1.PodLogOptions{Container: "e"})
	require.EqualError(t, err, "container e is not valid for pod a")
	_, err = logs("a", corev1.PodLogOptions{Container: "c", Previous: true})
	require.True(t, apierrors.IsBadRequest(err), err)
	require.ErrorContains(t, err, "previous terminated container not found")
	text, err = logs("waiting", corev1.PodLogOptions{})
	require.NoError(t, err)
	require.Empty(t, text)
	_, err = logs("nobody", corev1.PodLogOptions{})
	require.True(t, apierrors.IsNotFound(err))

	stream, err := c.CoreV1().Pods("default").GetLogs("a", &corev1.PodLogOptions{Container: "c", Follow: true}).Stream(t.Context())
	require.NoError(t, err)
	line, err := bufio.NewReader(stream).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "/containerLogs/default/a/c follow=true\n", line)
	require.NoError(t, stream.Close())
}

func TestLogsOverWebsockets(t *testing.T) {
	s := withKubelet(t)
	cfg := s.as(t, "kubectl", "kubernetes-admin", "system:masters")
	for pod, want := range map[string]string{"a": "/containerLogs/default/a/c \n", "waiting": ""} {
		address := strings.Replace(cfg.Host, "https:", "wss:", 1) + "/api/v1/namespaces/default/pods/" + pod + "/log?container=c"
		socket, err := websocket.NewConfig(address, "http://localhost")
		require.NoError(t, err)
		socket.TlsConfig, err = rest.TLSConfigFor(cfg)
		require.NoError(t, err)
		socket.Protocol = []string{"binary.k8s.io"}
		conn, err := websocket.DialConfig(socket)
		require.NoError(t, err)
		text, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		_ = conn.Close()
	}
}

func TestExec(t *testing.T) {
	s := withKubelet(t)
	cfg := s.as(t, "kubectl", "kubernetes-admin", "system:masters")
	request := client(t, cfg).CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("a").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "c", Command: []string{"cat", "-"}, Stdin: true, Stdout: true}, scheme.ParameterCodec)
	viaSPDY, err := remotecommand.NewSPDYExecutor(cfg, "POST", request.URL())
	require.NoError(t, err)
	viaWebsocket, err := remotecommand.NewWebSocketExecutor(cfg, "GET", request.URL().String())
	require.NoError(t, err)
	for _, executor := range []remotecommand.Executor{viaSPDY, viaWebsocket} {
		var out bytes.Buffer
		err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out})
		require.Equal(t, "c [cat -] hello", out.String())
		var exit utilexec.CodeExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 3, exit.Code)
	}
	kubectl := s.kubectl(t)
	out, err := kubectl("hello", "exec", "-i", "a", "-c", "c", "--", "cat")
	require.Error(t, err)
	require.Equal(t, "c [cat] hellocommand terminated with exit code 3\n", out)
	out, err = kubectl("", "exec", "waiting", "--", "cat")
	require.Error(t, err)
	require.Contains(t, out, "pod waiting does not have a host assigned")
}

func TestPortForward(t *testing.T) {
	s := withKubelet(t)
	cfg := s.as(t, "kubectl", "kubernetes-admin", "system:masters")
	url := client(t, cfg).CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("a").SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	require.NoError(t, err)
	viaSPDY := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", url)
	viaWebsocket, err := portforward.NewSPDYOverWebsocketDialer(url, cfg)
	require.NoError(t, err)
	for _, dialer := range []httpstream.Dialer{viaSPDY, viaWebsocket} {
		require.NoError(t, forward(t, portForwarder(t, dialer)))
	}
}

type forwarding struct {
	*portforward.PortForwarder
	ready, stop chan struct{}
}

func portForwarder(t *testing.T, dialer httpstream.Dialer) *forwarding {
	t.Helper()
	f := &forwarding{ready: make(chan struct{}), stop: make(chan struct{})}
	var err error
	f.PortForwarder, err = portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:80"}, f.stop, f.ready, io.Discard, io.Discard)
	require.NoError(t, err)
	return f
}

func forward(t *testing.T, f *forwarding) error {
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	select {
	case <-f.ready:
	case err := <-done:
		return err
	}
	ports, err := f.GetPorts()
	require.NoError(t, err)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
	require.NoError(t, err)
	_, err = fmt.Fprintln(conn, "hello")
	require.NoError(t, err)
	text, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "80 says hello\n", text)
	_ = conn.Close()
	close(f.stop)
	return <-done
}
