package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/controller/quota"
)

// charges are what requests under way will use up of quotas. What is used up
// already is what the stored objects say, not what a quota's status says: that
// is a controller's report, and comes late.
type charges struct {
	mu      sync.Mutex
	pending map[*charge]struct{}
}

// charge is one object that the cache does not have yet.
type charge struct {
	cache *cacher
	rev   int64          // of the stored object; 0 while the request is under way
	obj   runtime.Object // versioned: the new state
	old   runtime.Object // the state before, or nil
	in    string         // namespace
}

// resourceQuota refuses what would use more than a quota of the namespace has.
// Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota.
func (r *request) resourceQuota(context.Context) (string, error) {
	quotas := r.server.quotas(r.path.Namespace)
	if len(quotas) == 0 || !r.quotaCounts() {
		return "", nil
	}
	c := &charge{cache: r.cache, in: r.path.Namespace}
	var err error
	if c.obj, err = r.resource.ToVersioned(r.object); err != nil {
		return "", apierrors.NewInternalError(err)
	}
	if r.current != nil {
		if c.old, err = r.resource.ToVersioned(r.current.obj); err != nil {
			return "", apierrors.NewInternalError(err)
		}
	}
	book := &r.server.charges
	book.mu.Lock()
	defer book.mu.Unlock()
	delete(book.pending, r.charge) // an earlier attempt of this request
	r.charge = nil
	var names []string
	for _, q := range quotas {
		counted, err := r.fits(q, c)
		if err != nil {
			return "", apierrors.NewForbidden(r.resource.GR(), r.about.Name, err)
		}
		if counted {
			names = append(names, q.Name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	if book.pending == nil {
		book.pending = map[*charge]struct{}{}
	}
	book.pending[c] = struct{}{}
	r.charge = c
	return "counts for " + strings.Join(names, ", "), nil
}

// quotaCounts tells whether the write may change what is used up.
func (r *request) quotaCounts() bool {
	if r.isDeletion() || r.result != nil || !r.resource.Namespaced {
		return false
	}
	if r.creates {
		return r.path.Sub == ""
	}
	switch pod, _ := r.object.(*core.Pod); {
	case r.resource.GR().String() == "services":
		return r.path.Sub == ""
	case pod == nil || r.current == nil:
		return false
	case r.path.Sub == "resize":
		return true
	default:
		deadline := func(p *core.Pod) bool { return p.Spec.ActiveDeadlineSeconds != nil }
		return r.path.Sub == "" && deadline(pod) != deadline(r.current.obj.(*core.Pod))
	}
}

// fits tells whether an object counts for a quota, or why it does not fit.
// The caller holds the lock of the charges.
func (r *request) fits(q *corev1.ResourceQuota, c *charge) (bool, error) {
	gr, now := r.resource.GR(), r.server.now()
	if !quota.Matches(q, gr, c.obj) {
		return false, nil
	}
	names := quota.Names(gr, q.Spec.Hard)
	if pod, ok := c.obj.(*corev1.Pod); ok {
		if err := quota.Missing(pod, names); err != nil {
			return false, fmt.Errorf("failed quota: %s: %w", q.Name, err)
		}
	}
	more := quota.Usage(gr, c.obj, now)
	if c.old != nil && quota.Matches(q, gr, c.old) {
		more = quota.Rise(more, quota.Usage(gr, c.old, now))
	}
	if more = quota.Mask(quota.Rise(more, nil), names); len(more) == 0 {
		return false, nil
	}
	used, err := r.usedUp(q, names)
	if err != nil {
		return false, err
	}
	return true, quota.Exceeds(q, used, more)
}

// usedUp counts the namespace's objects of the request's resource, and those
// on their way.
func (r *request) usedUp(q *corev1.ResourceQuota, names []corev1.ResourceName) (corev1.ResourceList, error) {
	gr, now := r.resource.GR(), r.server.now()
	used := corev1.ResourceList{}
	for _, name := range names {
		used[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	prefix := r.resource.KeyPrefix(r.path.Namespace)
	var entries []*entry
	r.cache.mu.Lock()
	seen := r.cache.rev
	for key, e := range r.cache.objects {
		if strings.HasPrefix(key, prefix) {
			entries = append(entries, e)
		}
	}
	r.cache.mu.Unlock()
	for _, e := range entries {
		obj, err := r.resource.ToVersioned(e.obj)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if quota.Matches(q, gr, obj) {
			used = quota.Add(used, quota.Mask(quota.Usage(gr, obj, now), names))
		}
	}
	for c := range r.server.charges.pending {
		switch {
		case c.cache != r.cache:
		case c.rev > 0 && c.rev <= seen:
			delete(r.server.charges.pending, c) // the cache knows better
		case c.in == r.path.Namespace && quota.Matches(q, gr, c.obj):
			more := quota.Usage(gr, c.obj, now)
			if c.old != nil && quota.Matches(q, gr, c.old) {
				more = quota.Rise(more, quota.Usage(gr, c.old, now))
			}
			used = quota.Add(used, quota.Mask(more, names))
		}
	}
	return used, nil
}

// quotas are those of a namespace, by name.
func (s *Server) quotas(namespace string) []*corev1.ResourceQuota {
	row := api.Find(corev1.SchemeGroupVersion.WithResource("resourcequotas"))
	var all []*corev1.ResourceQuota
	s.cachers[row.Prefix].each(func(e *entry) {
		if q := e.obj.(*core.ResourceQuota); q.Namespace != namespace || namespace == "" {
			return
		}
		if obj, err := row.ToVersioned(e.obj); err == nil {
			all = append(all, obj.(*corev1.ResourceQuota))
		}
	})
	slices.SortFunc(all, func(a, b *corev1.ResourceQuota) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// charged ends the request's charge: its object was stored at rev, or never
// will be if that is 0.
func (r *request) charged(rev int64) {
	if r.charge == nil {
		return
	}
	book := &r.server.charges
	book.mu.Lock()
	defer book.mu.Unlock()
	if r.charge.rev = rev; rev == 0 {
		delete(book.pending, r.charge)
	}
	r.charge = nil
}
