package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	endpointproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/discovery"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

// proxied are the resources with a subresource proxy: whatever is sent to it
// goes on to a node, a pod, or a pod of a service.
// Source: https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
func proxied(p *path) bool {
	if p.Group != "" || p.Sub != "proxy" {
		return false
	}
	return p.Resource == "nodes" || p.Resource == "pods" || p.Resource == "services"
}

// proxyVerb is what roles call a request to a proxy: its method alone decides,
// whatever the query says.
// Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
func proxyVerb(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	case http.MethodGet, http.MethodHead:
		return "get"
	}
	return ""
}

// podTransport reaches pods, and nodes on other ports than the kubelet's. Like
// upstream's it does not ask who answers, and shows nobody a certificate.
func (s *Server) podTransport() *http.Transport {
	return &http.Transport{
		DialContext: s.cfg.DialNode, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // pods have certificates of their own making
	}
}

// proxy finds out where the request goes on to; the answer comes from there.
func (r *request) proxy(ctx context.Context) error {
	switch r.http.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions:
	default:
		return apierrors.NewMethodNotSupported(r.path.groupResource(), strings.ToLower(r.http.Method))
	}
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(r.path.Name)
	if !valid {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", r.resource.Singular, r.path.Name))
	}
	location, transport := &url.URL{Scheme: scheme}, r.server.pods
	var err error
	switch r.path.Resource {
	case "nodes":
		location, transport, err = r.proxyNode(ctx, scheme, name, port)
	case "pods":
		location.Host, err = r.proxyPod(ctx, name, port)
	default:
		location.Host, err = r.proxyService(ctx, name, port)
	}
	if err != nil {
		return err
	}
	location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, r.proxyPath())
	r.note(ctx, "go on to %s", location)
	r.hijack = func(_ context.Context, w http.ResponseWriter) {
		withoutCredentials(r.http.Header)
		proxy.NewUpgradeAwareHandler(location, transport, true, false, r).ServeHTTP(w, r.http)
	}
	return nil
}

// withoutCredentials drops what says who the client is: that is this server's
// business, and nobody's behind it.
func withoutCredentials(h http.Header) {
	h.Del("Authorization")
	for name := range h {
		if strings.HasPrefix(name, "Impersonate-") {
			h.Del(name)
		}
	}
}

// proxyPath is what follows …/proxy in the URL; without even a slash there is
// nothing, and the client is sent to …/proxy/.
func (r *request) proxyPath() string {
	path := strings.Join(r.path.Rest, "/")
	if path != "" {
		path = "/" + path
	}
	if strings.HasSuffix(r.http.URL.Path, "/") && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path
}

func (r *request) proxyNode(ctx context.Context, scheme, name, port string) (*url.URL, *http.Transport, error) {
	row := api.Find(corev1.SchemeGroupVersion.WithResource("nodes"))
	if _, err := r.cache.get(ctx, row.Key("", name)); errors.Is(err, store.ErrNotFound) {
		return nil, nil, apierrors.NewNotFound(row.GR(), name)
	}
	kubelet, err := r.server.kubelet(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if port == "" || port == kubelet.Port() {
		return kubelet, r.server.kubelets, nil
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(kubelet.Hostname(), port)}, r.server.pods, nil
}

// proxyPod is the address of a pod; without a port it is the first one that
// its containers name.
func (r *request) proxyPod(ctx context.Context, name, port string) (string, error) {
	obj, err := r.server.lookup(ctx, corev1.SchemeGroupVersion.WithResource("pods"), r.path.Namespace, name)
	if err != nil {
		return "", err
	}
	pod := obj.(*core.Pod)
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; port == "" && len(ports) > 0 {
			port = strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	ip := ""
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	if parsed := net.ParseIP(ip); parsed == nil || !parsed.IsGlobalUnicast() {
		return "", apierrors.NewBadRequest("address not allowed")
	}
	if port == "" {
		return ip, nil
	}
	return net.JoinHostPort(ip, port), nil
}

// proxyService is the address of a ready pod of a service.
func (r *request) proxyService(ctx context.Context, name, port string) (string, error) {
	if number, err := strconv.ParseInt(port, 10, 64); err == nil {
		obj, err := r.server.lookup(ctx, corev1.SchemeGroupVersion.WithResource("services"), r.path.Namespace, name)
		if err != nil {
			return "", err
		}
		found := false
		for _, p := range obj.(*core.Service).Spec.Ports {
			if int64(p.Port) == number {
				port, found = p.Name, true
				break
			}
		}
		if !found {
			return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
		}
	}
	slices, err := r.slicesOf(ctx, name)
	if err != nil {
		return "", err
	}
	return endpointproxy.RandomEndpoint(name, slices, port, corev1.IPv4Protocol, func(e *discoveryv1.Endpoint) bool { return r.isPod(ctx, e) })
}

func (r *request) slicesOf(ctx context.Context, service string) ([]*discoveryv1.EndpointSlice, error) {
	row := api.Find(discoveryv1.SchemeGroupVersion.WithResource("endpointslices"))
	found, err := r.server.cachers[row.Prefix].list(ctx, &selection{row: row, prefix: row.KeyPrefix(r.path.Namespace)}, store.ListOptions{})
	if err != nil {
		return nil, storeError(err)
	}
	var slices []*discoveryv1.EndpointSlice
	for _, e := range found.entries {
		if e.obj.(*discovery.EndpointSlice).Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		obj, err := row.ToVersioned(e.obj)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		slices = append(slices, obj.(*discoveryv1.EndpointSlice))
	}
	return slices, nil
}

// isPod tells whether an endpoint is a pod of the namespace: who may write
// endpoints is not to reach any address from here.
func (r *request) isPod(ctx context.Context, e *discoveryv1.Endpoint) bool {
	if e.TargetRef == nil || e.TargetRef.Namespace != r.path.Namespace {
		return false
	}
	obj, err := r.server.lookup(ctx, corev1.SchemeGroupVersion.WithResource("pods"), r.path.Namespace, e.TargetRef.Name)
	if err != nil {
		return false
	}
	for _, ip := range obj.(*core.Pod).Status.PodIPs {
		if ip.IP == e.Addresses[0] {
			return true
		}
	}
	return false
}
