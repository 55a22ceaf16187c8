package apiserver

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klab-project/klab/core/api"
)

// encode reads what is to be read, and makes the answer in the form that the
// client wants.
func (r *request) encode(ctx context.Context) error {
	if r.sub != nil && r.sub.Connect {
		return r.connect(ctx)
	}
	result, err := r.outcome(ctx)
	if err != nil || r.stream != nil {
		return err
	}
	var out bytes.Buffer
	if err := r.accept.Serializer.Encode(result, &out); err != nil {
		return apierrors.NewInternalError(fmt.Errorf("encode the answer: %w", err))
	}
	r.answer = out.Bytes()
	r.header.Set("Content-Type", r.accept.MediaType)
	r.note(ctx, "%d, %s, %d bytes", r.code, r.accept.MediaType, len(r.answer))
	return nil
}

// outcome is what the client gets, as an object in its version.
func (r *request) outcome(ctx context.Context) (runtime.Object, error) {
	switch r.path.Verb {
	case "watch":
		return nil, r.startWatch(ctx)
	case "list":
		list := r.list
		if r.resource.Measured {
			list = r.listMeasured
		}
		found, err := list(ctx)
		if err != nil {
			return nil, err
		}
		return r.viewList(found)
	case "deletecollection":
		return r.viewList(r.listed)
	case "get":
		get := r.getObject
		if r.resource.Measured {
			get = r.getMeasured
		}
		if err := get(ctx); err != nil {
			return nil, err
		}
	case "delete":
		if r.deletes == remove && r.resource.Name != "pods" && r.resource.Name != "services" {
			return r.deletionStatus(), nil
		}
	}
	if r.result != nil {
		return api.Scheme().ConvertToVersion(r.result, r.sub.Kind.GroupVersion())
	}
	switch r.path.Sub {
	case "binding", "eviction":
		r.code = http.StatusCreated
		return &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
	case "scale":
		scale, err := r.resource.Scale(r.object)
		if err != nil {
			return nil, err
		}
		return api.Scheme().ConvertToVersion(scale, r.sub.Kind.GroupVersion())
	}
	return r.viewOne(r.object)
}

// versioned is an object in the request's version. It shares memory with obj.
func versioned(row *api.Resource, obj runtime.Object) (runtime.Object, error) {
	out, err := api.Scheme().UnsafeConvertToVersion(obj, row.GV())
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return out, nil
}

func (r *request) viewOne(obj runtime.Object) (runtime.Object, error) {
	switch r.accept.as.Kind {
	case "Table":
		o, err := r.tableOptions()
		if err != nil {
			return nil, err
		}
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		return r.table([]runtime.Object{obj}, metav1.ListMeta{ResourceVersion: m.GetResourceVersion()}, o)
	case "PartialObjectMetadata":
		return r.partial(obj)
	case "PartialObjectMetadataList":
		return nil, statusError(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
			fmt.Sprintf("you requested PartialObjectMetadataList, but the requested object is not a list (%T)", obj))
	}
	return versioned(r.resource, obj)
}

func (r *request) viewList(found *listing) (runtime.Object, error) {
	objs := make([]runtime.Object, len(found.entries))
	for i, e := range found.entries {
		objs[i] = e.obj
	}
	switch r.accept.as.Kind {
	case "Table":
		o, err := r.tableOptions()
		if err != nil {
			return nil, err
		}
		return r.table(objs, found.meta, o)
	case "PartialObjectMetadataList":
		return r.partialList(objs, found.meta)
	case "PartialObjectMetadata":
		return nil, statusError(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
			fmt.Sprintf("you requested PartialObjectMetadata, but the requested object is a list (%sList)", r.resource.Kind))
	}
	return newList(r.resource, objs, found.meta)
}

// newList puts internal objects into a versioned list. As in every list of
// the API, items have neither apiVersion nor kind.
func newList(row *api.Resource, objs []runtime.Object, lm metav1.ListMeta) (runtime.Object, error) {
	list, err := api.Scheme().New(row.GV().WithKind(row.ListKind))
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	items := make([]runtime.Object, len(objs))
	for i, obj := range objs {
		if items[i], err = versioned(row, obj); err != nil {
			return nil, err
		}
		items[i].GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	if err := meta.SetList(list, items); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	m.SetResourceVersion(lm.ResourceVersion)
	m.SetContinue(lm.Continue)
	list.GetObjectKind().SetGroupVersionKind(row.GV().WithKind(row.ListKind))
	return list, nil
}

func (r *request) tableOptions() (*metav1.TableOptions, error) {
	o := &metav1.TableOptions{}
	if err := r.parameters(o); err != nil {
		return nil, err
	}
	if errs := metavalidation.ValidateTableOptions(o); len(errs) > 0 {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs.ToAggregate()))
	}
	return o, nil
}

func (r *request) table(objs []runtime.Object, lm metav1.ListMeta, o *metav1.TableOptions) (runtime.Object, error) {
	t, err := r.resource.Table(objs, lm, o, r.server.cfg.Now())
	if err != nil {
		return nil, err
	}
	t.SetGroupVersionKind(r.accept.as.GroupVersion().WithKind("Table"))
	return t, nil
}

func (r *request) partial(obj runtime.Object) (runtime.Object, error) {
	p, err := api.PartialMetadata(obj)
	if err != nil {
		return nil, err
	}
	p.SetGroupVersionKind(r.accept.as.GroupVersion().WithKind("PartialObjectMetadata"))
	return p, nil
}

func (r *request) partialList(objs []runtime.Object, lm metav1.ListMeta) (runtime.Object, error) {
	items := make([]metav1.PartialObjectMetadata, len(objs))
	for i, obj := range objs {
		p, err := api.PartialMetadata(obj)
		if err != nil {
			return nil, err
		}
		p.SetGroupVersionKind(r.accept.as.GroupVersion().WithKind("PartialObjectMetadata"))
		items[i] = *p
	}
	kind := metav1.TypeMeta{APIVersion: r.accept.as.GroupVersion().String(), Kind: "PartialObjectMetadataList"}
	if r.accept.as.Version == "v1beta1" {
		return &metav1beta1.PartialObjectMetadataList{TypeMeta: kind, ListMeta: lm, Items: items}, nil
	}
	return &metav1.PartialObjectMetadataList{TypeMeta: kind, ListMeta: lm, Items: items}, nil
}
