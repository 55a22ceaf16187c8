package kubelet

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// serve is the kubelet's API: what the API server asks of a node.
func (k *Kubelet) serve(ctx context.Context) {
	server := &http.Server{
		Handler:           k.handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // streams are hijacked: no HTTP/2
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	listener := k.Listen
	if k.ServeTLS != nil {
		config := k.ServeTLS.Clone()
		config.ClientAuth, config.ClientCAs, config.NextProtos = tls.VerifyClientCertIfGiven, k.ClientCA, []string{"http/1.1"}
		listener = tls.NewListener(listener, config)
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		k.log.Error("the kubelet's API has ended", "err", err)
	}
}

func (k *Kubelet) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /pods", k.servePods)
	mux.HandleFunc("GET /configz", k.serveConfigz)
	mux.HandleFunc("GET /stats/summary", k.serveSummary)
	mux.HandleFunc("GET /metrics", k.serveOwnMetrics)
	mux.HandleFunc("GET /metrics/resource", k.serveResourceMetrics)
	mux.HandleFunc("GET /metrics/cadvisor", k.serveCadvisor)
	mux.HandleFunc("PUT /klab/pressure", k.servePressure)
	mux.HandleFunc("PUT /klab/network-check", k.serveNetworkCheck)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	for _, method := range []string{"GET", "POST"} {
		for _, pod := range []string{"{namespace}/{pod}", "{namespace}/{pod}/{uid}"} {
			mux.HandleFunc(method+" /exec/"+pod+"/{container}", k.serveExec)
			mux.HandleFunc(method+" /attach/"+pod+"/{container}", k.serveAttach)
			mux.HandleFunc(method+" /portForward/"+pod, k.servePortForward)
		}
	}
	return k.authorize(mux)
}

// authorize lets only those in who may do everything anyway: the API server
// and administrators.
func (k *Kubelet) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k.ServeTLS == nil {
			next.ServeHTTP(w, r)
			return
		}
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		who := r.TLS.PeerCertificates[0].Subject
		if who.CommonName != "kube-apiserver" && !slices.Contains(who.Organization, "system:masters") {
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource=proxy)", who.CommonName, r.Method), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// servePods answers with a PodList of what the node has, each with the status
// that the kubelet works with.
func (k *Kubelet) servePods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{}
	list.APIVersion, list.Kind = "v1", "PodList"
	for _, pod := range k.pods() {
		list.Items = append(list.Items, *pod)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// target finds the pod and the container that a request is about.
func (k *Kubelet) target(r *http.Request) (*podWorker, *corev1.Pod, *corev1.ContainerStatus, error) {
	namespace, name, container := r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")
	w := k.worker(namespace, name)
	if w == nil {
		return nil, nil, nil, fmt.Errorf("pod %q does not exist", namespace+"/"+name)
	}
	pod := w.current()
	if uid := r.PathValue("uid"); uid != "" && uid != string(pod.UID) {
		return nil, nil, nil, fmt.Errorf("pod %q has another uid than %s", namespace+"/"+name, uid)
	}
	status := w.published()
	if container == "" {
		return w, pod, nil, nil
	}
	for _, list := range [][]corev1.ContainerStatus{status.ContainerStatuses, status.InitContainerStatuses, status.EphemeralContainerStatuses} {
		if s := findStatus(list, container); s != nil {
			return w, pod, s, nil
		}
	}
	return nil, nil, nil, fmt.Errorf("container %q not found in pod %q", container, name)
}

// published is the status that the worker came to last.
func (w *podWorker) published() *corev1.PodStatus {
	w.writer.mu.Lock()
	want := w.writer.want
	w.writer.mu.Unlock()
	if want != nil {
		return want
	}
	return &w.current().Status
}
