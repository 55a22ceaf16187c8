package apiserver_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/apiserver"
)

// echo says what it was asked, and repeats what comes over a websocket.
func echo(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Upgrade") == "websocket":
		websocket.Handler(func(c *websocket.Conn) { _, _ = io.Copy(c, c) }).ServeHTTP(w, r)
	case r.URL.Path == "/teapot":
		http.Error(w, "short and stout", http.StatusTeapot)
	case r.URL.Path == "/moved":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	case r.URL.Path == "/page":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<a href="/next">next</a>`)
	default:
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %q auth=%q as=%q", r.Method, r.URL.RequestURI(), body, r.Header.Get("Authorization"), r.Header.Get("Impersonate-User"))
	}
}

// withBackend is a served lab whose pod "web" answers at 10.0.0.7:8080, behind
// service "front", port 80, which is called "http".
func withBackend(t *testing.T) *served {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(func() {
		backend.CloseClientConnections()
		backend.Close()
	})
	s := serve(t, func(cfg *apiserver.Config) {
		cfg.DialNode = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "10.0.0.7:8080" && addr != "10.0.0.1:8080" {
				return nil, fmt.Errorf("no route to %s", addr)
			}
			return (&net.Dialer{}).DialContext(ctx, network, backend.Listener.Addr().String())
		}
	})
	ctx, c := t.Context(), s.admin(t)
	node, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}
	_, err = c.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	require.NoError(t, err)
	pod := newPod("web")
	pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
	pod, err = c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	require.NoError(t, err)
	pod.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.7"}}
	pod.Status.PodIP = "10.0.0.7"
	_, err = c.CoreV1().Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	_, err = c.CoreV1().Pods("default").Create(ctx, newPod("new"), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "front"}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	slice := func(name, ip string, ref *corev1.ObjectReference) {
		_, err := c.DiscoveryV1().EndpointSlices("default").Create(ctx, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}, AddressType: discoveryv1.AddressTypeIPv4,
			Ports:     []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}, TargetRef: ref}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	slice("front", "10.0.0.7", &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"})
	slice("stranger", "10.0.0.9", nil)
	return s
}

func TestProxy(t *testing.T) {
	s := withBackend(t)
	client, err := rest.HTTPClientFor(s.as(t, "test", "kubernetes-admin", "system:masters"))
	require.NoError(t, err)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	const in = "/api/v1/namespaces/default"
	for _, c := range []struct {
		method, path, body string
		code               int
		answer             string // contained in it
	}{
		{"GET", in + "/pods/web/proxy/a/b?q=1", "", 200, `GET /a/b?q=1 ""`},
		{"GET", in + "/pods/web:8080/proxy/", "", 200, `GET / ""`},
		{"GET", in + "/pods/web/proxy/a/?watch=true", "", 200, `GET /a/?watch=true ""`},
		{"GET", in + "/pods/web/proxy/a//b", "", 200, `GET /a/b ""`},
		{"POST", in + "/pods/http:web:8080/proxy/x", "hello", 200, `POST /x "hello"`},
		{"PUT", in + "/services/front:http/proxy/x", "hello", 200, `PUT /x "hello"`},
		{"PATCH", in + "/services/front:80/proxy/x", "hello", 200, `PATCH /x "hello"`},
		{"DELETE", in + "/services/http:front:http/proxy/x", "", 200, `DELETE /x ""`},
		{"OPTIONS", in + "/services/front:http/proxy/x", "", 200, `OPTIONS /x ""`},
		{"GET", "/api/v1/nodes/node-1:8080/proxy/x", "", 200, `GET /x ""`},
		{"GET", in + "/pods/web/proxy/teapot", "", 418, "short and stout"},
		{"GET", in + "/pods/web/proxy", "", 301, ""},
		{"GET", in + "/pods/web/proxy/page", "", 200, `<a href="` + in + `/pods/web/proxy/next">`},
		{"GET", in + "/pods/web:9/proxy/", "", 503, "no route to 10.0.0.7:9"},
		{"GET", in + "/pods/new/proxy/", "", 400, "address not allowed"},
		{"GET", in + "/pods/nobody/proxy/", "", 404, `pods \"nobody\" not found`},
		{"GET", in + "/pods/ftp:web:1/proxy/", "", 400, `invalid pod request \"ftp:web:1\"`},
		{"GET", in + "/services/front:81/proxy/", "", 503, `no service port 81 found for service \"front\"`},
		{"GET", in + "/services/front/proxy/", "", 503, `no endpoints available for service \"front\"`},
		{"GET", in + "/services/stranger:http/proxy/", "", 503, `no endpoints available for service \"stranger\"`},
		{"GET", "/api/v1/nodes/node-7/proxy/", "", 404, `nodes \"node-7\" not found`},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, s.http.URL+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			answer, err := client.Do(req)
			require.NoError(t, err)
			defer func() { _ = answer.Body.Close() }()
			text, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.Equal(t, c.code, answer.StatusCode, "%s", text)
			require.Contains(t, string(text), c.answer)
		})
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.http.URL+in+"/pods/web/proxy/moved", nil)
	require.NoError(t, err)
	answer, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, in+"/pods/web/proxy/elsewhere", answer.Header.Get("Location"))
}

// Whom the API server knows is nobody's business behind it.
func TestProxyKeepsCredentials(t *testing.T) {
	s := withBackend(t)
	cfg := s.as(t, "test", "kubernetes-admin", "system:masters")
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "eve", Groups: []string{"system:masters"}}
	out, err := client(t, cfg).CoreV1().RESTClient().Get().Namespace("default").Resource("pods").Name("web").SubResource("proxy").Suffix("x").DoRaw(t.Context())
	require.NoError(t, err)
	require.Equal(t, `GET /x "" auth="" as=""`, string(out))
}

func TestProxyOfWebsockets(t *testing.T) {
	s := withBackend(t)
	cfg := s.as(t, "test", "kubernetes-admin", "system:masters")
	socket, err := websocket.NewConfig(strings.Replace(cfg.Host, "https:", "wss:", 1)+"/api/v1/namespaces/default/services/front:http/proxy/chat", "http://localhost")
	require.NoError(t, err)
	socket.TlsConfig, err = rest.TLSConfigFor(cfg)
	require.NoError(t, err)
	conn, err := websocket.DialConfig(socket)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, websocket.Message.Send(conn, "hello"))
	var back string
	require.NoError(t, websocket.Message.Receive(conn, &back))
	require.Equal(t, "hello", back)
}
