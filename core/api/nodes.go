package api

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/features"
)

// Source: k8s.io/kubernetes/pkg/registry/core/node.
func nodes() *Resource {
	r := coreResource("Node", "nodes", "node", "no")
	r.Namespaced = false
	r.Prefix = "/registry/minions/" // the name that they had in 2014
	r.Rules = rules[*core.Node]{
		prepareForCreate: func(n *core.Node) {
			n.Spec.ConfigSource, n.Status.Config = nil, nil
			dropDisabledNodeFields(n, &core.Node{})
		},
		prepareForUpdate: func(n, old *core.Node) {
			n.Status = old.Status
			if old.Spec.ConfigSource == nil {
				n.Spec.ConfigSource = nil
			}
			dropDisabledNodeFields(n, old)
		},
		validate: corevalidation.ValidateNode,
		validateUpdate: func(n, old *core.Node) field.ErrorList {
			return append(corevalidation.ValidateNode(n), corevalidation.ValidateNodeUpdate(n, old)...)
		},
		warningsOnCreate: func(_ context.Context, n *core.Node) []string { return nodeWarnings(n) },
		warningsOnUpdate: func(_ context.Context, n, _ *core.Node) []string { return nodeWarnings(n) },
		options:          nodeOptions,
		reset:            [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{proxy("NodeProxyOptions"), status(r, rules[*core.Node]{
		prepareForUpdate: func(n, old *core.Node) {
			n.Spec = old.Spec
			if old.Status.Config == nil {
				n.Status.Config = nil
			}
			if !utilfeature.DefaultFeatureGate.Enabled(features.KubeletInUserNamespace) && old.Status.NodeInfo.RunningInUserNamespace == nil {
				n.Status.NodeInfo.RunningInUserNamespace = nil
			}
		},
		validateUpdate: corevalidation.ValidateNodeUpdate,
		options:        nodeOptions,
		reset:          [][]string{{"spec"}},
	}.untyped())}
	r.fields = func(obj runtime.Object) fields.Set {
		return fields.Set{"spec.unschedulable": fmt.Sprint(obj.(*core.Node).Spec.Unschedulable)}
	}
	return r
}

// dropDisabledNodeFields clears what belongs to a feature that is off, unless
// it is in use.
func dropDisabledNodeFields(n, old *core.Node) {
	on := utilfeature.DefaultFeatureGate.Enabled
	if !on(features.RecursiveReadOnlyMounts) && !on(features.UserNamespacesSupport) {
		n.Status.RuntimeHandlers = nil
	}
	if !on(features.SupplementalGroupsPolicy) && old.Status.Features == nil {
		n.Status.Features = nil
	}
	if !on(features.NodeDeclaredFeatures) && old.Status.DeclaredFeatures == nil {
		n.Status.DeclaredFeatures = nil
	}
	if !on(features.InPlacePodVerticalScalingSchedulerPreemption) && old.Spec.PodPreemptionPolicy == nil {
		n.Spec.PodPreemptionPolicy = nil
	}
}

func nodeOptions() map[string]bool {
	const preemption = features.InPlacePodVerticalScalingSchedulerPreemption
	return map[string]bool{string(preemption): utilfeature.DefaultFeatureGate.Enabled(preemption)}
}

func nodeWarnings(n *core.Node) []string {
	var warnings []string
	if n.Spec.ConfigSource != nil {
		warnings = append(warnings, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		warnings = append(warnings, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		warnings = append(warnings, utilvalidation.GetWarningsForCIDR(field.NewPath("spec", "podCIDRs").Index(i), cidr)...)
	}
	return warnings
}
