package api

import (
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// scaling is how a kind shows itself as a Scale.
type scaling struct {
	get func(obj runtime.Object) (selector *metav1.LabelSelector, want, have int32)
	set func(obj runtime.Object, want int32)
}

// Scale is the internal Scale of an internal object of a resource that has the
// scale subresource.
func (r *Resource) Scale(obj runtime.Object) (*autoscaling.Scale, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	labels, want, have := r.scale.get(obj)
	selector, err := metav1.LabelSelectorAsSelector(labels)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return &autoscaling.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
			ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp(),
		},
		Spec:   autoscaling.ScaleSpec{Replicas: want},
		Status: autoscaling.ScaleStatus{Replicas: have, Selector: selector.String()},
	}, nil
}

// SetScale puts the replicas of a Scale into obj, with the Scale's
// resourceVersion and uid if it has them, so that they are checked as in any
// other update. What follows is PrepareForUpdate and ValidateUpdate of the
// resource itself. Errors are Status errors.
func (r *Resource) SetScale(obj runtime.Object, scale *autoscaling.Scale) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if scale.Name != m.GetName() {
		return apierrors.NewBadRequest("the name of the object (" + scale.Name + ") does not match the name on the URL (" + m.GetName() + ")")
	}
	// The validation package of this group has the same rule and imports CEL.
	if errs := corevalidation.ValidateNonnegativeField(int64(scale.Spec.Replicas), field.NewPath("spec", "replicas")); len(errs) > 0 {
		return apierrors.NewInvalid(autoscaling.Kind("Scale"), m.GetName(), errs)
	}
	if v := scale.ResourceVersion; v != "" {
		if _, err := strconv.ParseUint(v, 10, 64); err != nil {
			return apierrors.NewBadRequest("metadata.resourceVersion must be a number")
		}
		m.SetResourceVersion(v)
	}
	if scale.UID != "" {
		m.SetUID(scale.UID)
	}
	r.scale.set(obj, scale.Spec.Replicas)
	return nil
}
