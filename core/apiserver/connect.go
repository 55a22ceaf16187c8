package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/proxy"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
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

// connect prepares log, exec, attach and portforward: it finds the container
// and the kubelet, which then answers through us.
func (r *request) connect(ctx context.Context) error {
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

// connectLog streams a container's log from the kubelet.
func (r *request) connectLog(ctx context.Context, pod *core.Pod) error {
	o := &core.PodLogOptions{}
	if err := api.Parameters().DecodeParameters(r.query, corev1.SchemeGroupVersion, o); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if o.Stream == nil {
		o.Stream = new(core.LogStreamAll)
	}
	if errs := corevalidation.ValidatePodLogOptions(o, true); len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, pod.Name, errs)
	}
	container, err := containerOf(pod, o.Container)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" { // it has not said anything yet
		r.hijack = func(_ context.Context, w http.ResponseWriter) { w.Header().Set("Content-Type", "text/plain") }
		return nil
	}
	location, err := r.server.kubelet(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	location.Path = fmt.Sprintf("/containerLogs/%s/%s/%s", pod.Namespace, pod.Name, container)
	location.RawQuery = logParameters(o).Encode()
	r.note(ctx, "read from %s", location.Host)
	answer, err := r.askKubelet(ctx, location)
	if err != nil {
		return err
	}
	r.hijack = func(_ context.Context, w http.ResponseWriter) { relay(w, answer, o.Follow) }
	return nil
}

func logParameters(o *core.PodLogOptions) url.Values {
	params := url.Values{}
	number := func(name string, value *int64) {
		if value != nil {
			params.Set(name, strconv.FormatInt(*value, 10))
		}
	}
	for name, set := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if set {
			params.Set(name, "true")
		}
	}
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		params.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	if *o.Stream != core.LogStreamAll {
		params.Set("stream", *o.Stream)
	}
	return params
}

// askKubelet sends a GET; what is not a 200 becomes a Status.
func (r *request) askKubelet(ctx context.Context, location *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	answer, err := r.server.kubelets.RoundTrip(req)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 50_000))
	message := strings.TrimSpace(string(text))
	switch answer.StatusCode {
	case http.StatusInternalServerError:
		return nil, apierrors.NewInternalError(errors.New(message))
	case http.StatusBadRequest:
		return nil, apierrors.NewBadRequest(message)
	}
	gr := schema.GroupResource{Resource: "pods/log"}
	return nil, apierrors.NewGenericServerResponse(answer.StatusCode, "", gr, r.path.Name, message, 0, true)
}

// relay copies an answer; a followed log is sent on line by line.
func relay(w http.ResponseWriter, answer *http.Response, flush bool) {
	defer func() { _ = answer.Body.Close() }()
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	if flush {
		_ = control.Flush()
	}
	buffer := make([]byte, 32<<10)
	for {
		n, err := answer.Body.Read(buffer)
		if n > 0 {
			if _, writeErr := w.Write(buffer[:n]); writeErr != nil {
				return
			}
			if flush {
				_ = control.Flush()
			}
		}
		if err != nil {
			return
		}
	}
}
