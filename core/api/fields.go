package api

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
)

// Fields are the fields of an internal object by which it can be selected.
func (r *Resource) Fields(obj runtime.Object) fields.Set {
	set := fields.Set{}
	if r.fields != nil {
		set = r.fields(obj)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return set
	}
	set["metadata.name"] = m.GetName()
	if r.Namespaced {
		set["metadata.namespace"] = m.GetNamespace()
	}
	return set
}

// FieldSelector parses a fieldSelector in the words of the served version, into
// one for Fields. A field that cannot be selected by is a BadRequest.
func (r *Resource) FieldSelector(selector string) (fields.Selector, error) {
	parsed, err := fields.ParseSelector(selector)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse the field selector %q: %v", selector, err))
	}
	converted, err := parsed.Transform(func(label, value string) (string, string, error) {
		return Scheme().ConvertFieldLabel(r.GVK(), label, value)
	})
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return converted, nil
}
