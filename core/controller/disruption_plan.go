package controller

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// budgetStatus is what a budget's status says about its pods, of which their
// controllers want scale; again is when to look at it once more, if that is
// not 0.
func budgetStatus(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, scale int, now time.Time) (policyv1.PodDisruptionBudgetStatus, time.Duration) {
	status := *b.Status.DeepCopy()
	disrupted, again := stillDisrupted(b.Status.DisruptedPods, pods, now)
	expected, desired := wantedHealthy(b, len(pods), scale)
	healthy := 0
	for _, p := range pods {
		_, going := disrupted[p.Name]
		if p.DeletionTimestamp == nil && !going && isReady(p) {
			healthy++
		}
	}
	allowed := max(healthy-desired, 0)
	if expected == 0 {
		allowed = 0
	}
	status.DisruptedPods = disrupted
	status.CurrentHealthy, status.DesiredHealthy, status.ExpectedPods = int32(healthy), int32(desired), int32(expected)
	status.DisruptionsAllowed, status.ObservedGeneration = int32(allowed), b.Generation
	condition := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
		ObservedGeneration: b.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if allowed > 0 {
		condition.Status, condition.Reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
	}
	meta.SetStatusCondition(&status.Conditions, condition)
	return status, again
}

// wantedHealthy is how many pods there should be, and how many of them must
// stay healthy. Shares are of what controllers want, and so is a number of
// pods that may be missing.
func wantedHealthy(b *policyv1.PodDisruptionBudget, pods, scale int) (expected, desired int) {
	switch lo, hi := b.Spec.MinAvailable, b.Spec.MaxUnavailable; {
	case hi != nil:
		n, _ := intstr.GetScaledValueFromIntOrPercent(hi, scale, true)
		return scale, max(scale-n, 0)
	case lo != nil && lo.Type == intstr.String:
		n, _ := intstr.GetScaledValueFromIntOrPercent(lo, scale, true)
		return scale, n
	case lo != nil:
		return pods, lo.IntValue()
	}
	return pods, 0
}

// stillDisrupted are the evictions that were allowed and whose pods are still
// there as if nothing had happened.
func stillDisrupted(was map[string]metav1.Time, pods []*corev1.Pod, now time.Time) (map[string]metav1.Time, time.Duration) {
	var still map[string]metav1.Time
	again := time.Duration(0)
	for _, p := range pods {
		at, ok := was[p.Name]
		if !ok || p.DeletionTimestamp != nil {
			continue
		}
		if left := at.Add(disruptionLasts).Sub(now); left > 0 {
			if still == nil {
				still = map[string]metav1.Time{}
			}
			still[p.Name] = at
			if again == 0 || left < again {
				again = left
			}
		}
	}
	return still, again
}
