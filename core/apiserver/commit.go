package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
)

// validate checks the new state, all of it.
func (r *request) validate(ctx context.Context) error {
	var warnings []string
	var err error
	switch {
	case r.isDeletion(), r.path.Sub == "binding", r.result != nil:
		return nil // what they change was checked when they did so
	case r.creates:
		warnings, err = r.resource.ValidateCreate(ctx, r.object)
	default:
		warnings, err = r.resource.ValidateUpdate(ctx, r.rules(), r.object, r.current.obj)
	}
	if err != nil {
		return err
	}
	if r.retries == 0 {
		r.warn(warnings...)
	}
	r.note(ctx, "valid")
	return nil
}

// commit makes the new state the store's. It is the only stage that changes
// anything outside the request.
func (r *request) commit(ctx context.Context) error {
	if r.result != nil {
		r.note(ctx, "nothing to store")
		return nil
	}
	m, err := meta.Accessor(r.object)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	key := r.resource.Key(m.GetNamespace(), m.GetName())
	if r.current != nil && r.deletes == keep && !r.isDeletion() && r.resource.DeletedByUpdate(r.object, r.current.obj) {
		r.deletes = remove
	}
	switch {
	case r.deletes == nothing:
		r.note(ctx, "nothing to do: it is being deleted already")
		return nil
	case r.deletes == remove:
		return r.commitRemoval(ctx, key, m.GetName())
	}
	if r.current != nil {
		r.keepManagedTimes()
	}
	value, err := r.resource.EncodeStored(r.object)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if r.current != nil && bytes.Equal(value, r.current.raw) {
		r.object = r.current.obj
		r.note(ctx, "no change: revision %d stays", r.current.rev)
		return nil
	}
	return r.commitValue(ctx, key, m.GetName(), value)
}

func (r *request) commitValue(ctx context.Context, key, name string, value []byte) error {
	var old runtime.Object
	expect, kind := int64(0), "created"
	if r.current != nil {
		old, expect, kind = r.current.obj, r.current.rev, "updated"
	}
	if r.creates {
		r.code = http.StatusCreated
	}
	if r.options.dryRun {
		r.note(ctx, "dry run: nothing is stored")
		if r.creates {
			return r.dryCreate(ctx, key, name)
		}
		return nil
	}
	held, err := r.holdAddresses(ctx, old)
	if err != nil {
		return err
	}
	rev, err := r.cache.write(ctx, key, func() (int64, error) {
		ctx, cancel := bounded(ctx)
		defer cancel()
		return r.server.cfg.Store.Put(ctx, key, value, expect)
	}, func(rev int64) {
		setRevision(r.object, rev)
		r.settle(rev)
		r.committed(ctx, old, r.object, rev)
	})
	if err != nil {
		r.releaseAddresses(ctx, held)
		return r.refused(ctx, err, key, name)
	}
	r.releaseUnused(ctx, old, r.object)
	r.note(ctx, "%s %s at revision %d, %d bytes", kind, key, rev, len(value))
	r.server.pruneEvents(ctx, r)
	return nil
}

func (r *request) commitRemoval(ctx context.Context, key, name string) error {
	if r.options.dryRun {
		r.note(ctx, "dry run: nothing is removed")
		return nil
	}
	rev, err := r.cache.write(ctx, key, func() (int64, error) {
		ctx, cancel := bounded(ctx)
		defer cancel()
		return r.server.cfg.Store.Delete(ctx, key, r.current.rev)
	}, func(rev int64) { r.committed(ctx, r.current.obj, nil, rev) })
	if err != nil {
		return r.refused(ctx, err, key, name)
	}
	r.releaseUnused(ctx, r.current.obj, nil)
	r.note(ctx, "removed %s at revision %d", key, rev)
	return nil
}

// committed records the commit while nobody has heard of it yet.
func (r *request) committed(ctx context.Context, old, obj runtime.Object, rev int64) {
	r.committedOf(ctx, r.cache.row, old, obj, rev)
}

