package api

import (
	"context"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// Source: k8s.io/kubernetes/pkg/registry/core/podtemplate.
func podTemplates() *Resource {
	r := coreResource("PodTemplate", "podtemplates", "podtemplate")
	path := field.NewPath("template")
	r.Rules = rules[*core.PodTemplate]{
		prepareForCreate: func(p *core.PodTemplate) {
			p.Generation = 1
			podutil.DropDisabledTemplateFields(&p.Template, nil)
		},
		prepareForUpdate: func(p, old *core.PodTemplate) {
			podutil.DropDisabledTemplateFields(&p.Template, &old.Template)
			if !equality.Semantic.DeepEqual(p.Template, old.Template) {
				p.Generation = old.Generation + 1
			}
		},
		validate: func(p *core.PodTemplate) field.ErrorList {
			return corevalidation.ValidatePodTemplate(p, podutil.GetValidationOptionsFromPodTemplate(&p.Template, nil))
		},
		validateUpdate: func(p, old *core.PodTemplate) field.ErrorList {
			return corevalidation.ValidatePodTemplateUpdate(p, old, podutil.GetValidationOptionsFromPodTemplate(&p.Template, &old.Template))
		},
		warningsOnCreate: func(ctx context.Context, p *core.PodTemplate) []string {
			return podutil.GetWarningsForPodTemplate(ctx, path, &p.Template, nil)
		},
		warningsOnUpdate: func(ctx context.Context, p, old *core.PodTemplate) []string {
			if p.Generation == old.Generation {
				return nil
			}
			return podutil.GetWarningsForPodTemplate(ctx, path, &p.Template, &old.Template)
		},
	}.untyped()
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/core/replicationcontroller.
func replicationControllers() *Resource {
	r := coreResource("ReplicationController", "replicationcontrollers", "replicationcontroller", "rc")
	r.Categories = []string{"all"}
	r.Prefix = "/registry/controllers/"
	r.Rules = rules[*core.ReplicationController]{
		prepareForCreate: func(c *core.ReplicationController) {
			c.Status, c.Generation = core.ReplicationControllerStatus{}, 1
			podutil.DropDisabledTemplateFields(c.Spec.Template, nil)
		},
		prepareForUpdate: func(c, old *core.ReplicationController) {
			c.Status = old.Status
			podutil.DropDisabledTemplateFields(c.Spec.Template, old.Spec.Template)
			if !equality.Semantic.DeepEqual(c.Spec, old.Spec) {
				c.Generation = old.Generation + 1
			}
		},
		validate: func(c *core.ReplicationController) field.ErrorList {
			return corevalidation.ValidateReplicationController(c, podutil.GetValidationOptionsFromPodTemplate(c.Spec.Template, nil))
		},
		validateUpdate: func(c, old *core.ReplicationController) field.ErrorList {
			return corevalidation.ValidateReplicationControllerUpdate(c, old, podutil.GetValidationOptionsFromPodTemplate(c.Spec.Template, old.Spec.Template))
		},
		warningsOnCreate: func(ctx context.Context, c *core.ReplicationController) []string {
			return append(nameWarnings(c.Name), templateWarnings(ctx, c.Spec.Template, nil)...)
		},
		warningsOnUpdate: func(ctx context.Context, c, old *core.ReplicationController) []string {
			if c.Generation == old.Generation {
				return nil
			}
			return templateWarnings(ctx, c.Spec.Template, old.Spec.Template)
		},
		reset: [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{scaleSub(), status(r, rules[*core.ReplicationController]{
		prepareForUpdate: func(c, old *core.ReplicationController) { c.Spec = old.Spec },
		validateUpdate:   corevalidation.ValidateReplicationControllerStatusUpdate,
		reset:            [][]string{{"spec"}},
	}.untyped())}
	r.fields = func(obj runtime.Object) fields.Set {
		return fields.Set{"status.replicas": strconv.Itoa(int(obj.(*core.ReplicationController).Status.Replicas))}
	}
	r.scale = &scaling{
		get: func(obj runtime.Object) (*metav1.LabelSelector, int32, int32) {
			c := obj.(*core.ReplicationController)
			replicas := int32(0)
			if c.Spec.Replicas != nil {
				replicas = *c.Spec.Replicas
			}
			return &metav1.LabelSelector{MatchLabels: c.Spec.Selector}, replicas, c.Status.Replicas
		},
		set: func(obj runtime.Object, want int32) { obj.(*core.ReplicationController).Spec.Replicas = &want },
	}
	return r
}
