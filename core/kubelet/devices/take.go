package devices

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Take gives a pod's containers the devices that they ask for. What it has
// already stays. An error, in upstream's words, leaves the pod with nothing
// that it did not have before.
func (d *Devices) Take(ctx context.Context, pod *corev1.Pod) error {
	if !d.wanted(pod) {
		return nil
	}
	d.taking.Lock()
	defer d.taking.Unlock()
	d.mu.Lock()
	before := d.given[pod.UID]
	copied := map[string]map[string]grant{}
	for name, resources := range before {
		copied[name] = maps.Clone(resources)
	}
	d.mu.Unlock()
	if err := d.takeAll(ctx, pod); err != nil {
		d.mu.Lock()
		delete(d.given, pod.UID)
		if len(copied) > 0 {
			d.given[pod.UID] = copied
		}
		d.mu.Unlock()
		return err
	}
	return d.save()
}

// wanted tells whether the pod asks for any plugin's resource.
func (d *Devices) wanted(pod *corev1.Pod) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for name, q := range list[i].Resources.Limits {
				if !q.IsZero() && d.has(string(name)) {
					return true
				}
			}
		}
	}
	return false
}

// takeAll serves the containers in their order. What an init container has had
// the next ones may have again; what a sidecar has it keeps.
func (d *Devices) takeAll(ctx context.Context, pod *corev1.Pod) error {
	again := map[string]sets.Set[string]{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if err := d.takeFor(ctx, pod.UID, c, again); err != nil {
			return err
		}
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		for name, g := range d.grantsOf(pod.UID, c.Name) {
			if sidecar {
				again[name] = again[name].Difference(g.ids())
			} else {
				again[name] = again[name].Union(g.ids())
			}
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if err := d.takeFor(ctx, pod.UID, c, again); err != nil {
			return err
		}
		for name, g := range d.grantsOf(pod.UID, c.Name) {
			again[name] = again[name].Difference(g.ids())
		}
	}
	return nil
}

func (d *Devices) grantsOf(uid types.UID, container string) map[string]grant {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.given[uid][container])
}

func (d *Devices) takeFor(ctx context.Context, uid types.UID, c *corev1.Container, again map[string]sets.Set[string]) error {
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Limits)) {
		q := c.Resources.Limits[name]
		resource := string(name)
		if !d.Has(name) {
			continue
		}
		r := &request{d: d, uid: uid, container: c.Name, resource: resource, want: int(q.Value())}
		ids, err := r.choose(ctx, again[resource])
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			continue
		}
		if err := r.allocate(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

// request is what one container asks for of one resource.
type request struct {
	d                   *Devices
	uid                 types.UID
	container, resource string
	want                int
}

// choose finds devices: those that the container may have again, then those
// that the plugin would like best, then any. None are needed for nothing.
func (r *request) choose(ctx context.Context, again sets.Set[string]) (sets.Set[string], error) {
	d := r.d
	d.mu.Lock()
	has := d.given[r.uid][r.container][r.resource].ids()
	var healthy sets.Set[string]
	offered := d.resources[r.resource]
	if offered != nil {
		healthy = offered.healthy
	}
	used := d.given.of(r.resource)
	d.mu.Unlock()
	needed := r.want - len(has)
	switch {
	case len(has) > 0 && needed != 0:
		return nil, fmt.Errorf("pod %q container %q changed request for resource %q from %d to %d", r.uid, r.container, r.resource, len(has), r.want)
	case offered == nil:
		return nil, fmt.Errorf("cannot allocate unregistered device %s", r.resource)
	case len(healthy) == 0:
		return nil, fmt.Errorf("no healthy devices present; cannot allocate unhealthy devices %s", r.resource)
	case !healthy.IsSuperset(has):
		return nil, fmt.Errorf("previously allocated devices are no longer healthy; cannot allocate unhealthy devices %s", r.resource)
	case needed == 0:
		return nil, nil
	}
	chosen := sets.New(firstOf(again, needed)...)
	if needed -= len(chosen); needed == 0 {
		return chosen, nil
	}
	free := healthy.Difference(used)
	if len(free) < needed {
		return nil, fmt.Errorf("requested number of devices unavailable for %s. Requested: %d, Available: %d", r.resource, needed, len(free))
	}
	liked, err := r.preferred(ctx, free.Union(chosen), chosen)
	if err != nil {
		return nil, err
	}
	for _, from := range []sets.Set[string]{liked.Intersection(free), free} {
		chosen.Insert(firstOf(from.Difference(chosen), r.want-len(chosen))...)
	}
	return chosen, nil
}

func firstOf(ids sets.Set[string], n int) []string {
	list := sets.List(ids)
	return list[:min(max(n, 0), len(list))]
}

// preferred asks the plugin which of the free ones it would give, if it says
// that it has an opinion.
func (r *request) preferred(ctx context.Context, free, must sets.Set[string]) (sets.Set[string], error) {
	p, err := r.plugin()
	if err != nil {
		return nil, err
	}
	if !p.options.GetGetPreferredAllocationAvailable() {
		return nil, nil
	}
	ids, err := p.preferred(ctx, sets.List(free), sets.List(must), r.want)
	if err != nil {
		return nil, fmt.Errorf("device plugin GetPreferredAllocation rpc failed with err: %w", err)
	}
	return sets.New(ids...), nil
}

func (r *request) plugin() (*plugin, error) {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	o := r.d.resources[r.resource]
	if o == nil {
		return nil, fmt.Errorf("endpoint not found in cache for a registered resource: %s", r.resource)
	}
	if len(o.plugins) == 0 || o.primary == nil {
		return nil, fmt.Errorf("endpoint %s has been stopped", r.resource)
	}
	return o.primary, nil
}

// allocate tells the plugin, and notes what it answers.
func (r *request) allocate(ctx context.Context, ids sets.Set[string]) error {
	p, err := r.plugin()
	if err != nil {
		return err
	}
	answer, err := p.allocate(ctx, sets.List(ids))
	if err != nil {
		return err
	}
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	g := grant{devices: map[int64][]string{}, answer: answer}
	for _, id := range sets.List(ids) {
		nodes := []int64{noNode}
		if o := d.resources[r.resource]; o != nil && len(o.devices[id].GetTopology().GetNodes()) > 0 {
			nodes = nil
			for _, n := range o.devices[id].Topology.Nodes {
				nodes = append(nodes, n.ID)
			}
		}
		for _, n := range nodes {
			g.devices[n] = append(g.devices[n], id)
		}
	}
	d.given.add(r.uid, r.container, r.resource, g)
	return nil
}
