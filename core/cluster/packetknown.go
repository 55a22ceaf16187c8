package cluster

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// nameWatch keeps what the API says of addresses and chains while the tracer is
// armed, so that a packet costs no request.
type nameWatch struct {
	end    func()
	synced []cache.DoneChecker
	stores map[string]cache.Store

	changed atomic.Bool // since known was made
	mu      sync.Mutex
	known   *knownNames
}

// watchNames begins to watch; the caller calls end.
func watchNames(ctx context.Context, c kubernetes.Interface) *nameWatch {
	ctx, cancel := context.WithCancel(ctx)
	all := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithTransform(withoutFields))
	w := &nameWatch{stores: map[string]cache.Store{}, end: func() { cancel(); all.Shutdown() }}
	note := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { w.changed.Store(true) },
		UpdateFunc: func(any, any) { w.changed.Store(true) },
		DeleteFunc: func(any) { w.changed.Store(true) },
	}
	for name, i := range map[string]cache.SharedIndexInformer{
		"pods": all.Core().V1().Pods().Informer(), "services": all.Core().V1().Services().Informer(),
		"slices": all.Discovery().V1().EndpointSlices().Informer(), "nodes": all.Core().V1().Nodes().Informer(),
		"policies": all.Networking().V1().NetworkPolicies().Informer(), "namespaces": all.Core().V1().Namespaces().Informer(),
		"ranges": all.Networking().V1().ServiceCIDRs().Informer(),
	} {
		// It refuses handlers only when it has ended, and then it tells nothing.
		if told, err := i.AddEventHandler(note); err == nil {
			w.synced = append(w.synced, told.HasSyncedChecker())
		}
		w.stores[name] = i.GetStore()
	}
	all.StartWithContext(ctx)
	return w
}

// withoutFields leaves out what names do not need.
func withoutFields(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}

// names are those of now: as of the last change that was told.
func (w *nameWatch) names(ctx context.Context) (*knownNames, error) {
	if !cache.WaitFor(ctx, "", w.synced...) {
		return nil, context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed.Swap(false) || w.known == nil {
		w.known = &knownNames{
			pods: stored[*corev1.Pod](w.stores["pods"]), services: stored[*corev1.Service](w.stores["services"]),
			slices: stored[*discoveryv1.EndpointSlice](w.stores["slices"]), nodes: stored[*corev1.Node](w.stores["nodes"]),
			policies: stored[*networkingv1.NetworkPolicy](w.stores["policies"]), namespaces: stored[*corev1.Namespace](w.stores["namespaces"]),
			ranges: stored[*networkingv1.ServiceCIDR](w.stores["ranges"]),
		}
		w.known.index()
	}
	return w.known, nil
}

// stored is what a store has, in the order in which the API lists it.
func stored[T metav1.Object](s cache.Store) (list []T) {
	for _, x := range s.List() {
		if t, ok := x.(T); ok {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return list
}

// askNames asks the API for what it has this moment: for names that nobody was
// told of, because they are of this moment too.
func askNames(ctx context.Context, c kubernetes.Interface) (*knownNames, error) {
	pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	services, err := c.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	endpoints, err := c.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	policies, err := c.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	namespaces, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	ranges, err := c.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	k := &knownNames{namespaces: pointers(namespaces.Items), pods: pointers(pods.Items), services: pointers(services.Items), slices: pointers(endpoints.Items),
		nodes: pointers(nodes.Items), policies: pointers(policies.Items), ranges: pointers(ranges.Items)}
	k.index()
	return k, nil
}

func pointers[T any](items []T) (list []*T) {
	for i := range items {
		list = append(list, &items[i])
	}
	return list
}
