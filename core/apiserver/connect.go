package apiserver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/proxy"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/klab-project/klab/core/api"
)

// kubeletPort is where a kubelet serves, if its node does not say otherwise.
const kubeletPort = 10250

// kubeletTransport reaches kubelets. It speaks HTTP/1.1, because that can be
// upgraded to a stream.
func (s *Server) kubeletTransport() *http.Transport {
	t := &http.Transport{DialContext: s.cfg.DialNode, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second}
	if s.cfg.KubeletTLS != nil {
		t.TLSClientConfig = s.cfg.KubeletTLS.Clone()
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	return t
}

// connect prepares proxy, log, exec, attach and portforward. For the latter it finds the container
// and the kubelet, which then answers through us.
func (r *request) connect(ctx context.Context) error {
	if r.path.Sub == "proxy" {
		return r.proxy(ctx)
	}
	if err := r.getObject(ctx); err != nil {
		return err
	}
	pod := r.object.(*core.Pod)
	if r.path.Sub == "log" {
		return r.connectLog(ctx, pod)
	}
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	location, err := r.server.kubelet(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	var options translator.Options
	if r.path.Sub == "portforward" {
		location.Path = fmt.Sprintf("/portForward/%s/%s", pod.Namespace, pod.Name)
		location.RawQuery = keep1(r.query, "ports").Encode()
	} else {
		container, err := containerOf(pod, r.query.Get("container"))
		if err != nil {
			return err
		}
		location.Path = fmt.Sprintf("/%s/%s/%s/%s", r.path.Sub, pod.Namespace, pod.Name, container)
		params, o := streamParameters(r.query)
		location.RawQuery, options = params.Encode(), o
	}
	r.note(ctx, "connect to %s", location.Host)
	r.hijack = func(_ context.Context, w http.ResponseWriter) { r.upgrade(w, location, options) }
	return nil
}

// keep1 is the one parameter of a query.
func keep1(query url.Values, name string) url.Values {
	if values, ok := query[name]; ok {
		return url.Values{name: values}
	}
	return url.Values{}
}

// streamParameters turns the parameters of exec and attach into a kubelet's.
func streamParameters(query url.Values) (url.Values, translator.Options) {
	params := url.Values{}
	on := func(name, kubelets string) bool {
		set, _ := strconv.ParseBool(query.Get(name))
		if set {
			params.Set(kubelets, "1")
		}
		return set
	}
	o := translator.Options{
		Stdin: on("stdin", core.ExecStdinParam), Stdout: on("stdout", core.ExecStdoutParam),
		Stderr: on("stderr", core.ExecStderrParam), Tty: on("tty", core.ExecTTYParam),
	}
	for _, c := range query["command"] {
		params.Add("command", c)
	}
	return params, o
}

// upgrade passes the connection on to the kubelet. Websockets, which a kubelet
// need not know, are translated into its SPDY streams here.
func (r *request) upgrade(w http.ResponseWriter, location *url.URL, options translator.Options) {
	transport := r.server.kubelets
	var handler http.Handler = proxy.NewUpgradeAwareHandler(location, transport, false, true, r)
	if r.path.Sub == "portforward" {
		handler = translator.NewTranslatingHandler(handler, translator.NewTunnelingHandler(handler), wsstream.IsWebSocketRequestWithTunnelingProtocol)
	} else {
		streams := translator.NewStreamTranslatorHandler(location, transport, 0, options)
		handler = translator.NewTranslatingHandler(handler, streams, wsstream.IsWebSocketRequestWithStreamCloseProtocol)
	}
	handler.ServeHTTP(w, r.http)
}

// Error implements proxy.ErrorResponder.
func (r *request) Error(w http.ResponseWriter, req *http.Request, err error) {
	r.code = int(asStatus(err).Code)
	r.server.writeError(w, req, err, r.header, nil)
}

// kubelet is the address of a node's kubelet.
func (s *Server) kubelet(ctx context.Context, node string) (*url.URL, error) {
	row := api.Find(corev1.SchemeGroupVersion.WithResource("nodes"))
	e, err := s.cachers[row.Prefix].get(ctx, row.Key("", node))
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("find node %s: %w", node, err))
	}
	n := e.obj.(*core.Node)
	port := int(n.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = kubeletPort
	}
	for _, a := range n.Status.Addresses {
		if a.Type == core.NodeInternalIP {
			scheme := "https"
			if s.cfg.KubeletTLS == nil {
				scheme = "http"
			}
			return &url.URL{Scheme: scheme, Host: net.JoinHostPort(a.Address, strconv.Itoa(port))}, nil
		}
	}
	return nil, apierrors.NewInternalError(fmt.Errorf("no preferred addresses found; known addresses: %v", n.Status.Addresses))
}

// containerOf checks the name of a container, or finds the only one.
func containerOf(pod *core.Pod, name string) (string, error) {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	switch {
	case name == "" && len(pod.Spec.Containers) == 1:
		return pod.Spec.Containers[0].Name, nil
	case name == "":
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, names))
	case !slices.Contains(names, name):
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	}
	return name, nil
}
