package kubelet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
)

// services are the cluster's, for the environment of containers.
type services struct {
	mu    sync.Mutex
	known map[string]*corev1.Service // by namespace/name
	told  chan struct{}              // closed when the first list has come
}

func newServices() *services {
	return &services{known: map[string]*corev1.Service{}, told: make(chan struct{})}
}

// watchServices follows them until ctx ends.
func (k *Kubelet) watchServices(ctx context.Context) {
	client := k.Client.CoreV1().Services(metav1.NamespaceAll)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (apiruntime.Object, error) {
			return client.List(ctx, o)
		},
		WatchFuncWithContext: client.Watch,
	}
	source := cache.ToListWatcherWithWatchListSemantics(lw, k.Client)
	cache.NewReflectorWithOptions(source, &corev1.Service{}, k.services, cache.ReflectorOptions{
		Backoff: &wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 8, Cap: 5 * time.Second},
	}).RunWithContext(ctx)
}

const servicesTimeout = 10 * time.Second

// errServices is upstream's.
var errServices = errors.New("services have not yet been read at least once, cannot construct envvars")

// visible are the services that a pod's containers have in their environment:
// those of its namespace, if it wants them, and default/kubernetes in any case
// but where its own namespace has one of that name.
func (s *services) visible(pod *corev1.Pod) []*corev1.Service {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	s.mu.Lock()
	defer s.mu.Unlock()
	byName := map[string]*corev1.Service{}
	for _, svc := range s.known {
		master := svc.Namespace == metav1.NamespaceDefault && svc.Name == "kubernetes"
		switch ip := svc.Spec.ClusterIP; {
		case ip == "" || ip == corev1.ClusterIPNone || len(svc.Spec.Ports) == 0:
		case svc.Namespace == pod.Namespace && links:
			byName[svc.Name] = svc
		case master && byName[svc.Name] == nil:
			byName[svc.Name] = svc
		}
	}
	var list []*corev1.Service
	for _, svc := range byName {
		list = append(list, svc)
	}
	slices.SortFunc(list, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// wait waits for the first list of services, but not for long: whoever started
// a container without them would start it wrong.
func (s *services) wait(ctx context.Context, k *Kubelet, pod *corev1.Pod) error {
	over := make(chan struct{})
	select {
	case <-s.told:
		return nil
	default:
	}
	timer := k.after(servicesTimeout, pod, true, func(uint64) { close(over) })
	defer timer.Stop()
	select {
	case <-s.told:
		return nil
	case <-over:
	case <-ctx.Done():
	}
	return errServices
}

// serviceVariables are the variables by which containers find services.
// ("Service", "Environment variables".)
func serviceVariables(list []*corev1.Service) []corev1.EnvVar {
	var vars []corev1.EnvVar
	add := func(name, value string) { vars = append(vars, corev1.EnvVar{Name: name, Value: value}) }
	for _, svc := range list {
		prefix := strings.ToUpper(strings.ReplaceAll(svc.Name, "-", "_"))
		ip := svc.Spec.ClusterIP
		add(prefix+"_SERVICE_HOST", ip)
		add(prefix+"_SERVICE_PORT", fmt.Sprint(svc.Spec.Ports[0].Port))
		for _, p := range svc.Spec.Ports {
			if p.Name != "" {
				add(prefix+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_")), fmt.Sprint(p.Port))
			}
		}
		for i, p := range svc.Spec.Ports {
			protocol := strings.ToLower(string(cmp.Or(p.Protocol, corev1.ProtocolTCP)))
			url := protocol + "://" + net.JoinHostPort(ip, fmt.Sprint(p.Port))
			if i == 0 {
				add(prefix+"_PORT", url)
			}
			port := fmt.Sprintf("%s_PORT_%d_%s", prefix, p.Port, strings.ToUpper(protocol))
			add(port, url)
			add(port+"_PROTO", protocol)
			add(port+"_PORT", fmt.Sprint(p.Port))
			add(port+"_ADDR", ip)
		}
	}
	return vars
}

// A reflector stores what it sees here.
var _ cache.ReflectorStore = (*services)(nil)

// Add is called with a service as it is now.
func (s *services) Add(obj any) error {
	svc := obj.(*corev1.Service)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[svc.Namespace+"/"+svc.Name] = svc
	return nil
}

// Update is Add.
func (s *services) Update(obj any) error { return s.Add(obj) }

// Delete is called when a service is gone.
func (s *services) Delete(obj any) error {
	svc := obj.(*corev1.Service)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, svc.Namespace+"/"+svc.Name)
	return nil
}

// Replace is called with all services.
func (s *services) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = map[string]*corev1.Service{}
	for _, obj := range list {
		svc := obj.(*corev1.Service)
		s.known[svc.Namespace+"/"+svc.Name] = svc
	}
	select {
	case <-s.told:
	default:
		close(s.told)
	}
	return nil
}

// Resync is not used.
func (s *services) Resync() error { return nil }
