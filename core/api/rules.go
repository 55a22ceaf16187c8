package api

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// rules are Rules for one Go type, before the type is forgotten.
type rules[T runtime.Object] struct {
	prepareForCreate func(obj T)
	prepareForUpdate func(obj, old T)
	canonicalize     func(obj T)
	validate         func(obj T) field.ErrorList
	validateUpdate   func(obj, old T) field.ErrorList
	warningsOnCreate func(ctx context.Context, obj T) []string
	warningsOnUpdate func(ctx context.Context, obj, old T) []string
	options          func() map[string]bool
	reset            [][]string
}

// untyped forgets the type; what the rules do not have stays nil.
func (s rules[T]) untyped() Rules {
	r := Rules{options: s.options, Reset: s.reset}
	if f := s.prepareForCreate; f != nil {
		r.prepareForCreate = func(obj runtime.Object) { f(obj.(T)) }
	}
	if f := s.prepareForUpdate; f != nil {
		r.prepareForUpdate = func(obj, old runtime.Object) { f(obj.(T), old.(T)) }
	}
	if f := s.canonicalize; f != nil {
		r.canonicalize = func(obj runtime.Object) { f(obj.(T)) }
	}
	if f := s.validate; f != nil {
		r.validate = func(obj runtime.Object) field.ErrorList { return f(obj.(T)) }
	}
	if f := s.validateUpdate; f != nil {
		r.validateUpdate = func(obj, old runtime.Object) field.ErrorList { return f(obj.(T), old.(T)) }
	}
	if f := s.warningsOnCreate; f != nil {
		r.warningsOnCreate = func(ctx context.Context, obj runtime.Object) []string { return f(ctx, obj.(T)) }
	}
	if f := s.warningsOnUpdate; f != nil {
		r.warningsOnUpdate = func(ctx context.Context, obj, old runtime.Object) []string { return f(ctx, obj.(T), old.(T)) }
	}
	return r
}
