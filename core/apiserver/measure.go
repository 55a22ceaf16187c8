package apiserver

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

// samples of some nodes, as far as their kubelets answered.
type samples map[string][2]*sample

// listMeasured asks what the selected nodes or pods use. What cannot be found
// out is left out, as upstream's metrics-server leaves it out.
func (r *request) listMeasured(ctx context.Context) (*listing, error) {
	_, sel, err := r.listOptions()
	if err != nil {
		return nil, err
	}
	sel.row = r.measuredRow()
	sel.prefix = sel.row.KeyPrefix(r.scope())
	found, err := r.server.cachers[sel.row.Prefix].list(ctx, sel, store.ListOptions{})
	if err != nil {
		return nil, storeError(err)
	}
	out := &listing{}
	taken := r.sample(ctx, found.entries)
	for _, e := range found.entries {
		if obj := r.server.measured(e.obj, taken); obj != nil {
			out.entries = append(out.entries, &entry{key: e.key, obj: obj})
		}
	}
	return out, nil
}

func (r *request) getMeasured(ctx context.Context) error {
	name, row := r.path.Name, r.measuredRow()
	if row.Namespaced {
		name = r.path.Namespace + "/" + name
	}
	notFound := apierrors.NewNotFound(metrics.Resource(strings.ToLower(r.resource.Kind)), name)
	e, err := r.server.cachers[row.Prefix].get(ctx, row.Key(r.scope(), r.path.Name))
	if errors.Is(err, store.ErrNotFound) {
		return notFound
	}
	if err != nil {
		return storeError(err)
	}
	if r.object = r.server.measured(e.obj, r.sample(ctx, []*entry{e})); r.object == nil {
		return notFound
	}
	return nil
}

// measuredRow is the resource whose objects are measured.
func (r *request) measuredRow() *api.Resource {
	return api.Find(corev1.SchemeGroupVersion.WithResource(r.resource.Name))
}

// sample asks the kubelets of nodes, or of pods, all at once.
func (r *request) sample(ctx context.Context, of []*entry) samples {
	nodes := map[string][]string{} // with the pods in question
	for _, e := range of {
		switch o := e.obj.(type) {
		case *core.Node:
			nodes[o.Name] = nil
		case *core.Pod:
			if o.Spec.NodeName != "" && o.Status.Phase == core.PodRunning {
				nodes[o.Spec.NodeName] = append(nodes[o.Spec.NodeName], o.Namespace+"/"+o.Name)
			}
		}
	}
	r.note(ctx, "ask the kubelets of %s", strings.Join(slices.Sorted(maps.Keys(nodes)), ", "))
	ctx, cancel := bounded(ctx)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	taken := samples{}
	for node, pods := range nodes {
		wg.Go(func() {
			prev, last, err := r.server.usage.take(ctx, node, pods, func(ctx context.Context) (*sample, error) { return r.askUsage(ctx, node) })
			if err != nil {
				r.server.cfg.Log.Warn("a kubelet does not say what its node uses", "node", node, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			taken[node] = [2]*sample{prev, last}
		})
	}
	wg.Wait()
	return taken
}

func (r *request) askUsage(ctx context.Context, node string) (*sample, error) {
	location, err := r.server.kubelet(ctx, node)
	if err != nil {
		return nil, err
	}
	location.Path = "/metrics/resource"
	answer, err := r.askKubelet(ctx, location)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	return parseSample(answer.Body)
}

// measured is what a node or a pod uses, or nil.
func (s *Server) measured(obj runtime.Object, taken samples) runtime.Object {
	meta := func(m metav1.ObjectMeta) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, Labels: m.Labels, CreationTimestamp: metav1.NewTime(s.now())}
	}
	switch o := obj.(type) {
	case *core.Node:
		two, ok := taken[o.Name]
		if !ok {
			return nil
		}
		used, window, ok := used(two[0].node, two[1].node)
		if !ok {
			return nil
		}
		return &metrics.NodeMetrics{ObjectMeta: meta(o.ObjectMeta), Timestamp: metav1.NewTime(two[1].node.at), Window: metav1.Duration{Duration: window}, Usage: used}
	case *core.Pod:
		two, ok := taken[o.Spec.NodeName]
		if !ok {
			return nil
		}
		m := &metrics.PodMetrics{ObjectMeta: meta(o.ObjectMeta)}
		if !podUsage(m, two[0].pods[o.Namespace+"/"+o.Name], two[1].pods[o.Namespace+"/"+o.Name]) {
			return nil
		}
		return m
	}
	return nil
}

// podUsage fills in the containers of a pod; it tells whether all of them are
// known. The time is that of the container that was looked at first.
func podUsage(m *metrics.PodMetrics, prev, last map[string]reading) bool {
	for name, now := range last {
		used, window, ok := used(prev[name], now)
		if !ok {
			return false
		}
		if m.Timestamp.IsZero() || now.at.Before(m.Timestamp.Time) {
			m.Timestamp, m.Window = metav1.NewTime(now.at), metav1.Duration{Duration: window}
		}
		m.Containers = append(m.Containers, metrics.ContainerMetrics{Name: name, Usage: used})
	}
	slices.SortFunc(m.Containers, func(a, b metrics.ContainerMetrics) int { return strings.Compare(a.Name, b.Name) })
	return len(last) > 0
}

// used is what there was between two readings.
func used(prev, last reading) (corev1.ResourceList, time.Duration, bool) {
	cores, window, ok := last.since(prev)
	if !ok {
		return nil, 0, false
	}
	cpu := resource.NewScaledQuantity(int64(math.Round(cores*1e9)), resource.Nano)
	return corev1.ResourceList{
		corev1.ResourceCPU: *cpu, corev1.ResourceMemory: *resource.NewQuantity(int64(last.memory), resource.BinarySI),
	}, window, true
}
