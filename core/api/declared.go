package api

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// declared adds the errors of the rules that Kubernetes declares on its
// versioned types, and drops the hand-written ones that they replace. Rules in
// alpha report nothing; those in beta do, as in a cluster without feature gates.
// Source: k8s.io/apiserver/pkg/registry/rest/validate.go.
func (r *Resource) declared(ctx context.Context, sub *Subresource, obj, old runtime.Object, errs field.ErrorList, op operation.Type) field.ErrorList {
	const beta = true
	errs = errs.MarkFromImperative()
	found, err := r.runDeclared(ctx, sub, obj, old, op)
	if err != nil {
		found = field.ErrorList{field.InternalError(nil, fmt.Errorf("unexpected error converting to versioned type: %w", err))}
	}
	found = validate.FilterEnforcedDeclarativeErrors(ctx, found, beta)
	errs = validate.FilterCoveredHandwrittenErrors(ctx, errs, found, beta, r.normalization...)
	return append(errs, found...)
}

func (r *Resource) runDeclared(ctx context.Context, sub *Subresource, obj, old runtime.Object, op operation.Type) (field.ErrorList, error) {
	var options map[string]bool
	if f := r.rules(sub).options; f != nil {
		options = f()
	}
	var path []string
	if sub != nil {
		path = []string{sub.Name}
	}
	versioned, err := Scheme().ConvertToVersion(obj, r.GV())
	if err != nil {
		return nil, err
	}
	if op == operation.Create {
		return Scheme().Validate(ctx, options, versioned, path...), nil
	}
	versionedOld, err := Scheme().ConvertToVersion(old, r.GV())
	if err != nil {
		return nil, err
	}
	return Scheme().ValidateUpdate(ctx, options, versioned, versionedOld, path...), nil
}
