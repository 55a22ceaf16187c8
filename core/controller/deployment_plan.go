package controller

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// scaling is one set and the size that it is to have.
type scaling struct {
	set      *appsv1.ReplicaSet
	replicas int32
}

// limits are how many pods a rolling update may have too many, and too few.
// They are resolved together: if both come to nothing, one pod may be missing.
func limits(d *appsv1.Deployment) (surge, unavailable int32) {
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || d.Spec.Strategy.RollingUpdate == nil {
		return 0, 0
	}
	n, none := int(*d.Spec.Replicas), intstr.FromInt32(0)
	rolling := d.Spec.Strategy.RollingUpdate
	up, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxSurge, none), n, true)
	down, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxUnavailable, none), n, false)
	if up == 0 && down == 0 {
		down = 1
	}
	return int32(up), int32(min(down, n))
}

// planRolling takes one step of a rolling update: it lets the current set
// grow as far as maxSurge allows, or else the old ones shrink as far as
// maxUnavailable allows.
func planRolling(r *rollout) []scaling {
	want := *r.d.Spec.Replicas
	if size := *r.current.Spec.Replicas; size > want {
		return r.to(r.current, want)
	} else if size < want {
		if up := r.to(r.current, currentSize(r.d, r.sets(), size)); len(up) > 0 {
			return up
		}
	}
	return planShrinkOld(r)
}

// currentSize is the size of the current set, which has size pods now.
func currentSize(d *appsv1.Deployment, all []*appsv1.ReplicaSet, size int32) int32 {
	want := *d.Spec.Replicas
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return want
	}
	surge, _ := limits(d)
	room := want + surge - specReplicas(all)
	return size + max(0, min(room, want-size))
}

// planShrinkOld takes pods from old sets: first those that are not available
// anyway, then as many as there are available ones too many.
func planShrinkOld(r *rollout) []scaling {
	_, unavailable := limits(r.d)
	minAvailable := *r.d.Spec.Replicas - unavailable
	missing := *r.current.Spec.Replicas - r.current.Status.AvailableReplicas
	room := specReplicas(r.sets()) - minAvailable - missing
	if room <= 0 || specReplicas(r.old) == 0 {
		return nil
	}
	old := active(r.old)
	sortByAge(old)
	size := make([]int32, len(old))
	for i, set := range old {
		unhealthy := max(0, *set.Spec.Replicas-set.Status.AvailableReplicas)
		take := min(room, unhealthy)
		room -= take
		size[i] = *set.Spec.Replicas - take
	}
	// Upstream does not bound this by room: if the status of an old set still
	// counts pods that it has been told to delete, too many would go.
	spare := min(room, availableReplicas(r.sets())-minAvailable)
	var plan []scaling
	for i, set := range old {
		take := max(0, min(spare, size[i]))
		spare -= take
		plan = append(plan, r.to(set, size[i]-take)...)
	}
	return plan
}

// planRecreateDown ends all old pods.
func planRecreateDown(r *rollout) []scaling {
	var plan []scaling
	for _, set := range active(r.old) {
		plan = append(plan, r.to(set, 0)...)
	}
	return plan
}

// oldPodsRun tells whether any pod of an old set is still there.
func (r *rollout) oldPodsRun(pods []*corev1.Pod) bool {
	for _, set := range r.old {
		if set.Status.Replicas > 0 {
			return true
		}
	}
	return slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !isTerminal(p) })
}

// isScaling tells whether spec.replicas changed since the sets got their size.
func (r *rollout) isScaling() bool {
	return slices.ContainsFunc(active(r.sets()), func(set *appsv1.ReplicaSet) bool {
		desired, ok := sizeAnnotation(set, desiredAnnotation)
		return ok && desired != *r.d.Spec.Replicas
	})
}

// planProportional gives a new number of replicas to the sets in proportion to
// their sizes, so that scaling in the middle of a rollout keeps its risk.
func planProportional(r *rollout) []scaling {
	d, all := r.d, active(r.sets())
	want := *d.Spec.Replicas
	if one := r.activeOrLatest(); one != nil {
		return r.to(one, want)
	}
	if len(all) == 0 {
		return nil
	}
	if isSaturated(d, r.current) {
		return planRecreateDown(r)
	}
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return nil
	}
	surge, _ := limits(d)
	toAdd := -specReplicas(all)
	if want > 0 {
		toAdd += want + surge
	}
	sortBySize(all, toAdd > 0)
	plan, added := make([]scaling, len(all)), int32(0)
	for i, set := range all {
		share := proportion(d, set, toAdd, added, surge)
		added += share
		plan[i] = scaling{set, *set.Spec.Replicas + share}
	}
	plan[0].replicas = max(0, plan[0].replicas+toAdd-added) // what rounding left
	return plan
}

// activeOrLatest is the only set that has pods, or the latest if none has.
func (r *rollout) activeOrLatest() *appsv1.ReplicaSet {
	switch all := active(r.sets()); {
	case len(all) == 1:
		return all[0]
	case len(all) > 1:
		return nil
	case r.current != nil:
		return r.current
	case len(r.old) > 0:
		old := slices.Clone(r.old)
		sortByAge(old)
		return old[len(old)-1]
	}
	return nil
}

// proportion is the share of one set in what is to be added or taken away.
func proportion(d *appsv1.Deployment, set *appsv1.ReplicaSet, toAdd, added, surge int32) int32 {
	size, want := *set.Spec.Replicas, *d.Spec.Replicas
	if toAdd == 0 || toAdd == added {
		return 0
	}
	share := -size
	if want > 0 {
		before, ok := sizeAnnotation(set, maxAnnotation)
		if !ok || before == 0 {
			before = d.Status.Replicas // somebody took the annotation away
		}
		if before == 0 {
			return 0
		}
		share = int32(math.Round(float64(size)*float64(want+surge)/float64(before))) - size
	}
	if toAdd > 0 {
		return min(share, toAdd-added)
	}
	return max(share, toAdd-added)
}

// isSaturated tells whether the set has all pods of the Deployment, available.
func isSaturated(d *appsv1.Deployment, set *appsv1.ReplicaSet) bool {
	if set == nil {
		return false
	}
	desired, ok := sizeAnnotation(set, desiredAnnotation)
	want := *d.Spec.Replicas
	return ok && desired == want && *set.Spec.Replicas == want && set.Status.AvailableReplicas == want
}

// planCleanUp are the old, empty sets beyond the history limit.
func planCleanUp(r *rollout) []*appsv1.ReplicaSet {
	limit := r.d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == math.MaxInt32 {
		return nil
	}
	old := slices.DeleteFunc(slices.Clone(r.old), func(set *appsv1.ReplicaSet) bool { return set.DeletionTimestamp != nil })
	slices.SortStableFunc(old, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revision(a), revision(b)), compareByAge(a, b))
	})
	old = old[:max(0, len(old)-int(*limit))]
	return slices.DeleteFunc(old, func(set *appsv1.ReplicaSet) bool {
		return set.Status.Replicas != 0 || *set.Spec.Replicas != 0 || set.Generation > set.Status.ObservedGeneration
	})
}
