package apiserver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/node"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	"k8s.io/kubernetes/pkg/util/tolerations"

	"github.com/klab-project/klab/core/api"
)

// newPod is the pod that the request creates, or nil.
func (r *request) newPod() *core.Pod {
	pod, _ := r.object.(*core.Pod)
	if !r.creates {
		return nil
	}
	return pod
}

// forbidPod refuses a pod.
func (r *request) forbidPod(format string, args ...any) error {
	name := r.path.Name
	if pod, ok := r.object.(*core.Pod); ok && name == "" {
		name = pod.Name
	}
	return apierrors.NewForbidden(r.resource.GR(), name, fmt.Errorf(format, args...))
}

// priority gives a pod the number of its class, or of the class for pods that
// name none; of those there is at most one.
// Source: k8s.io/kubernetes/plugin/pkg/admission/priority.
func (r *request) priority(ctx context.Context) (string, error) {
	if class, ok := r.object.(*scheduling.PriorityClass); ok && !r.isDeletion() {
		return "", r.onlyDefault(class)
	}
	pod := r.newPod()
	if pod == nil {
		return "", nil
	}
	value, policy := int32(0), core.PreemptLowerPriority
	class, err := r.priorityClass(ctx, pod.Spec.PriorityClassName)
	if err != nil {
		return "", err
	}
	if class != nil {
		pod.Spec.PriorityClassName, value = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != value {
		return "", r.forbidPod("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, value)
	}
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy != policy {
		return "", r.forbidPod("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *pod.Spec.PreemptionPolicy, policy)
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return fmt.Sprintf("spec.priority is %d", value), nil
}

// priorityClass is the class of a name, or the default one, or none.
func (r *request) priorityClass(ctx context.Context, name string) (*scheduling.PriorityClass, error) {
	gvr := schedulingv1.SchemeGroupVersion.WithResource("priorityclasses")
	if name != "" {
		obj, err := r.server.lookup(ctx, gvr, "", name)
		if apierrors.IsNotFound(err) {
			return nil, r.forbidPod("no PriorityClass with name %s was found", name)
		} else if err != nil {
			return nil, err
		}
		return obj.(*scheduling.PriorityClass), nil
	}
	var found *scheduling.PriorityClass
	r.server.cachers[api.Find(gvr).Prefix].each(func(e *entry) {
		c := e.obj.(*scheduling.PriorityClass)
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	})
	return found, nil
}

func (r *request) onlyDefault(class *scheduling.PriorityClass) error {
	other, err := r.priorityClass(context.Background(), "")
	if err != nil || other == nil || !class.GlobalDefault || other.Name == class.Name {
		return err
	}
	return apierrors.NewForbidden(r.resource.GR(), class.Name, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
}

// runtimeClass adds to a pod what its runtime costs, and where it is.
// Source: k8s.io/kubernetes/plugin/pkg/admission/runtimeclass.
func (r *request) runtimeClass(ctx context.Context) (string, error) {
	pod := r.newPod()
	switch {
	case pod == nil:
		return "", nil
	case pod.Spec.RuntimeClassName == nil:
		if pod.Spec.Overhead != nil {
			return "", r.forbidPod("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
		}
		return "", nil
	}
	obj, err := r.server.lookup(ctx, nodev1.SchemeGroupVersion.WithResource("runtimeclasses"), "", *pod.Spec.RuntimeClassName)
	if apierrors.IsNotFound(err) {
		return "", r.forbidPod("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName)
	} else if err != nil {
		return "", err
	}
	class := obj.(*node.RuntimeClass)
	switch {
	case class.Overhead == nil && pod.Spec.Overhead != nil:
		return "", r.forbidPod("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
	case class.Overhead == nil:
	case len(pod.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead):
		return "", r.forbidPod("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	default:
		pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if s := class.Scheduling; s != nil {
		selector := maps.Clone(s.NodeSelector)
		for key, value := range pod.Spec.NodeSelector {
			if wants, ok := selector[key]; ok && wants != value {
				return "", r.forbidPod("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, wants, key, value)
			}
			if selector == nil {
				selector = map[string]string{}
			}
			selector[key] = value
		}
		pod.Spec.NodeSelector = selector
		pod.Spec.Tolerations = tolerations.MergeTolerations(pod.Spec.Tolerations, s.Tolerations)
	}
	return "handler is " + class.Handler, nil
}

// defaultTolerations lets a pod stay on a node in trouble for five minutes. An
// update that leaves them out gets them again, as no toleration may go.
func (r *request) defaultTolerations(context.Context) (string, error) {
	pod, _ := r.object.(*core.Pod)
	if pod == nil || r.path.Sub != "" || r.isDeletion() {
		return "", nil
	}
	var added []string
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		tolerated := slices.ContainsFunc(pod.Spec.Tolerations, func(t core.Toleration) bool {
			return (t.Key == key || t.Key == "") && (t.Effect == core.TaintEffectNoExecute || t.Effect == "")
		})
		if tolerated {
			continue
		}
		seconds := int64(5 * time.Minute / time.Second)
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, core.Toleration{
			Key: key, Operator: core.TolerationOpExists, Effect: core.TaintEffectNoExecute, TolerationSeconds: &seconds,
		})
		added = append(added, key)
	}
	if len(added) == 0 {
		return "", nil
	}
	return "tolerates " + strings.Join(added, ", ") + " for 300 s", nil
}
