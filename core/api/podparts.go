package api

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/features"
)

func podStatus(r *Resource) Subresource {
	return status(r, rules[*core.Pod]{
		prepareForUpdate: preparePodStatus,
		validateUpdate: func(pod, old *core.Pod) field.ErrorList {
			return corevalidation.ValidatePodStatusUpdate(pod, old, podOptions(pod, old))
		},
		warningsOnUpdate: func(_ context.Context, pod, _ *core.Pod) []string {
			var warnings []string
			for i, ip := range pod.Status.PodIPs {
				warnings = append(warnings, ipWarnings(field.NewPath("status", "podIPs").Index(i).Child("ip"), ip.IP)...)
			}
			for i, ip := range pod.Status.HostIPs {
				warnings = append(warnings, ipWarnings(field.NewPath("status", "hostIPs").Index(i).Child("ip"), ip.IP)...)
			}
			return warnings
		},
		reset: [][]string{{"spec"}, {"metadata", "deletionTimestamp"}, {"metadata", "ownerReferences"}},
	}.untyped())
}

// preparePodStatus keeps all but the status, and of that what a kubelet may
// leave out without meaning to clear it.
func preparePodStatus(pod, old *core.Pod) {
	pod.Spec = old.Spec
	pod.DeletionTimestamp = nil
	pod.OwnerReferences = old.OwnerReferences
	s, was := &pod.Status, &old.Status
	if s.QOSClass == "" {
		s.QOSClass = was.QOSClass
	}
	if s.ResourceClaimStatuses == nil {
		s.ResourceClaimStatuses = was.ResourceClaimStatuses
	}
	if s.ExtendedResourceClaimStatus == nil {
		s.ExtendedResourceClaimStatus = was.ExtendedResourceClaimStatus
	}
	if s.NodeAllocatableResourceClaimStatuses == nil {
		s.NodeAllocatableResourceClaimStatuses = was.NodeAllocatableResourceClaimStatuses
	}
	keepObservedGeneration(s, was)
	podutil.DropDisabledPodFields(pod, old)
}

// keepObservedGeneration fills in the generations that a client does not send,
// pairing conditions of one type in their order.
func keepObservedGeneration(s, was *core.PodStatus) {
	if s.ObservedGeneration == 0 {
		s.ObservedGeneration = was.ObservedGeneration
	}
	generations := map[core.PodConditionType][]int64{}
	for _, c := range was.Conditions {
		generations[c.Type] = append(generations[c.Type], c.ObservedGeneration)
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		had := generations[c.Type]
		if len(had) == 0 {
			continue
		}
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = had[0]
		}
		generations[c.Type] = had[1:]
	}
}

// ephemeralContainers is what `kubectl debug` writes to.
func ephemeralContainers(r *Resource) Subresource {
	return Subresource{
		Name: "ephemeralcontainers", Kind: r.GVK(), Verbs: []string{"get", "patch", "update"},
		Rules: rules[*core.Pod]{
			prepareForUpdate: func(pod, old *core.Pod) {
				added := pod.Spec.EphemeralContainers
				pod.Spec, pod.Status = old.Spec, old.Status
				pod.Spec.EphemeralContainers = added
				metav1.ResetObjectMetaForStatus(&pod.ObjectMeta, &old.ObjectMeta)
				podutil.DropDisabledPodFields(pod, old)
				bumpPodGeneration(pod, old)
			},
			validateUpdate: func(pod, old *core.Pod) field.ErrorList {
				return corevalidation.ValidatePodEphemeralContainersUpdate(pod, old, podOptions(pod, old))
			},
		}.untyped(),
	}
}

// selectByLabelKeys completes the selectors of affinity and topology spread
// with the pod's own values of the label keys that they name.
func selectByLabelKeys(pod *core.Pod) {
	add := func(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		if s == nil {
			return // selects nothing, and goes on doing so
		}
		for _, key := range keys {
			if value, ok := pod.Labels[key]; ok {
				s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	term := func(t *core.PodAffinityTerm) {
		add(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		add(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	}
	terms := func(required []core.PodAffinityTerm, preferred []core.WeightedPodAffinityTerm) {
		for i := range preferred {
			term(&preferred[i].PodAffinityTerm)
		}
		for i := range required {
			term(&required[i])
		}
	}
	if a := pod.Spec.Affinity; a != nil {
		if p := a.PodAffinity; p != nil {
			terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if p := a.PodAntiAffinity; p != nil {
			terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		add(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// podResize is where containers get other resources while they run: of the
// pod that is sent, nothing else counts.
// Source: k8s.io/kubernetes/pkg/registry/core/pod.
func podResize(r *Resource) Subresource {
	return Subresource{
		Name: "resize", Kind: r.GVK(), Verbs: []string{"get", "patch", "update"},
		Rules: rules[*core.Pod]{
			prepareForUpdate: func(pod, old *core.Pod) {
				onlyResources(pod, old)
				if pod.Spec.Resources == nil && old.Spec.Resources != nil {
					// Clients that do not know the field drop it.
					pod.Spec.Resources = old.Spec.Resources.DeepCopy()
				}
				if pod.Spec.Resources != nil {
					podutil.DefaultPodLevelResources(pod)
				}
				podutil.DropDisabledPodFields(pod, old)
				bumpPodGeneration(pod, old)
			},
			validateUpdate: func(pod, old *core.Pod) field.ErrorList {
				return corevalidation.ValidatePodResize(pod, old, podOptions(pod, old))
			},
		}.untyped(),
	}
}

// onlyResources takes everything from old but the resources. A pod with other
// containers stays as it is, for validation to refuse.
func onlyResources(pod, old *core.Pod) {
	if len(pod.Spec.Containers) != len(old.Spec.Containers) || len(pod.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return
	}
	containers := resized(pod.Spec.Containers, old.Spec.Containers)
	inits := resized(pod.Spec.InitContainers, old.Spec.InitContainers)
	volumes, whole := old.Spec.Volumes, old.Spec.Resources
	if utilfeature.DefaultFeatureGate.Enabled(features.InPlacePodVerticalScalingMemoryBackedVolumes) {
		volumes = pod.Spec.Volumes
	}
	if utilfeature.DefaultFeatureGate.Enabled(features.InPlacePodLevelResourcesVerticalScaling) {
		whole = pod.Spec.Resources
	}
	pod.Spec, pod.Status = old.Spec, old.Status
	metav1.ResetObjectMetaForStatus(&pod.ObjectMeta, &old.ObjectMeta)
	pod.Spec.Containers, pod.Spec.InitContainers, pod.Spec.Volumes, pod.Spec.Resources = containers, inits, volumes, whole
}

func resized(now, was []core.Container) []core.Container {
	out := slices.Clone(was)
	for i := range now {
		if now[i].Name != was[i].Name {
			return now
		}
		out[i].Resources, out[i].ResizePolicy = now[i].Resources, now[i].ResizePolicy
	}
	return out
}
