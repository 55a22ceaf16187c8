package api

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// Source: k8s.io/kubernetes/pkg/registry/core/limitrange.
func limitRanges() *Resource {
	r := coreResource("LimitRange", "limitranges", "limitrange", "limits")
	r.AllowCreateOnUpdate, r.plainTable = true, true
	r.Rules = rules[*core.LimitRange]{
		validate:       corevalidation.ValidateLimitRange,
		validateUpdate: func(l, _ *core.LimitRange) field.ErrorList { return corevalidation.ValidateLimitRange(l) },
	}.untyped()
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/core/resourcequota.
func resourceQuotas() *Resource {
	r := coreResource("ResourceQuota", "resourcequotas", "resourcequota", "quota")
	r.Rules = rules[*core.ResourceQuota]{
		prepareForCreate: func(q *core.ResourceQuota) { q.Status = core.ResourceQuotaStatus{} },
		prepareForUpdate: func(q, old *core.ResourceQuota) { q.Status = old.Status },
		validate:         corevalidation.ValidateResourceQuota,
		validateUpdate:   corevalidation.ValidateResourceQuotaUpdate,
		warningsOnCreate: func(_ context.Context, q *core.ResourceQuota) []string { return quotaWarnings(q) },
		reset:            [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{status(r, rules[*core.ResourceQuota]{
		prepareForUpdate: func(q, old *core.ResourceQuota) { q.Spec = old.Spec },
		validateUpdate:   corevalidation.ValidateResourceQuotaStatusUpdate,
		reset:            [][]string{{"spec"}},
	}.untyped())}
	return r
}

// quotaWarnings tell of requests that may be more than the limits.
func quotaWarnings(q *core.ResourceQuota) []string {
	var warnings []string
	for _, name := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory, core.ResourceStorage, core.ResourceEphemeralStorage} {
		requests, limits := "requests."+name, "limits."+name
		request, ok := q.Spec.Hard[requests]
		if !ok && (name == core.ResourceCPU || name == core.ResourceMemory) {
			requests = name // for these the bare name means the same
			request, ok = q.Spec.Hard[requests]
		}
		if limit, limited := q.Spec.Hard[limits]; ok && limited && request.Cmp(limit) > 0 {
			warnings = append(warnings, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", requests, &request, limits, &limit))
		}
	}
	return warnings
}
