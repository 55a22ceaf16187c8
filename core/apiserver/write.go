package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

// plan makes the object's new state, in r.object, of what was sent and of the
// current state. It may run several times for one request.
type plan func(*request, context.Context) error

// optimisticLock is what a client reads whose resourceVersion is not the
// latest, in upstream's words.
var errOptimisticLock = errors.New("the object has been modified; please apply your changes to the latest version and try again")

// writeOptions reads the query parameters of a write.
func (r *request) writeOptions() error {
	r.options = writeOptions{validation: metav1.FieldValidationWarn, manager: managerOf(r.http.UserAgent())}
	if r.path.Verb == "patch" && !slices.Contains(patchTypes, string(r.patchType())) {
		return unsupportedMedia(fmt.Sprint(patchTypes[0], ", ", patchTypes[1], ", ", patchTypes[2], ", ", patchTypes[3]))
	}
	if r.path.Verb == "delete" || r.http.URL.RawQuery == "" && !r.applies() {
		return nil
	}
	var o metav1.PatchOptions
	if err := r.parameters(&o); err != nil {
		return err
	}
	kind, errs := "PatchOptions", field.ErrorList(nil)
	switch r.path.Verb {
	case "patch":
		errs = metavalidation.ValidatePatchOptions(&o, r.patchType())
	case "create":
		kind = "CreateOptions"
		errs = metavalidation.ValidateCreateOptions(&metav1.CreateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation})
	default:
		kind = "UpdateOptions"
		errs = metavalidation.ValidateUpdateOptions(&metav1.UpdateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation})
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(optionsKind(kind), "", errs)
	}
	r.options.dryRun = len(o.DryRun) > 0
	r.options.manager = orDefault(o.FieldManager, r.options.manager)
	r.options.validation = orDefault(o.FieldValidation, metav1.FieldValidationWarn)
	r.options.force = o.Force != nil && *o.Force
	return nil
}

// parameters decodes the query into one of the options types of metav1.
func (r *request) parameters(into runtime.Object) error {
	if err := metainternalversionscheme.ParameterCodec.DecodeParameters(r.query, metav1.SchemeGroupVersion, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// decode makes an internal object of the body. Patches stay as they are.
func (r *request) decode(ctx context.Context) error {
	if r.bodyErr != nil {
		return r.bodyErr
	}
	switch r.path.Verb {
	case "delete", "deletecollection":
		return r.decodeDeletion(ctx)
	case "patch":
		r.note(ctx, "%s, %d bytes", r.patchType(), len(r.body))
		return nil
	}
	mediaType := r.http.Header.Get("Content-Type")
	obj, warnings, err := api.Decode(r.body, mediaType, r.kind(), r.options.validation)
	if err != nil {
		return err
	}
	r.warn(warnings...)
	r.sent = obj
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if ns := r.scope(); ns != "" && m.GetNamespace() != "" && m.GetNamespace() != ns {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	r.note(ctx, "%s, %d bytes: a %s", orDefault(mediaType, "application/json"), len(r.body), r.kind().Kind)
	return nil
}

// convert carries out the plan: it makes the new state in the internal
// version, with defaults, from the body and the state in the store.
func (r *request) convert(ctx context.Context) error {
	r.current, r.object, r.result, r.creates, r.deletes = nil, nil, nil, false, keep
	if r.path.Name != "" {
		current, err := r.cache.get(ctx, r.resource.Key(r.scope(), r.path.Name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return storeError(err)
		}
		r.current = current
	}
	if err := r.plan(r, ctx); err != nil {
		return err
	}
	if r.current == nil {
		r.note(ctx, "%s to internal, defaults set", r.kind().GroupVersion())
	} else {
		r.note(ctx, "%s to internal, on top of revision %d", r.kind().GroupVersion(), r.current.rev)
	}
	return nil
}

// get reads one object from the store.
func (c *cacher) get(ctx context.Context, key string) (*entry, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	kv, err := c.store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	e, err := c.decode(kv)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (r *request) notFound() error { return apierrors.NewNotFound(r.resource.GR(), r.path.Name) }

// create is the plan of a POST.
func (r *request) create(context.Context) error {
	r.creates = true
	r.object = r.sent
	m, err := meta.Accessor(r.sent)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if m.GetResourceVersion() != "" {
		return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if m.GetGenerateName() != "" && m.GetName() == "" {
		r.object = r.sent.DeepCopyObject() // the name may be taken, and then there is another try
	}
	return nil
}

// update is the plan of a PUT.
func (r *request) update(context.Context) error {
	m, err := meta.Accessor(r.sent)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if name := m.GetName(); name != r.path.Name {
		if name == "" {
			return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (based on URL) was undeterminable: %v", "name must be provided"))
		}
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, r.path.Name))
	}
	if r.current == nil {
		if !r.resource.AllowCreateOnUpdate || r.sub != nil {
			return r.notFound()
		}
		r.creates = true
	}
	r.object = r.sent.DeepCopyObject()
	return r.preconditions()
}

// preconditions compares the new state's uid and resourceVersion with the
// current ones, and fills in a resourceVersion that was left out.
func (r *request) preconditions() error {
	m, err := meta.Accessor(r.object)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	r.strict = m.GetResourceVersion() != "" && m.GetResourceVersion() != "0"
	if r.current == nil {
		if uid := m.GetUID(); uid != "" {
			return apierrors.NewConflict(r.resource.GR(), r.path.Name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: ", uid)) //nolint:staticcheck // upstream's words
		}
		if r.strict {
			return r.notFound()
		}
		return nil
	}
	was, err := meta.Accessor(r.current.obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if uid := m.GetUID(); uid != "" && uid != was.GetUID() {
		return apierrors.NewConflict(r.resource.GR(), r.path.Name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, was.GetUID())) //nolint:staticcheck // upstream's words
	}
	switch {
	case r.strict && m.GetResourceVersion() != was.GetResourceVersion():
		return apierrors.NewConflict(r.resource.GR(), r.path.Name, errOptimisticLock)
	case !r.strict && !r.resource.AllowUnconditionalUpdate:
		return apierrors.NewInvalid(r.resource.GR().WithVersion("").GroupVersion().WithKind(r.resource.Name).GroupKind(), r.path.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata").Child("resourceVersion"), 0, "must be specified for an update")})
	}
	m.SetResourceVersion(was.GetResourceVersion())
	return nil
}
