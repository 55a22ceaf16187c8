package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/topology"
)

// Exposed is a way from this machine's loopback into the lab.
type Exposed struct {
	To   netip.AddrPort // where packets are sent
	From string         // the namespace that they begin in: "outside", "control", "node-1"
	Via  string         // in words: "its load balancer", "node-1's port 30080"
	Host string         // the name that an Ingress wants to hear; empty: bytes are passed on as they are
	ns   string
}

// FindExposed looks up the way to what is named: "web", "svc/web", "pod/web" or
// "ingress/web" in a namespace. A Service is reached as an outside host reaches
// it: by its load balancer, else by a node port; one that has neither from a
// node. port is one of its ports, by name or number; empty: the first.
func FindExposed(ctx context.Context, d Dir, namespace, what, port string) (Exposed, error) {
	client, err := d.clientset()
	if err != nil {
		return Exposed{}, err
	}
	kind, name, ok := strings.Cut(what, "/")
	if !ok {
		kind, name = "svc", what
	}
	if own, behind, ok := strings.Cut(name, ":"); ok { // as "klab packet" takes it
		name = own
		port = cmp.Or(port, behind)
	}
	var e Exposed
	switch kind {
	case "svc", "service", "services":
		e, err = d.serviceWay(ctx, client, namespace, name, port)
	case "pod", "pods", "po":
		e, err = podWay(ctx, client, namespace, name, port)
	case "ingress", "ingresses", "ing":
		e, err = ingressWay(ctx, client, namespace, name)
	default:
		return e, fmt.Errorf("a Service, a pod or an Ingress can be exposed (svc/NAME, pod/NAME, ingress/NAME), not %q", what)
	}
	if apierrors.IsNotFound(err) {
		return e, fmt.Errorf("%w in namespace %s: \"klab kubectl get services,pods,ingresses -A\" lists what can be exposed", err, namespace)
	}
	if err != nil {
		return e, err
	}
	e.ns = filepath.Join(d.net(), e.From)
	if strings.HasPrefix(e.From, "node-") {
		e.ns = filepath.Join(d.nodeNS(e.From), "net")
	}
	return e, nil
}

func (d Dir) serviceWay(ctx context.Context, client kubernetes.Interface, namespace, name, port string) (Exposed, error) {
	svc, err := client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Exposed{}, err
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Protocol == corev1.ProtocolTCP && (port == "" || p.Name == port || strconv.Itoa(int(p.Port)) == port)
	})
	if i < 0 {
		var has []string
		for _, p := range svc.Spec.Ports {
			has = append(has, strings.TrimSpace(fmt.Sprintf("%s %d/%s", p.Name, p.Port, p.Protocol)))
		}
		if port == "" {
			return Exposed{}, fmt.Errorf("the Service %s has no port of TCP, and nothing else can be exposed: it has %s", name, listed(has))
		}
		return Exposed{}, fmt.Errorf("the Service %s has no TCP port %s: it has %s", name, port, listed(has))
	}
	p := svc.Spec.Ports[i]
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil {
			return Exposed{To: netip.AddrPortFrom(a, uint16(p.Port)), From: "outside", Via: "its load balancer"}, nil
		}
	}
	config, err := d.LoadConfig()
	if err != nil {
		return Exposed{}, err
	}
	for _, n := range config.numbers() {
		if d.isOff(nodeName(n)) {
			continue
		}
		if p.NodePort != 0 {
			at := nodeAddr(n)
			if slices.Index(svc.Spec.IPFamilies, corev1.IPv6Protocol) == 0 {
				at, _ = topology.Addrs6(n)
			}
			return Exposed{To: netip.AddrPortFrom(at, uint16(p.NodePort)), From: "outside", Via: fmt.Sprintf("port %d of %s", p.NodePort, nodeName(n))}, nil
		}
		if a, err := netip.ParseAddr(svc.Spec.ClusterIP); err == nil {
			return Exposed{To: netip.AddrPortFrom(a, uint16(p.Port)), From: nodeName(n), Via: "its cluster IP, from " + nodeName(n) + ": nobody outside can reach it"}, nil
		}
	}
	return Exposed{}, fmt.Errorf("the Service %s has neither a load balancer, nor a node port, nor a cluster IP; expose one of its pods", name)
}

func podWay(ctx context.Context, client kubernetes.Interface, namespace, name, port string) (Exposed, error) {
	pod, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Exposed{}, err
	}
	a, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil {
		return Exposed{}, fmt.Errorf("the pod %s has no address yet: it is %s", name, pod.Status.Phase)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		for _, c := range pod.Spec.Containers {
			for _, p := range c.Ports {
				if number == 0 && (port == "" || p.Name == port) {
					number = uint64(p.ContainerPort)
				}
			}
		}
	}
	if number == 0 {
		return Exposed{}, fmt.Errorf("the pod %s declares no such port: say which with --port N", name)
	}
	return Exposed{To: netip.AddrPortFrom(a, uint16(number)), From: "control", Via: "its own address, by the control plane's routes"}, nil
}

func ingressWay(ctx context.Context, client kubernetes.Interface, namespace, name string) (e Exposed, err error) {
	ing, err := client.NetworkingV1().Ingresses(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return e, err
	}
	for _, in := range ing.Status.LoadBalancer.Ingress {
		a, err := netip.ParseAddr(in.IP)
		if err != nil {
			continue
		}
		e = Exposed{To: netip.AddrPortFrom(a, 80), From: "outside", Via: "the Ingress controller's address"}
		for _, r := range ing.Spec.Rules {
			if r.Host != "" && !strings.HasPrefix(r.Host, "*") && e.Host == "" {
				e.Host = r.Host
			}
		}
		return e, nil
	}
	return e, fmt.Errorf("the Ingress %s has no address: no Ingress controller has taken it; \"klab addon ingress | klab kubectl apply -f -\" brings one", name)
}

// Serve carries connections of l into the lab until ctx ends; then l and all
// connections are closed.
func (e Exposed) Serve(ctx context.Context, l net.Listener) error {
	if e.Host != "" {
		return e.serveHTTP(ctx, l)
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	dial := netns.Dialer(e.ns)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() {
			defer c.Close()
			to, err := dial(ctx, "tcp", e.To.String())
			if err != nil {
				return // who asked sees that nobody answers
			}
			defer to.Close()
			defer context.AfterFunc(ctx, func() { c.Close(); to.Close() })()
			done := make(chan struct{})
			go func() { defer close(done); pass(to, c) }()
			pass(c, to)
			<-done
		})
	}
}

// pass carries bytes until from has no more, and says so.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// serveHTTP says the name that an Ingress knows instead of "127.0.0.1".
func (e Exposed) serveHTTP(ctx context.Context, l net.Listener) error {
	target := &url.URL{Scheme: "http", Host: e.To.String()}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = e.Host },
		Transport: &http.Transport{DialContext: netns.Dialer(e.ns)},
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 30 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
