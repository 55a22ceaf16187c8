package api

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
)

// Source: k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget.
func podDisruptionBudgets() *Resource {
	r := coreResource("PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", "pdb")
	r.Group, r.Storage = "policy", policyv1.SchemeGroupVersion
	r.AllowUnconditionalUpdate = false
	r.Rules = rules[*policy.PodDisruptionBudget]{
		prepareForCreate: func(b *policy.PodDisruptionBudget) {
			b.Status, b.Generation = policy.PodDisruptionBudgetStatus{}, 1
			stripSelector(b)
		},
		prepareForUpdate: func(b, old *policy.PodDisruptionBudget) {
			b.Status = old.Status
			if !equality.Semantic.DeepEqual(b.Spec, old.Spec) {
				b.Generation = old.Generation + 1
			}
			if !equality.Semantic.DeepEqual(b.Spec.Selector, old.Spec.Selector) {
				stripSelector(b)
			}
		},
		validate: func(b *policy.PodDisruptionBudget) field.ErrorList {
			return policyvalidation.ValidatePodDisruptionBudget(b, policyvalidation.PodDisruptionBudgetValidationOptions{})
		},
		validateUpdate: func(b, old *policy.PodDisruptionBudget) field.ErrorList {
			was := old.Spec.Selector != nil && len(metavalidation.ValidateLabelSelector(old.Spec.Selector, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0
			return policyvalidation.ValidatePodDisruptionBudget(b, policyvalidation.PodDisruptionBudgetValidationOptions{AllowInvalidLabelValueInSelector: was})
		},
		reset: [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{status(r, rules[*policy.PodDisruptionBudget]{
		prepareForUpdate: func(b, old *policy.PodDisruptionBudget) { b.Spec = old.Spec },
		validateUpdate: func(b, old *policy.PodDisruptionBudget) field.ErrorList {
			return policyvalidation.ValidatePodDisruptionBudgetStatusUpdate(b.Status, old.Status, field.NewPath("status"), policyv1.SchemeGroupVersion)
		},
		reset: [][]string{{"spec"}},
	}.untyped())}
	return r
}

// stripSelector removes the label by which the conversion from v1beta1 says
// all or none, where somebody else uses it.
func stripSelector(b *policy.PodDisruptionBudget) {
	switch {
	case equality.Semantic.DeepEqual(b.Spec.Selector, policy.NonV1beta1MatchNoneSelector):
	case equality.Semantic.DeepEqual(b.Spec.Selector, policy.NonV1beta1MatchAllSelector):
	default:
		policy.StripPDBV1beta1Label(b.Spec.Selector)
	}
}
