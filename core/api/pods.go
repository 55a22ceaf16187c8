package api

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/helper/qos"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// Source: k8s.io/kubernetes/pkg/registry/core/pod.
func pods() *Resource {
	r := coreResource("Pod", "pods", "pod", "po")
	r.Categories = []string{"all"}
	r.Rules = rules[*core.Pod]{
		prepareForCreate: preparePod,
		prepareForUpdate: func(pod, old *core.Pod) {
			pod.Status = old.Status
			if pod.Spec.Resources == nil && old.Spec.Resources != nil {
				// Clients that do not know the field drop it.
				pod.Spec.Resources = old.Spec.Resources.DeepCopy()
			}
			podutil.DropDisabledPodFields(pod, old)
			bumpPodGeneration(pod, old)
		},
		validate: func(pod *core.Pod) field.ErrorList {
			return corevalidation.ValidatePodCreate(pod, podOptions(pod, nil))
		},
		validateUpdate: func(pod, old *core.Pod) field.ErrorList {
			return corevalidation.ValidatePodUpdate(pod, old, podOptions(pod, old))
		},
		warningsOnCreate: podWarnings,
		reset:            [][]string{{"status"}},
	}.untyped()
	connect := func(name, kind string, verbs ...string) Subresource {
		return Subresource{Name: name, Kind: corev1.SchemeGroupVersion.WithKind(kind), Verbs: verbs, Connect: true}
	}
	r.Subresources = []Subresource{
		connect("attach", "PodAttachOptions", "create", "get"),
		{Name: "binding", Kind: corev1.SchemeGroupVersion.WithKind("Binding"), Verbs: []string{"create"}},
		ephemeralContainers(r),
		{Name: "eviction", Kind: policyv1.SchemeGroupVersion.WithKind("Eviction"), Verbs: []string{"create"}},
		connect("exec", "PodExecOptions", "create", "get"),
		connect("log", "Pod", "get"),
		connect("portforward", "PodPortForwardOptions", "create", "get"),
		proxy("PodProxyOptions"), podResize(r), podStatus(r),
	}
	r.fields = podFields
	r.graceful = podGrace
	return r
}

// podOptions are how strict validation is; what an old pod has may stay.
func podOptions(pod, old *core.Pod) corevalidation.PodValidationOptions {
	var oldSpec *core.PodSpec
	var oldMeta *metav1.ObjectMeta
	if old != nil {
		oldSpec, oldMeta = &old.Spec, &old.ObjectMeta
	}
	options := podutil.GetValidationOptionsFromPodSpecAndMeta(&pod.Spec, oldSpec, &pod.ObjectMeta, oldMeta)
	options.ResourceIsPod = true
	return options
}

func preparePod(pod *core.Pod) {
	pod.Generation = 1
	pod.Status = core.PodStatus{Phase: core.PodPending}
	podutil.DropDisabledPodFields(pod, nil)
	if len(pod.Spec.SchedulingGates) > 0 {
		setCondition(&pod.Status, core.PodCondition{
			Type: core.PodScheduled, Status: core.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message:            "Scheduling is blocked due to non-empty scheduling gates",
			LastTransitionTime: pod.CreationTimestamp,
		})
	}
	selectByLabelKeys(pod)
	podutil.DefaultPodLevelResources(pod)
	pod.Status.QOSClass = qos.GetPodQOS(pod)
}

func bumpPodGeneration(pod, old *core.Pod) {
	if !equality.Semantic.DeepEqual(pod.Spec, old.Spec) {
		pod.Generation++
	}
}

func podWarnings(ctx context.Context, pod *core.Pod) []string {
	var warnings []string
	if msgs := utilvalidation.IsDNS1123Label(pod.Name); len(msgs) > 0 {
		warnings = append(warnings, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", msgs))
	}
	return append(warnings, podutil.GetWarningsForPod(ctx, pod, nil)...)
}

func podFields(obj runtime.Object) fields.Set {
	pod := obj.(*core.Pod)
	ip := ""
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	return fields.Set{
		"spec.nodeName": pod.Spec.NodeName, "spec.restartPolicy": string(pod.Spec.RestartPolicy),
		"spec.schedulerName": pod.Spec.SchedulerName, "spec.serviceAccountName": pod.Spec.ServiceAccountName,
		"spec.hostNetwork": strconv.FormatBool(pod.Spec.HostNetwork), "status.phase": string(pod.Status.Phase),
		"status.podIP": ip, "status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}

// podGrace is the time in seconds that a pod gets to end by itself: none if no
// kubelet has it or if it has ended.
func podGrace(obj runtime.Object, requested *int64) int64 {
	pod := obj.(*core.Pod)
	switch {
	case pod.Spec.NodeName == "", pod.Status.Phase == core.PodFailed, pod.Status.Phase == core.PodSucceeded:
		return 0
	case requested != nil:
		return *requested
	case pod.Spec.TerminationGracePeriodSeconds == nil:
		return 0
	case *pod.Spec.TerminationGracePeriodSeconds < 0:
		return 1
	}
	return *pod.Spec.TerminationGracePeriodSeconds
}