func (r *request) committedOf(ctx context.Context, row *api.Resource, old, obj runtime.Object, rev int64) {
	if r.server.cfg.Lab == nil {
		return
	}
	about := obj
	if obj == nil {
		about = old
	}
	step.Committed(step.WithParent(ctx, r.step), objectOf(row, about), rev, step.Lazy(func() any { return r.server.commitDetail(row, old, obj) }))
}

// refused turns the store's refusal into the client's error, or into another
// attempt.
func (r *request) refused(ctx context.Context, err error, key, name string) error {
	switch {
	case errors.Is(err, store.ErrExists) && r.path.Verb == "create":
		if generated(r.sent) && r.retries < 8 {
			return errAgain
		}
		return r.exists(ctx, key, name)
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		if r.strict || r.retries >= attempts {
			return apierrors.NewConflict(r.resource.GR(), name, errOptimisticLock)
		}
		return errAgain
	}
	return storeError(err)
}

func generated(obj runtime.Object) bool {
	m, err := meta.Accessor(obj)
	return err == nil && m.GetName() == "" && m.GetGenerateName() != ""
}

// exists is the error for a name that is taken.
func (r *request) exists(ctx context.Context, key, name string) error {
	err := apierrors.NewAlreadyExists(r.resource.GR(), name)
	if generated(r.sent) {
		err = apierrors.NewGenerateNameConflict(r.resource.GR(), name, 1)
	}
	if e, getErr := r.cache.get(ctx, key); getErr == nil {
		if m, metaErr := meta.Accessor(e.obj); metaErr == nil && m.GetDeletionTimestamp() != nil {
			err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
		}
	}
	return err
}

func (r *request) dryCreate(ctx context.Context, key, name string) error {
	_, err := r.cache.get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return storeError(err)
	}
	return r.exists(ctx, key, name)
}

func setRevision(obj runtime.Object, rev int64) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetResourceVersion(strconv.FormatInt(rev, 10))
	}
}

// objectOf names an object in a step's words.
func objectOf(row *api.Resource, obj runtime.Object) step.Object {
	o := step.Object{Resource: row.GR().String()}
	if m, err := meta.Accessor(obj); err == nil {
		o.Namespace, o.Name, o.UID = m.GetNamespace(), m.GetName(), string(m.GetUID())
	}
	return o
}

// commitDetail is the merge patch from old to obj; either may be nil.
func (s *Server) commitDetail(row *api.Resource, old, obj runtime.Object) any {
	if obj == nil {
		return step.CommitDetail{Type: "delete"}
	}
	is, err := plainJSON(row, obj)
	if err != nil {
		return nil
	}
	if old == nil {
		return step.CommitDetail{Type: "create", Patch: is}
	}
	was, err := plainJSON(row, old)
	if err != nil {
		return nil
	}
	patch, err := jsonpatch.CreateMergePatch(was, is)
	if err != nil {
		return nil
	}
	return step.CommitDetail{Type: "update", Patch: patch}
}

// plainJSON is an object in its stored version, without managedFields.
func plainJSON(row *api.Resource, obj runtime.Object) ([]byte, error) {
	versioned, err := api.Scheme().UnsafeConvertToVersion(obj, row.Storage)
	if err != nil {
		return nil, err
	}
	m, err := meta.Accessor(versioned)
	if err != nil {
		return nil, err
	}
	m.SetManagedFields(nil) // the versioned object's metadata is its own
	return json.Marshal(versioned)
}

// bounded is how long the store may take. Time that a request is held does
// not count.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 10*time.Second)
}

// storeError says in the API's words what the store said.
func storeError(err error) error {
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		return err
	case errors.Is(err, store.ErrCompacted):
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	case errors.Is(err, store.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrTimeout):
		return apierrors.NewTimeoutError("the store did not answer in time", 1) // client-go asks again
	case errors.Is(err, store.ErrClosed):
		return apierrors.NewServiceUnavailable(err.Error())
	}
	return apierrors.NewInternalError(fmt.Errorf("store: %w", err))
}
