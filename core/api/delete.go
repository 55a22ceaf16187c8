package api

import (
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/core"
)

// Deletion is what a delete request means for an object.
type Deletion uint8

const (
	DeleteNow     Deletion = iota // remove the object from the store
	DeleteLater                   // store the object, which was marked: it has finalizers or a grace period
	DeletePending                 // it is being deleted already, change nothing
)

// PrepareForDelete decides what deleting obj means, and marks it if it is to
// stay for a while: deletionTimestamp, grace period, finalizers of the garbage
// collector, the phase of a namespace. opts gets the grace period that applies.
// Errors are Status errors: invalid options, or preconditions that do not hold.
// Source: k8s.io/apiserver/pkg/registry/{rest/delete.go,generic/registry/store.go}.
func (r *Resource) PrepareForDelete(obj runtime.Object, opts *metav1.DeleteOptions, now time.Time) (Deletion, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return DeletePending, apierrors.NewInternalError(err)
	}
	if errs := metavalidation.ValidateDeleteOptions(opts); len(errs) > 0 {
		return DeletePending, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	if err := r.preconditions(m, opts.Preconditions); err != nil {
		return DeletePending, err
	}
	if g := opts.GracePeriodSeconds; g != nil && *g < 0 {
		opts.GracePeriodSeconds = new(int64(1))
	}
	if ns, ok := obj.(*core.Namespace); ok {
		if deletion := deleteNamespace(ns, opts, now); deletion != DeleteNow {
			return deletion, nil
		}
	}
	how := r.gracefully(obj, m, opts, now)
	if how == DeletePending {
		return how, nil
	}
	if !r.NoGarbageCollection {
		m.SetFinalizers(collectorFinalizers(m.GetFinalizers(), opts))
	}
	if how == DeleteNow && len(m.GetFinalizers()) > 0 {
		markDeleted(m, now)
		return DeleteLater, nil
	}
	return how, nil
}

// gracefully marks an object whose kind has a grace period.
func (r *Resource) gracefully(obj runtime.Object, m metav1.Object, opts *metav1.DeleteOptions, now time.Time) Deletion {
	if r.graceful == nil {
		return DeleteNow
	}
	if m.GetDeletionTimestamp() != nil {
		return shorten(m, opts, now)
	}
	grace := max(r.graceful(obj, opts.GracePeriodSeconds), 0)
	opts.GracePeriodSeconds = &grace
	at := metav1.NewTime(now.Add(time.Duration(grace) * time.Second))
	m.SetDeletionTimestamp(&at)
	m.SetDeletionGracePeriodSeconds(&grace)
	if m.GetGeneration() > 0 {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	if grace == 0 {
		return DeleteNow
	}
	return DeleteLater
}

// shorten handles one more delete of an object that is being deleted
// gracefully: the time left can only become less.
func shorten(m metav1.Object, opts *metav1.DeleteOptions, now time.Time) Deletion {
	left := m.GetDeletionGracePeriodSeconds()
	if left == nil || *left == 0 {
		return DeleteNow
	}
	if opts.GracePeriodSeconds == nil {
		opts.GracePeriodSeconds = left
		return DeletePending
	}
	grace := *opts.GracePeriodSeconds
	if grace >= *left {
		return DeletePending
	}
	began := m.GetDeletionTimestamp().Add(-time.Duration(*left) * time.Second)
	at := metav1.NewTime(began.Add(time.Duration(grace) * time.Second))
	if at.Time.Before(now) {
		at = metav1.NewTime(now)
		if grace != 0 {
			grace = 1 // its time is over, but who deletes it gracefully still says when
		}
	}
	m.SetDeletionTimestamp(&at)
	m.SetDeletionGracePeriodSeconds(&grace)
	if grace == 0 {
		return DeleteNow
	}
	return DeleteLater
}

// preconditions compares what the request expects with what is.
func (r *Resource) preconditions(m metav1.Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != m.GetUID() {
		return apierrors.NewConflict(r.GR(), m.GetName(), fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, m.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != m.GetResourceVersion() {
		return apierrors.NewConflict(r.GR(), m.GetName(), fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, m.GetResourceVersion()))
	}
	return nil
}

// markDeleted is for objects without a grace period that have finalizers: they
// stay until the last one is gone.
func markDeleted(m metav1.Object, now time.Time) {
	t := m.GetDeletionTimestamp()
	if t == nil && m.GetGeneration() > 0 {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	if t == nil || t.After(now) {
		at := metav1.NewTime(now)
		m.SetDeletionTimestamp(&at)
	}
	m.SetDeletionGracePeriodSeconds(new(int64(0)))
}

// collectorFinalizers are the finalizers of an object with those that the
// garbage collector acts on: orphan or foregroundDeletion, as the request says,
// or else as they are.
func collectorFinalizers(now []string, opts *metav1.DeleteOptions) []string {
	orphan := slices.Contains(now, metav1.FinalizerOrphanDependents)
	foreground := slices.Contains(now, metav1.FinalizerDeleteDependents)
	if policy := opts.PropagationPolicy; policy != nil {
		orphan = *policy == metav1.DeletePropagationOrphan
		foreground = *policy == metav1.DeletePropagationForeground
	}
	if o := opts.OrphanDependents; o != nil { // deprecated, but old clients send it
		orphan, foreground = *o, false
	}
	finalizers := slices.DeleteFunc(slices.Clone(now), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if orphan {
		finalizers = append(finalizers, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		finalizers = append(finalizers, metav1.FinalizerDeleteDependents)
	}
	return finalizers
}

// deleteNamespace begins the end of a namespace, whose contents must go first:
// that is what its spec.finalizers are for. DeleteNow if they have gone.
// Source: k8s.io/kubernetes/pkg/registry/core/namespace/storage.
func deleteNamespace(ns *core.Namespace, opts *metav1.DeleteOptions, now time.Time) Deletion {
	if ns.DeletionTimestamp.IsZero() {
		at := metav1.NewTime(now)
		ns.DeletionTimestamp = &at
		ns.Status.Phase = core.NamespaceTerminating
		ns.Finalizers = collectorFinalizers(ns.Finalizers, opts)
		return DeleteLater
	}
	if len(ns.Spec.Finalizers) > 0 {
		return DeletePending
	}
	return DeleteNow
}

// DeletedByUpdate tells whether the update from old to obj removed the last
// thing that kept an object that is being deleted: then the update is not
// stored, but the object removed.
func (r *Resource) DeletedByUpdate(obj, old runtime.Object) bool {
	m, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	was, err := meta.Accessor(old)
	if err != nil {
		return false
	}
	if ns, ok := obj.(*core.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return false
	}
	grace := was.GetDeletionGracePeriodSeconds()
	return len(m.GetFinalizers()) == 0 && was.GetDeletionTimestamp() != nil && (grace == nil || *grace == 0)
}
