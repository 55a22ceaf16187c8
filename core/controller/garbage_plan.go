package controller

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// owners are an object's owners by what the server says of them.
type owners struct {
	solid   []types.UID // exist
	gone    []types.UID // do not
	waiting []types.UID // are being deleted and wait for their dependents
}

type garbageDo int

const (
	nothing garbageDo = iota
	forgetOwners
	remove
)

type garbagePlan struct {
	what    garbageDo
	owners  []types.UID // to be forgotten
	policy  metav1.DeletionPropagation
	unblock bool // first stop blocking the owners
}

// planGarbage says what becomes of an object with these owners. The rules are
// those of upstream's attemptToDeleteItem.
func planGarbage(obj *metav1.PartialObjectMetadata, o owners, dependents []graphNode) garbagePlan {
	switch {
	case len(obj.OwnerReferences) == 0:
		return garbagePlan{}
	case len(o.solid) > 0 && len(o.gone)+len(o.waiting) == 0:
		return garbagePlan{}
	case len(o.solid) > 0:
		return garbagePlan{what: forgetOwners, owners: slices.Concat(o.gone, o.waiting)}
	case len(o.waiting) > 0 && len(dependents) > 0:
		circle := slices.ContainsFunc(dependents, func(d graphNode) bool { return d.foreground })
		return garbagePlan{what: remove, policy: metav1.DeletePropagationForeground, unblock: circle}
	case slices.Contains(obj.Finalizers, metav1.FinalizerOrphanDependents):
		return garbagePlan{what: remove, policy: metav1.DeletePropagationOrphan}
	case slices.Contains(obj.Finalizers, metav1.FinalizerDeleteDependents):
		return garbagePlan{what: remove, policy: metav1.DeletePropagationForeground}
	}
	return garbagePlan{what: remove, policy: metav1.DeletePropagationBackground}
}

func (p garbagePlan) words() string {
	if p.what == forgetOwners {
		return fmt.Sprintf("remove %d reference%s to owners that are gone", len(p.owners), plural(len(p.owners)))
	}
	return "delete it, propagation " + string(p.policy)
}
