package api

import (
	"context"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/features"
)

// appsResource is a row of the apps group, to be filled.
func appsResource(kind, name, singular string, short ...string) *Resource {
	r := coreResource(kind, name, singular, short...)
	r.Group, r.Storage = "apps", appsv1.SchemeGroupVersion
	r.Categories = []string{"all"}
	return r
}

// scaleSub is the row of a scale subresource. What is written to it becomes
// an update of the resource itself.
func scaleSub() Subresource {
	return Subresource{Name: "scale", Kind: autoscalingv1.SchemeGroupVersion.WithKind("Scale"), Verbs: []string{"get", "patch", "update"}}
}

// Source: k8s.io/kubernetes/pkg/registry/apps/deployment.
func deployments() *Resource {
	r := appsResource("Deployment", "deployments", "deployment", "deploy")
	r.Rules = rules[*apps.Deployment]{
		prepareForCreate: func(d *apps.Deployment) {
			d.Status, d.Generation = apps.DeploymentStatus{}, 1
			podutil.DropDisabledTemplateFields(&d.Spec.Template, nil)
		},
		prepareForUpdate: func(d, old *apps.Deployment) {
			d.Status = old.Status
			podutil.DropDisabledTemplateFields(&d.Spec.Template, &old.Spec.Template)
			// Annotations count because replica sets get them.
			if !equality.Semantic.DeepEqual(d.Spec, old.Spec) || !equality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
				d.Generation = old.Generation + 1
			}
		},
		validate: func(d *apps.Deployment) field.ErrorList {
			return appsvalidation.ValidateDeployment(d, podutil.GetValidationOptionsFromPodTemplate(&d.Spec.Template, nil))
		},
		validateUpdate: func(d, old *apps.Deployment) field.ErrorList {
			return appsvalidation.ValidateDeploymentUpdate(d, old, podutil.GetValidationOptionsFromPodTemplate(&d.Spec.Template, &old.Spec.Template))
		},
		warningsOnCreate: func(ctx context.Context, d *apps.Deployment) []string {
			return append(nameWarnings(d.Name), templateWarnings(ctx, &d.Spec.Template, nil)...)
		},
		warningsOnUpdate: func(ctx context.Context, d, old *apps.Deployment) []string {
			if d.Generation == old.Generation {
				return nil
			}
			return templateWarnings(ctx, &d.Spec.Template, &old.Spec.Template)
		},
		reset: [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{scaleSub(), status(r, rules[*apps.Deployment]{
		prepareForUpdate: func(d, old *apps.Deployment) {
			d.Spec, d.Labels = old.Spec, old.Labels
			if !terminatingReplicas() && old.Status.TerminatingReplicas == nil {
				d.Status.TerminatingReplicas = nil
			}
		},
		validateUpdate: appsvalidation.ValidateDeploymentStatusUpdate,
		reset:          [][]string{{"spec"}, {"metadata", "labels"}},
	}.untyped())}
	r.scale = &scaling{
		get: func(obj runtime.Object) (*metav1.LabelSelector, int32, int32) {
			d := obj.(*apps.Deployment)
			return d.Spec.Selector, d.Spec.Replicas, d.Status.Replicas
		},
		set: func(obj runtime.Object, want int32) { obj.(*apps.Deployment).Spec.Replicas = want },
	}
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/apps/replicaset.
func replicaSets() *Resource {
	r := appsResource("ReplicaSet", "replicasets", "replicaset", "rs")
	r.Rules = rules[*apps.ReplicaSet]{
		prepareForCreate: func(rs *apps.ReplicaSet) {
			rs.Status, rs.Generation = apps.ReplicaSetStatus{}, 1
			podutil.DropDisabledTemplateFields(&rs.Spec.Template, nil)
		},
		prepareForUpdate: func(rs, old *apps.ReplicaSet) {
			rs.Status = old.Status
			podutil.DropDisabledTemplateFields(&rs.Spec.Template, &old.Spec.Template)
			if !equality.Semantic.DeepEqual(rs.Spec, old.Spec) {
				rs.Generation = old.Generation + 1
			}
		},
		validate: func(rs *apps.ReplicaSet) field.ErrorList {
			return appsvalidation.ValidateReplicaSet(rs, podutil.GetValidationOptionsFromPodTemplate(&rs.Spec.Template, nil))
		},
		validateUpdate: func(rs, old *apps.ReplicaSet) field.ErrorList {
			return appsvalidation.ValidateReplicaSetUpdate(rs, old, podutil.GetValidationOptionsFromPodTemplate(&rs.Spec.Template, &old.Spec.Template))
		},
		warningsOnCreate: func(ctx context.Context, rs *apps.ReplicaSet) []string {
			return append(nameWarnings(rs.Name), templateWarnings(ctx, &rs.Spec.Template, nil)...)
		},
		warningsOnUpdate: func(ctx context.Context, rs, old *apps.ReplicaSet) []string {
			if rs.Generation == old.Generation {
				return nil
			}
			return templateWarnings(ctx, &rs.Spec.Template, &old.Spec.Template)
		},
		reset: [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{scaleSub(), status(r, rules[*apps.ReplicaSet]{
		prepareForUpdate: func(rs, old *apps.ReplicaSet) {
			rs.Spec = old.Spec
			if !terminatingReplicas() && old.Status.TerminatingReplicas == nil {
				rs.Status.TerminatingReplicas = nil
			}
		},
		validateUpdate: appsvalidation.ValidateReplicaSetStatusUpdate,
		reset:          [][]string{{"spec"}},
	}.untyped())}
	r.scale = &scaling{
		get: func(obj runtime.Object) (*metav1.LabelSelector, int32, int32) {
			rs := obj.(*apps.ReplicaSet)
			return rs.Spec.Selector, rs.Spec.Replicas, rs.Status.Replicas
		},
		set: func(obj runtime.Object, want int32) { obj.(*apps.ReplicaSet).Spec.Replicas = want },
	}
	r.fields = func(obj runtime.Object) fields.Set {
		return fields.Set{"status.replicas": strconv.Itoa(int(obj.(*apps.ReplicaSet).Status.Replicas))}
	}
	return r
}

func terminatingReplicas() bool {
	return utilfeature.DefaultFeatureGate.Enabled(features.DeploymentReplicaSetTerminatingReplicas)
}

func nameWarnings(name string) []string {
	if msgs := utilvalidation.IsDNS1123Label(name); len(msgs) > 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", msgs)}
	}
	return nil
}

func templateWarnings(ctx context.Context, template, old *core.PodTemplateSpec) []string {
	return podutil.GetWarningsForPodTemplate(ctx, field.NewPath("spec", "template"), template, old)
}
