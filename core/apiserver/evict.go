package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/policy"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

// deletes as a DELETE does; an eviction is one that asks the budgets first.
func (r *request) isDeletion() bool { return r.path.Verb == "delete" || r.path.Sub == "eviction" }

// evict is the plan of a POST of pods/NAME/eviction: a deletion, if the
// disruption budgets allow it.
// Source: k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go.
func (r *request) evict(ctx context.Context) error {
	eviction, ok := r.sent.(*policy.Eviction)
	switch {
	case !ok:
		return apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", r.sent))
	case eviction.Name != r.path.Name:
		return apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	case r.current == nil:
		return r.notFound()
	}
	r.deletion = &metav1.DeleteOptions{}
	if eviction.DeleteOptions != nil {
		r.deletion = eviction.DeleteOptions.DeepCopy()
	}
	if unsafe := r.deletion.IgnoreStoreReadErrorWithClusterBreakingPotential; unsafe != nil && *unsafe {
		return apierrors.NewInvalid(policy.Kind("Eviction"), r.path.Name, field.ErrorList{field.Invalid(
			field.NewPath("deleteOptions").Child("ignoreStoreReadErrorWithClusterBreakingPotential"), true, "can not be set for pod eviction, try after removing the option")})
	}
	r.options.dryRun = r.options.dryRun || len(r.deletion.DryRun) > 0
	pod := r.current.obj.(*core.Pod)
	if !r.budgeted {
		if err := r.budget(ctx, pod); err != nil {
			return err
		}
	}
	if err := r.delete(ctx); err != nil {
		return err
	}
	podutil.UpdatePodCondition(&r.object.(*core.Pod).Status, &core.PodCondition{
		Type: core.DisruptionTarget, Status: core.ConditionTrue, LastTransitionTime: metav1.NewTime(r.server.now()),
		Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
	})
	r.code = http.StatusCreated
	return nil
}

// budget asks the pod's disruption budget, and uses it up by one.
func (r *request) budget(ctx context.Context, pod *core.Pod) error {
	switch pod.Status.Phase {
	case core.PodSucceeded, core.PodFailed, core.PodPending:
		return nil // its end disrupts nothing
	}
	if pod.DeletionTimestamp != nil {
		return nil
	}
	budgets, err := r.budgetsOf(ctx, pod)
	switch {
	case err != nil:
		return err
	case len(budgets) > 1:
		return apierrors.NewInternalError(errors.New("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")) //nolint:staticcheck,revive // upstream's words
	case len(budgets) == 0:
		return nil
	}
	b := budgets[0]
	if !podutil.IsPodReady(pod) {
		always := b.Spec.UnhealthyPodEvictionPolicy != nil && *b.Spec.UnhealthyPodEvictionPolicy == policy.AlwaysAllow
		if always || b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0 {
			return nil // it does not count
		}
	}
	gvr := policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets")
	if r.options.dryRun {
		return useUp(b.DeepCopy(), pod.Name, metav1.NewTime(r.server.now()))
	}
	err = r.change(ctx, gvr, b.Namespace, b.Name, func(obj runtime.Object) error {
		return useUp(obj.(*policy.PodDisruptionBudget), pod.Name, metav1.NewTime(r.server.now()))
	})
	r.budgeted = err == nil
	return err
}

// budgetsOf are the disruption budgets that select a pod.
func (r *request) budgetsOf(ctx context.Context, pod *core.Pod) ([]*policy.PodDisruptionBudget, error) {
	row := api.Find(policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"))
	all, err := r.server.cachers[row.Prefix].list(ctx, &selection{row: row, prefix: row.KeyPrefix(pod.Namespace)}, store.ListOptions{})
	if err != nil {
		return nil, storeError(err)
	}
	var found []*policy.PodDisruptionBudget
	for _, e := range all.entries {
		b := e.obj.(*policy.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if selector.Matches(labels.Set(pod.Labels)) {
			found = append(found, b)
		}
	}
	return found, nil
}

// maxDisrupted is how many evictions may be under way before the controller
// has seen one of them.
const maxDisrupted = 2000

// useUp takes one disruption from a budget, or says why there is none.
func useUp(b *policy.PodDisruptionBudget, pod string, now metav1.Time) error {
	const text = "Cannot evict pod as it would violate the pod's disruption budget."
	tooMany := func(after int, why string) error {
		err := apierrors.NewTooManyRequests(text, after)
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
		return err
	}
	s := &b.Status
	refuse := func(why string) error {
		return apierrors.NewForbidden(policy.Resource("poddisruptionbudget"), b.Name, errors.New(why))
	}
	switch {
	case s.ObservedGeneration < b.Generation:
		return tooMany(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
	case s.DisruptionsAllowed < 0:
		return refuse("pdb disruptions allowed is negative")
	case len(s.DisruptedPods) > maxDisrupted:
		return refuse("DisruptedPods map too big - too many evictions not confirmed by PDB controller")
	case s.DisruptionsAllowed == 0:
		return tooMany(0, fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, s.DesiredHealthy, s.CurrentHealthy))
	}
	s.DisruptionsAllowed--
	if s.DisruptedPods == nil {
		s.DisruptedPods = map[string]metav1.Time{}
	}
	s.DisruptedPods[pod] = now
	return nil
}
