package apiserver

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/apis/autoscaling"

	"github.com/klab-project/klab/core/api"
)

// updateScale is the plan of a PUT of the scale subresource: the Scale's
// replicas become the object's.
func (r *request) updateScale(context.Context) error {
	scale, ok := r.sent.(*autoscaling.Scale)
	if !ok {
		return apierrors.NewBadRequest("expected a Scale")
	}
	return r.setScale(scale)
}

func (r *request) setScale(scale *autoscaling.Scale) error {
	if r.current == nil {
		return r.notFound()
	}
	r.object = r.current.obj.DeepCopyObject()
	setRevision(r.object, 0)
	if err := r.resource.SetScale(r.object, scale); err != nil {
		return err
	}
	return r.preconditions()
}

// patchScale is the plan of a PATCH of the scale subresource.
func (r *request) patchScale(context.Context) error {
	if r.patchType() == types.ApplyYAMLPatchType {
		return apierrors.NewBadRequest("server-side apply of the scale subresource is not supported: apply the object itself, or patch the scale")
	}
	if r.current == nil {
		return r.notFound()
	}
	internal, err := r.resource.Scale(r.current.obj)
	if err != nil {
		return err
	}
	gv := r.sub.Kind.GroupVersion()
	before, err := api.Scheme().ConvertToVersion(internal, gv)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	after, err := api.Scheme().New(r.sub.Kind)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if err := r.patchInto(before, after); err != nil {
		return err
	}
	obj, err := api.Scheme().ConvertToVersion(after, schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	scale := obj.(*autoscaling.Scale)
	if scale.ResourceVersion == internal.ResourceVersion {
		scale.ResourceVersion = "" // the patch did not say which revision it is for
	}
	return r.setScale(scale)
}

// bind is the plan of a POST of the binding subresource.
func (r *request) bind(context.Context) error {
	if r.current == nil {
		return r.notFound()
	}
	r.object = r.current.obj.DeepCopyObject()
	return api.Bind(r.object, r.sent, r.server.now())
}
