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

// Use is how a container that is about to be made comes to its devices; their
// plugins are told before, if they want to know. Nil: it has none.
func (d *Devices) Use(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*Use, error) {
	given := d.grantsOf(pod.UID, c.Name)
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Limits)) {
		q := c.Resources.Limits[name]
		if q.IsZero() || !d.Has(name) {
			continue
		}
		if err := d.beforeStart(ctx, pod.UID, c.Name, string(name)); err != nil {
			return nil, err
		}
		if _, ok := given[string(name)]; !ok { // its plugin came after the pod was admitted
			if err := d.Take(ctx, pod); err != nil {
				return nil, err
			}
			given = d.grantsOf(pod.UID, c.Name)
		}
	}
	if len(given) == 0 {
		return nil, nil
	}
	return use(given), nil
}

func (d *Devices) beforeStart(ctx context.Context, uid types.UID, container, resource string) error {
	d.mu.Lock()
	o := d.resources[resource]
	var p *plugin
	if o != nil {
		p = o.primary
	}
	g, ok := d.given[uid][container][resource]
	d.mu.Unlock()
	switch {
	case o == nil:
		return fmt.Errorf("endpoint not found in cache for a registered resource: %s", resource)
	case p == nil || !p.options.GetPreStartRequired():
		return nil
	case !ok:
		return fmt.Errorf("no devices found allocated in local cache for pod %s, container %s, resource %s", uid, container, resource)
	}
	if err := p.preStart(ctx, sets.List(g.ids())); err != nil {
		return fmt.Errorf("device plugin PreStartContainer rpc failed with err: %w", err)
	}
	return nil
}

// Free takes back what a pod had.
func (d *Devices) Free(uid types.UID) error {
	d.mu.Lock()
	_, had := d.given[uid]
	delete(d.given, uid)
	d.mu.Unlock()
	if !had {
		return nil
	}
	return d.save()
}

// Pods are those that have devices.
func (d *Devices) Pods() []types.UID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.given))
}
