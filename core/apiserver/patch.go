package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/klab-project/klab/core/api"
)

// maxOperations is how many operations a JSON patch may have, as upstream's.
const maxOperations = 10000

// patch is the plan of a PATCH of the object itself or of its status.
func (r *request) patch(context.Context) error {
	if r.applies() {
		return r.apply()
	}
	if r.current == nil {
		return r.notFound()
	}
	versioned, err := api.Scheme().ConvertToVersion(r.current.obj, r.resource.GV())
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	patched := r.resource.NewVersioned()
	if err := r.patchInto(versioned, patched); err != nil {
		return err
	}
	api.Scheme().Default(patched)
	if r.object, err = r.toInternal(patched); err != nil {
		return err
	}
	return r.patched()
}

// patched checks what every patch has in common with an update.
func (r *request) patched() error {
	m, err := meta.Accessor(r.object)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if m.GetName() != r.path.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", m.GetName(), r.path.Name))
	}
	if ns := r.scope(); m.GetNamespace() != ns && ns != "" {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	named := r.patchNamesRevision()
	if err := r.preconditions(); err != nil {
		return err
	}
	r.strict = named
	return nil
}

// patchNamesRevision tells whether the patch itself says which revision it is
// for; otherwise it can be applied again to a newer one.
func (r *request) patchNamesRevision() bool {
	m, err := meta.Accessor(r.object)
	if err != nil || r.current == nil {
		return false
	}
	var patch struct {
		Metadata struct{ ResourceVersion string }
	}
	if r.patchType() != types.JSONPatchType {
		_ = yaml.Unmarshal(r.body, &patch)
	}
	was, err := meta.Accessor(r.current.obj)
	return err == nil && (patch.Metadata.ResourceVersion != "" || m.GetResourceVersion() != was.GetResourceVersion())
}

func (r *request) toInternal(versioned runtime.Object) (runtime.Object, error) {
	gv := schema.GroupVersion{Group: r.resource.Group, Version: runtime.APIVersionInternal}
	obj, err := api.Scheme().UnsafeConvertToVersion(versioned, gv)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return obj, nil
}

// patchInto applies the body to a versioned object.
func (r *request) patchInto(original, patched runtime.Object) error {
	if !json.Valid(r.body) {
		return apierrors.NewBadRequest("invalid JSON patch")
	}
	if r.patchType() == types.StrategicMergePatchType {
		return r.strategicMerge(original, patched)
	}
	before, err := json.Marshal(original)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	after, strict, err := r.patchJSON(before)
	if err != nil {
		return err
	}
	found, err := kjson.UnmarshalStrict(after, patched)
	if err != nil {
		return invalidPatch(string(after), err)
	}
	return r.unknownFields(append(strict, found...), string(after))
}

// patchJSON applies a JSON patch (RFC 6902) or a merge patch (RFC 7396).
func (r *request) patchJSON(before []byte) (after []byte, strict []error, err error) {
	if r.patchType() == types.MergePatchType {
		strict, err = kjson.UnmarshalStrict(r.body, &map[string]any{})
		if err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		after, err = jsonpatch.MergePatch(before, r.body)
		if err != nil {
			return nil, nil, apierrors.NewBadRequest(err.Error())
		}
		return after, strict, nil
	}
	var operations []struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		From  string `json:"from"`
		Value any    `json:"value"`
	}
	strict, err = kjson.UnmarshalStrict(r.body, &operations)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	for i, e := range strict {
		strict[i] = fmt.Errorf("json patch %w", e)
	}
	patch, err := jsonpatch.DecodePatch(r.body)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(patch) > maxOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(patch)))
	}
	after, err = patch.Apply(before)
	if err != nil {
		return nil, nil, unprocessable(err)
	}
	return after, strict, nil
}

// strategicMerge applies a patch that merges lists by the keys that the Go
// types declare.
func (r *request) strategicMerge(original, patched runtime.Object) error {
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(original)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	patch := map[string]any{}
	strict, err := kjson.UnmarshalStrict(r.body, &patch)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	after, err := strategicpatch.StrategicMergeMapPatch(before, patch, patched)
	switch {
	case errors.Is(err, mergepatch.ErrNoListOfLists), errors.Is(err, mergepatch.ErrPatchContentNotMatchRetainKeys):
		return unprocessable(err)
	case err != nil:
		return apierrors.NewBadRequest(err.Error())
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(after, patched, true)
	if err != nil {
		found, ok := runtime.AsStrictDecodingError(err)
		if !ok {
			return invalidPatch(fmt.Sprintf("%+v", patch), err)
		}
		strict = append(strict, found.Errors()...)
	}
	return r.unknownFields(strict, fmt.Sprintf("%+v", patch))
}

// unknownFields warns of unknown and duplicate fields, or refuses them.
func (r *request) unknownFields(errs []error, patch string) error {
	switch {
	case len(errs) == 0 || r.options.validation == metav1.FieldValidationIgnore:
	case r.options.validation == metav1.FieldValidationStrict:
		return invalidPatch(patch, runtime.NewStrictDecodingError(errs))
	default:
		for _, e := range errs {
			r.warn(e.Error())
		}
	}
	return nil
}

func invalidPatch(patch string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), patch, err.Error())})
}

func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

// apply is the plan of a server-side apply.
func (r *request) apply() error {
	fields := map[string]any{}
	if err := yaml.Unmarshal(r.body, &fields); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if err := yaml.UnmarshalStrict(r.body, &map[string]any{}); err != nil {
		if r.options.validation == metav1.FieldValidationStrict {
			return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding patch: %v", err))
		}
		if r.options.validation == metav1.FieldValidationWarn {
			r.warn(err.Error())
		}
	}
	live := r.resource.New()
	if r.current != nil {
		live = r.current.obj.DeepCopyObject()
	} else if r.sub != nil {
		return r.notFound()
	}
	manager, err := r.server.kinds.manager(r.resource, r.sub)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	r.object, err = manager.Apply(live, &unstructured.Unstructured{Object: fields}, r.options.manager, r.options.force)
	if err != nil {
		return err
	}
	if r.current == nil {
		r.creates = true
	}
	m, err := meta.Accessor(r.object)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if m.GetName() == "" {
		m.SetName(r.path.Name)
	}
	if r.scope() != "" && m.GetNamespace() == "" {
		m.SetNamespace(r.scope())
	}
	return r.patched()
}
