package api

import (
	"context"

	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	nodeapi "k8s.io/kubernetes/pkg/api/node"
	"k8s.io/kubernetes/pkg/apis/node"
	nodevalidation "k8s.io/kubernetes/pkg/apis/node/validation"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingvalidation "k8s.io/kubernetes/pkg/apis/scheduling/validation"
)

// Source: k8s.io/kubernetes/pkg/registry/node/runtimeclass.
func runtimeClasses() *Resource {
	r := coreResource("RuntimeClass", "runtimeclasses", "runtimeclass")
	r.Group, r.Storage, r.Namespaced = "node.k8s.io", nodev1.SchemeGroupVersion, false
	r.AllowCreateOnUpdate, r.AllowUnconditionalUpdate = true, false
	r.normalization = nodevalidation.NodeNormalizationRules
	r.Rules = rules[*node.RuntimeClass]{
		validate: nodevalidation.ValidateRuntimeClass,
		validateUpdate: func(c, old *node.RuntimeClass) field.ErrorList {
			return append(nodevalidation.ValidateRuntimeClass(c), nodevalidation.ValidateRuntimeClassUpdate(c, old)...)
		},
		warningsOnCreate: func(_ context.Context, c *node.RuntimeClass) []string { return nodeapi.GetWarningsForRuntimeClass(c) },
		warningsOnUpdate: func(_ context.Context, c, _ *node.RuntimeClass) []string {
			return nodeapi.GetWarningsForRuntimeClass(c)
		},
	}.untyped()
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/scheduling/priorityclass.
func priorityClasses() *Resource {
	r := coreResource("PriorityClass", "priorityclasses", "priorityclass", "pc")
	r.Group, r.Storage, r.Namespaced = "scheduling.k8s.io", schedulingv1.SchemeGroupVersion, false
	r.Rules = rules[*scheduling.PriorityClass]{
		prepareForCreate: func(c *scheduling.PriorityClass) { c.Generation = 1 },
		validate:         schedulingvalidation.ValidatePriorityClass,
		validateUpdate:   schedulingvalidation.ValidatePriorityClassUpdate,
	}.untyped()
	return r
}
