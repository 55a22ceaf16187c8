package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// claim is what an owner does about an object that may be its own.
type claim int

const (
	leave   claim = iota // somebody else's, or nobody's that matches
	keep                 // its own already
	adopt                // nobody's, and it matches
	release              // its own, and no longer matches
)

// decideClaim says what owner does about obj.
func decideClaim(owner, obj metav1.Object, matches bool) claim {
	alive := owner.GetDeletionTimestamp() == nil
	ref := metav1.GetControllerOfNoCopy(obj)
	switch {
	case ref != nil && ref.UID != owner.GetUID():
		return leave
	case ref != nil && matches:
		return keep
	case ref != nil && alive:
		return release
	case ref == nil && matches && alive && obj.GetDeletionTimestamp() == nil && obj.GetNamespace() == owner.GetNamespace():
		return adopt
	}
	return leave
}

// claims carries out the decisions for one owner.
type claims[T metav1.Object] struct {
	owner    metav1.Object
	kind     schema.GroupVersionKind
	selector labels.Selector
	// fresh reads the owner from the server: a cached one may be deleted, and
	// what a deleted owner adopts is deleted with it.
	fresh func(ctx context.Context) (metav1.Object, error)
	patch func(ctx context.Context, name string, patch []byte) error
}

// of returns those objects that are the owner's, after adoptions and releases.
func (c claims[T]) of(ctx context.Context, objects []T) ([]T, error) {
	var own []T
	var errs []error
	rechecked := false
	for _, obj := range objects {
		switch decideClaim(c.owner, obj, c.selector.Matches(labels.Set(obj.GetLabels()))) {
		case keep:
			own = append(own, obj)
		case adopt:
			if !rechecked {
				if err := c.recheck(ctx); err != nil {
					return nil, err
				}
				rechecked = true
			}
			err := c.patch(ctx, obj.GetName(), c.adoption(obj))
			if err == nil {
				own = append(own, obj)
			} else if !apierrors.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("adopt %s: %w", obj.GetName(), err))
			}
		case release:
			err := c.patch(ctx, obj.GetName(), c.releasing(obj))
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) {
				errs = append(errs, fmt.Errorf("release %s: %w", obj.GetName(), err))
			}
		}
	}
	return own, errors.Join(errs...)
}

func (c claims[T]) recheck(ctx context.Context) error {
	fresh, err := c.fresh(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("read %s before it adopts: %w", c.owner.GetName(), err)
	case fresh.GetUID() != c.owner.GetUID():
		return fmt.Errorf("%s %s was replaced by another of the same name", c.kind.Kind, c.owner.GetName())
	case fresh.GetDeletionTimestamp() != nil:
		return fmt.Errorf("%s %s is being deleted and adopts nothing", c.kind.Kind, c.owner.GetName())
	}
	return nil
}

// Both patches name the object's UID, so that they fail on a namesake.
type metaPatch struct {
	Metadata struct {
		UID             types.UID `json:"uid"`
		OwnerReferences []any     `json:"ownerReferences"`
	} `json:"metadata"`
}

func (c claims[T]) adoption(obj T) []byte {
	return ownerPatch(obj.GetUID(), *metav1.NewControllerRef(c.owner, c.kind))
}

func (c claims[T]) releasing(obj T) []byte {
	return ownerPatch(obj.GetUID(), withoutOwner{"delete", c.owner.GetUID()})
}

// withoutOwner removes one element of ownerReferences, whose merge key is uid.
type withoutOwner struct {
	Patch string    `json:"$patch"`
	UID   types.UID `json:"uid"`
}

// ownerPatch is a strategic merge patch of an object's owner references.
func ownerPatch(uid types.UID, refs ...any) []byte {
	var p metaPatch
	p.Metadata.UID, p.Metadata.OwnerReferences = uid, refs
	raw, err := json.Marshal(p)
	if err != nil {
		panic(err) // only plain fields
	}
	return raw
}
