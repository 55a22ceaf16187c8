package apiserver

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/step"
)

// removal says whether commit removes the object instead of writing it.
type removal uint8

const (
	keep    removal = iota
	remove          // the object goes
	nothing         // all is as it should be, nothing is written
)

// decodeDeletion reads DeleteOptions from the body, or else from the query.
func (r *request) decodeDeletion(ctx context.Context) error {
	o := &metav1.DeleteOptions{}
	if len(r.body) > 0 {
		info, err := r.server.inputOf(r.http.Header.Get("Content-Type"))
		if err != nil {
			return err
		}
		kind := r.resource.GV().WithKind("DeleteOptions")
		obj, found, err := info.Serializer.Decode(r.body, &kind, nil)
		if runtime.IsNotRegisteredError(err) && found != nil && found.Kind == "DeleteOptions" {
			// In the group meta.k8s.io it is the same kind.
			obj, _, err = info.Serializer.Decode(r.body, &kind, o)
		}
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		decoded, ok := obj.(*metav1.DeleteOptions)
		if !ok {
			return apierrors.NewBadRequest("decoded object cannot be converted to DeleteOptions")
		}
		o = decoded
	} else if r.http.URL.RawQuery != "" {
		if err := r.parameters(o); err != nil {
			return err
		}
	}
	if errs := metavalidation.ValidateDeleteOptions(o); len(errs) > 0 {
		return apierrors.NewInvalid(optionsKind("DeleteOptions"), "", errs)
	}
	r.deletion = o
	r.options.dryRun = len(o.DryRun) > 0
	r.note(ctx, "%s", describe(o))
	return nil
}

func describe(o *metav1.DeleteOptions) string {
	grace, policy := "its own", "default"
	if o.GracePeriodSeconds != nil {
		grace = (time.Duration(*o.GracePeriodSeconds) * time.Second).String()
	}
	if o.PropagationPolicy != nil {
		policy = string(*o.PropagationPolicy)
	}
	return fmt.Sprintf("grace period: %s, propagation: %s", grace, policy)
}

// delete is the plan of a DELETE: the object goes at once, or it is marked
// because something has to happen first.
func (r *request) delete(context.Context) error {
	if r.current == nil {
		return r.notFound()
	}
	r.object = r.current.obj.DeepCopyObject()
	o := r.deletion.DeepCopy()
	how, err := r.resource.PrepareForDelete(r.object, o, r.server.now())
	if err != nil {
		return err
	}
	r.strict = false // on a conflict the options are looked at again
	switch how {
	case api.DeleteNow:
		r.deletes = remove
	case api.DeletePending:
		r.deletes = nothing
	}
	return nil
}

// deleteCollection deletes what a list selects, one object after the other:
// each goes through the stages from convert to commit.
func (r *request) deleteCollection(ctx context.Context) error {
	selected, err := r.list(ctx)
	if err != nil {
		return err
	}
	gone := []runtime.Object{}
	for _, e := range selected.entries {
		m, err := meta.Accessor(e.obj)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		one := *r
		one.path = new(*r.path)
		one.path.Verb, one.path.Name, one.path.Namespace = "delete", m.GetName(), m.GetNamespace()
		one.about, one.plan, one.retries = objectOf(r.resource, e.obj), (*request).delete, 0
		if err := one.processOnly(ctx, step.Convert, step.Admit, step.Validate, step.Commit); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		gone = append(gone, e.obj)
	}
	selected.entries = selected.entries[:0:0]
	for _, obj := range gone {
		selected.entries = append(selected.entries, &entry{obj: obj})
	}
	r.listed = selected
	return nil
}

// deletionStatus is the answer to a delete that removed the object, as clients
// of all kinds but a few expect it.
func (r *request) deletionStatus() runtime.Object {
	m, err := meta.Accessor(r.object)
	if err != nil {
		return nil
	}
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: m.GetName(), Group: r.resource.Group, Kind: r.resource.Name, UID: m.GetUID()},
	}
}
