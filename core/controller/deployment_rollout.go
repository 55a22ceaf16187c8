package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/step"
)

// rollout is one turn of one Deployment: what there is, and what was done.
type rollout struct {
	d       *appsv1.Deployment // changed in place: status and annotations
	was     appsv1.DeploymentStatus
	current *appsv1.ReplicaSet // for the present template; nil if there is none yet
	old     []*appsv1.ReplicaSet
	now     metav1.Time
	done    []string

	// deadlineProgress: this turn is part of a rollout, so its progress counts.
	deadlineProgress bool
}

// newRollout finds the current set among the Deployment's: the oldest one that
// has its template.
func newRollout(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, now time.Time) *rollout {
	r := &rollout{d: d, was: *d.Status.DeepCopy(), now: metav1.NewTime(now)}
	sortByAge(sets)
	for _, set := range sets {
		if r.current == nil && sameTemplate(&set.Spec.Template, &d.Spec.Template) {
			r.current = set
		} else {
			r.old = append(r.old, set)
		}
	}
	return r
}

func (r *rollout) sets() []*appsv1.ReplicaSet {
	if r.current == nil {
		return r.old
	}
	return append(slices.Clone(r.old), r.current)
}

// to is the plan that gives set a size, empty if it has it.
func (r *rollout) to(set *appsv1.ReplicaSet, replicas int32) []scaling {
	if *set.Spec.Replicas == replicas {
		return nil
	}
	return []scaling{{set, replicas}}
}

// replace puts the server's newer version of a set in the place of the cached.
func (r *rollout) replace(set *appsv1.ReplicaSet) {
	if r.current != nil && r.current.UID == set.UID {
		r.current = set
	}
	for i := range r.old {
		if r.old[i].UID == set.UID {
			r.old[i] = set
		}
	}
}

func (r *rollout) did(format string, args ...any) {
	r.done = append(r.done, fmt.Sprintf(format, args...))
}

func (r *rollout) note(ctx context.Context) {
	have := int32(0)
	for _, set := range r.sets() {
		have += set.Status.Replicas
	}
	step.Note(ctx, step.ReconcileDetail{Want: number(*r.d.Spec.Replicas), Have: number(have), Plan: r.done})
}
