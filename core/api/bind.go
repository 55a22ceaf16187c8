package api

import (
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// Bind puts an internal Pod onto the node that an internal Binding names. The
// pod is changed in place; a pod that is bound already is a Conflict.
// Source: k8s.io/kubernetes/pkg/registry/core/pod/storage.
func Bind(obj, binding runtime.Object, now time.Time) error {
	pod, ok := obj.(*core.Pod)
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("bind a %T", obj))
	}
	b, ok := binding.(*core.Binding)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", binding))
	}
	if b.Name != pod.Name {
		return apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := corevalidation.ValidatePodBinding(b); len(errs) > 0 {
		return apierrors.NewInvalid(core.Kind("Binding"), b.Name, errs)
	}
	if err := bindable(pod, b); err != nil {
		return apierrors.NewConflict(core.Resource("pods/binding"), pod.Name, err)
	}
	pod.Spec.NodeName = b.Target.Name
	pod.Status.NominatedNodeName = ""
	pod.Annotations = merged(pod.Annotations, b.Annotations)
	pod.Labels = merged(pod.Labels, b.Labels)
	setCondition(&pod.Status, core.PodCondition{
		Type: core.PodScheduled, Status: core.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
	})
	return nil
}

// setCondition puts a condition into a status, in place of the one of its type.
// When its status does not change, neither does the time of its transition.
// Kubernetes' own function of this kind would read the wall clock.
func setCondition(s *core.PodStatus, c core.PodCondition) {
	for i := range s.Conditions {
		if was := &s.Conditions[i]; was.Type == c.Type {
			if was.Status == c.Status {
				c.LastTransitionTime = was.LastTransitionTime
			}
			*was = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// bindable says why a pod cannot be bound.
func bindable(pod *core.Pod, b *core.Binding) error {
	switch {
	case b.UID != "" && b.UID != pod.UID:
		return fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, pod.UID) //nolint:staticcheck // Kubernetes' words
	case b.ResourceVersion != "" && b.ResourceVersion != pod.ResourceVersion:
		return fmt.Errorf("Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", b.ResourceVersion, pod.ResourceVersion) //nolint:staticcheck // as above
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	return nil
}

// merged is a with b's entries.
func merged(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	out := make(map[string]string, len(a)+len(b))
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
