package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"github.com/klab-project/klab/core/step"
)

// This file carries out what garbage_plan.go decides, and what foreground and
// orphan deletion ask for.

func (c *garbage) carryOut(ctx context.Context, n graphNode, obj *metav1.PartialObjectMetadata, plan garbagePlan) error {
	client, err := c.client(n.identity)
	if err != nil {
		return err
	}
	if plan.what == forgetOwners {
		return c.forgetOwners(ctx, n.identity, plan.owners)
	}
	if plan.unblock {
		// A circle of objects that wait for each other: let this one not be waited for.
		if err := c.patchOwners(ctx, client, obj, func(refs []metav1.OwnerReference) []metav1.OwnerReference {
			for i := range refs {
				refs[i].BlockOwnerDeletion = nil
			}
			return refs
		}); err != nil {
			return err
		}
		obj.ResourceVersion = ""
	}
	pre := &metav1.Preconditions{UID: &n.uid}
	if obj.ResourceVersion != "" {
		// The decision holds for these owners only.
		pre.ResourceVersion = &obj.ResourceVersion
	}
	err = client.Delete(ctx, n.name, metav1.DeleteOptions{Preconditions: pre, PropagationPolicy: &plan.policy})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s: %w", n.kind, n.name, err)
	}
	return nil
}

// foreground lets an owner go once no dependent blocks it.
func (c *garbage) foreground(ctx context.Context, n graphNode, dependents []graphNode) error {
	blocking := 0
	for _, d := range dependents {
		if d.blocksDeletionOf(n.uid) {
			blocking++
			if !d.deleting {
				c.Add(string(d.uid), n.revision)
			}
		}
	}
	if blocking > 0 {
		step.Note(ctx, step.ReconcileDetail{Want: number(0), Have: number(blocking), Plan: []string{"delete the dependents first"}})
		return nil
	}
	step.Note(ctx, step.ReconcileDetail{Want: number(0), Have: number(0), Plan: []string{"remove finalizer " + metav1.FinalizerDeleteDependents}})
	return c.removeFinalizer(ctx, n.identity, metav1.FinalizerDeleteDependents)
}

// orphan lets the dependents forget their owner, and then the owner go.
func (c *garbage) orphan(ctx context.Context, n graphNode, dependents []graphNode) error {
	step.Note(ctx, step.ReconcileDetail{Have: number(len(dependents)), Plan: []string{
		fmt.Sprintf("orphan %d dependent%s", len(dependents), plural(len(dependents))), "remove finalizer " + metav1.FinalizerOrphanDependents}})
	var errs []error
	for _, d := range dependents {
		errs = append(errs, c.forgetOwners(ctx, d.identity, []types.UID{n.uid}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.removeFinalizer(ctx, n.identity, metav1.FinalizerOrphanDependents)
}

func (c *garbage) forgetOwners(ctx context.Context, id identity, gone []types.UID) error {
	client, err := c.client(id)
	if err != nil {
		return err
	}
	obj, err := c.live(ctx, id)
	if err != nil || obj == nil {
		return err
	}
	return c.patchOwners(ctx, client, obj, func(refs []metav1.OwnerReference) []metav1.OwnerReference {
		return slices.DeleteFunc(refs, func(r metav1.OwnerReference) bool { return slices.Contains(gone, r.UID) })
	})
}

func (c *garbage) patchOwners(ctx context.Context, client metadata.ResourceInterface, obj *metav1.PartialObjectMetadata, change func([]metav1.OwnerReference) []metav1.OwnerReference) error {
	return patchMetadata(ctx, client, obj, "ownerReferences", change(slices.Clone(obj.OwnerReferences)))
}

func (c *garbage) removeFinalizer(ctx context.Context, id identity, finalizer string) error {
	client, err := c.client(id)
	if err != nil {
		return err
	}
	obj, err := c.live(ctx, id)
	if err != nil || obj == nil || !slices.Contains(obj.Finalizers, finalizer) {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(obj.Finalizers), func(f string) bool { return f == finalizer })
	return patchMetadata(ctx, client, obj, "finalizers", left)
}

// patchMetadata replaces one field of exactly this version of obj.
func patchMetadata(ctx context.Context, client metadata.ResourceInterface, obj *metav1.PartialObjectMetadata, field string, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": obj.UID, "resourceVersion": obj.ResourceVersion, field: value}})
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, obj.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patch %s of %s: %w", field, obj.Name, err)
	}
	return nil
}
