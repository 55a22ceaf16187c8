package api

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Stamp is what the server gives to a new object.
type Stamp struct {
	Now    time.Time
	UID    types.UID
	Suffix string // completes metadata.generateName; five lower-case letters or digits
}

// maxGeneratedBase leaves room in a name of 63 characters for the suffix.
const maxGeneratedBase = 63 - 5

// PrepareForCreate brings a decoded internal object into the state in which it
// is created: system fields, generated name, namespace, and what its kind
// clears or sets. Errors are Status errors.
func (r *Resource) PrepareForCreate(obj runtime.Object, namespace string, stamp Stamp) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	m.SetDeletionTimestamp(nil)
	m.SetDeletionGracePeriodSeconds(nil)
	m.SetSelfLink("")
	m.SetResourceVersion("")
	m.SetCreationTimestamp(metav1.NewTime(stamp.Now))
	m.SetUID(stamp.UID)
	if base := m.GetGenerateName(); base != "" && m.GetName() == "" {
		m.SetName(base[:min(len(base), maxGeneratedBase)] + stamp.Suffix)
	}
	if err := r.ensureNamespace(m, namespace); err != nil {
		return err
	}
	if r.Rules.prepareForCreate != nil {
		r.Rules.prepareForCreate(obj)
	}
	return nil
}

// ensureNamespace puts an object into the request's namespace, if it does not
// say another one.
func (r *Resource) ensureNamespace(m metav1.Object, namespace string) error {
	if !r.Namespaced {
		m.SetNamespace("")
		return nil
	}
	switch m.GetNamespace() {
	case namespace:
	case "":
		m.SetNamespace(namespace)
	default:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// ValidateCreate returns the warnings for a prepared object, or an Invalid
// Status error with everything that is wrong with it. Afterwards the object is
// in its canonical form, ready to be stored.
func (r *Resource) ValidateCreate(ctx context.Context, obj runtime.Object) ([]string, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	var errs field.ErrorList
	if r.Rules.validate != nil {
		errs = r.Rules.validate(obj)
	}
	// A kind's own messages are better than the general ones.
	if len(errs) == 0 {
		errs = validation.ValidateObjectMetaAccessor(m, r.Namespaced, pathSegment, field.NewPath("metadata"))
	}
	errs = r.declared(ctx, nil, obj, nil, errs, operation.Create)
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(r.GVK().GroupKind(), m.GetName(), errs)
	}
	var warnings []string
	if r.Rules.warningsOnCreate != nil {
		warnings = r.Rules.warningsOnCreate(ctx, obj)
	}
	if r.Rules.canonicalize != nil {
		r.Rules.canonicalize(obj)
	}
	return warnings, nil
}

// PrepareForUpdate takes from old what a client cannot change through this
// endpoint; sub is nil for the resource itself.
func (r *Resource) PrepareForUpdate(sub *Subresource, obj, old runtime.Object, namespace string) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	was, err := meta.Accessor(old)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if err := r.ensureNamespace(m, namespace); err != nil {
		return err
	}
	m.SetGeneration(was.GetGeneration())
	if rules := r.rules(sub); rules.prepareForUpdate != nil {
		// What is taken from it may be changed: old is what everybody reads.
		rules.prepareForUpdate(obj, old.DeepCopyObject())
	}
	if m.GetUID() == "" {
		m.SetUID(was.GetUID())
	}
	if t := was.GetCreationTimestamp(); !t.IsZero() {
		m.SetCreationTimestamp(t)
	}
	if !was.GetDeletionTimestamp().IsZero() {
		m.SetDeletionTimestamp(was.GetDeletionTimestamp())
	}
	if was.GetDeletionGracePeriodSeconds() != nil && m.GetDeletionGracePeriodSeconds() == nil {
		m.SetDeletionGracePeriodSeconds(was.GetDeletionGracePeriodSeconds())
	}
	return nil
}

// ValidateUpdate is ValidateCreate for a change from old to obj.
func (r *Resource) ValidateUpdate(ctx context.Context, sub *Subresource, obj, old runtime.Object) ([]string, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	was, err := meta.Accessor(old)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	rules := r.rules(sub)
	path := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(m, r.Namespaced, pathSegment, path)
	errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(m, was, path)...)
	if rules.validateUpdate != nil {
		errs = append(errs, rules.validateUpdate(obj, old)...)
	}
	errs = r.declared(ctx, sub, obj, old, errs, operation.Update)
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(r.GVK().GroupKind(), m.GetName(), errs)
	}
	var warnings []string
	if rules.warningsOnUpdate != nil {
		warnings = rules.warningsOnUpdate(ctx, obj, old)
	}
	if r.Rules.canonicalize != nil {
		r.Rules.canonicalize(obj)
	}
	return warnings, nil
}

// rules are those of a subresource, or the resource's own.
func (r *Resource) rules(sub *Subresource) *Rules {
	if sub != nil {
		return &sub.Rules
	}
	return &r.Rules
}

func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
