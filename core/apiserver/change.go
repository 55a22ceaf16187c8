package apiserver

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

// change writes another object on behalf of the request, such as the budget
// that an eviction uses up: edit gets its latest state and changes it. It is a
// commit of its own. A conflict is tried again.
func (r *request) change(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string, edit func(runtime.Object) error) error {
	row := api.Find(gvr)
	c, key := r.server.cachers[row.Prefix], row.Key(namespace, name)
	for range attempts {
		e, err := c.get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return apierrors.NewNotFound(row.GR(), name)
		} else if err != nil {
			return storeError(err)
		}
		obj := e.obj.DeepCopyObject()
		if err := edit(obj); err != nil {
			return err
		}
		err = r.changed(ctx, row, e, obj)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return apierrors.NewTimeoutError(fmt.Sprintf("couldn't update %s %q due to conflicts", row.Kind, name), 10)
}

func (r *request) changed(ctx context.Context, row *api.Resource, e *entry, obj runtime.Object) error {
	value, err := row.EncodeStored(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	_, err = r.server.cachers[row.Prefix].write(ctx, e.key, func() (int64, error) {
		ctx, cancel := bounded(ctx)
		defer cancel()
		return r.server.cfg.Store.Put(ctx, e.key, value, e.rev)
	}, func(rev int64) {
		setRevision(obj, rev)
		r.committedOf(ctx, row, e.obj, obj, rev)
	})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return storeError(err)
	}
	return err
}
