package api

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// coreResource is a row of the core group, to be filled.
func coreResource(kind, name, singular string, short ...string) *Resource {
	return &Resource{
		Version: "v1", Kind: kind, ListKind: kind + "List", Name: name, Singular: singular, ShortNames: short,
		Namespaced: true, Verbs: allVerbs(), Prefix: "/registry/" + name + "/", Storage: corev1.SchemeGroupVersion,
		AllowUnconditionalUpdate: true,
	}
}

// status is the row of a status subresource.
func status(r *Resource, rules Rules) Subresource {
	return Subresource{Name: "status", Kind: r.GVK(), Verbs: []string{"get", "patch", "update"}, Rules: rules}
}

// proxy is the row of a subresource of which something else answers.
func proxy(kind string) Subresource {
	return Subresource{
		Name: "proxy", Kind: corev1.SchemeGroupVersion.WithKind(kind), Connect: true,
		Verbs: []string{"create", "delete", "get", "patch", "update"},
	}
}

// Source: k8s.io/kubernetes/pkg/registry/core/configmap.
func configMaps() *Resource {
	r := coreResource("ConfigMap", "configmaps", "configmap", "cm")
	r.Rules = rules[*core.ConfigMap]{
		validate:       corevalidation.ValidateConfigMap,
		validateUpdate: corevalidation.ValidateConfigMapUpdate,
	}.untyped()
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/core/namespace.
func namespaces() *Resource {
	r := coreResource("Namespace", "namespaces", "namespace", "ns")
	r.Namespaced = false
	// A namespace is not deleted with others: its contents go first.
	r.Verbs = []string{"create", "delete", "get", "list", "patch", "update", "watch"}
	r.Rules = rules[*core.Namespace]{
		prepareForCreate: func(ns *core.Namespace) {
			ns.Status = core.NamespaceStatus{Phase: core.NamespaceActive}
			for _, f := range ns.Spec.Finalizers {
				if f == core.FinalizerKubernetes {
					return
				}
			}
			ns.Spec.Finalizers = append(ns.Spec.Finalizers, core.FinalizerKubernetes)
		},
		prepareForUpdate: func(ns, old *core.Namespace) {
			ns.Spec.Finalizers, ns.Status = old.Spec.Finalizers, old.Status
		},
		canonicalize: labelNamespace,
		validate:     corevalidation.ValidateNamespace,
		validateUpdate: func(ns, old *core.Namespace) field.ErrorList {
			return append(corevalidation.ValidateNamespace(ns), corevalidation.ValidateNamespaceUpdate(ns, old)...)
		},
		reset: [][]string{{"status"}},
	}.untyped()
	finalize := rules[*core.Namespace]{
		prepareForUpdate: func(ns, old *core.Namespace) { ns.Status = old.Status },
		validateUpdate:   corevalidation.ValidateNamespaceFinalizeUpdate,
		reset:            [][]string{{"status"}},
	}.untyped()
	r.Subresources = []Subresource{
		{Name: "finalize", Kind: r.GVK(), Verbs: []string{"update"}, Rules: finalize},
		status(r, rules[*core.Namespace]{
			prepareForUpdate: func(ns, old *core.Namespace) { ns.Spec = old.Spec },
			validateUpdate:   corevalidation.ValidateNamespaceStatusUpdate,
			reset:            [][]string{{"spec"}},
		}.untyped()),
	}
	r.fields = func(obj runtime.Object) fields.Set {
		ns := obj.(*core.Namespace)
		return fields.Set{"status.phase": string(ns.Status.Phase), "name": ns.Name}
	}
	return r
}

// labelNamespace gives a namespace the label by which policies select it. The
// default does so too, but when the name was generated it came too early.
func labelNamespace(ns *core.Namespace) {
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
}

// Source: k8s.io/kubernetes/pkg/registry/core/serviceaccount.
func serviceAccounts() *Resource {
	r := coreResource("ServiceAccount", "serviceaccounts", "serviceaccount", "sa")
	onlyNames := func(sa *core.ServiceAccount) {
		for i, secret := range sa.Secrets {
			sa.Secrets[i] = core.ObjectReference{Name: secret.Name}
		}
	}
	deprecated := func(sa, old *core.ServiceAccount) []string {
		const annotation = "kubernetes.io/enforce-mountable-secrets"
		if _, has := sa.Annotations[annotation]; !has {
			return nil
		}
		if old != nil {
			if _, had := old.Annotations[annotation]; had {
				return nil
			}
		}
		return []string{fmt.Sprintf("metadata.annotations[%s]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets", annotation)}
	}
	r.Rules = rules[*core.ServiceAccount]{
		prepareForCreate: onlyNames,
		prepareForUpdate: func(sa, _ *core.ServiceAccount) { onlyNames(sa) },
		validate:         corevalidation.ValidateServiceAccount,
		validateUpdate:   corevalidation.ValidateServiceAccountUpdate,
		warningsOnCreate: func(_ context.Context, sa *core.ServiceAccount) []string { return deprecated(sa, nil) },
		warningsOnUpdate: func(_ context.Context, sa, old *core.ServiceAccount) []string { return deprecated(sa, old) },
	}.untyped()
	r.Subresources = []Subresource{{Name: "token", Kind: authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), Verbs: []string{"create"}}}
	return r
}

func events() *Resource {
	r := coreResource("Event", "events", "event", "ev")
	eventRules(r)
	return r
}

func eventsV1() *Resource {
	r := coreResource("Event", "events", "event", "ev")
	r.Group = "events.k8s.io"
	eventRules(r)
	return r
}

// eventRules differ between the two groups in what they require. Objects and
// their store are the same.
// Source: k8s.io/kubernetes/pkg/registry/core/event.
func eventRules(r *Resource) {
	r.AllowCreateOnUpdate, r.NoGarbageCollection = true, true
	gv := schema.GroupVersion{Group: r.Group, Version: r.Version}
	r.Rules = rules[*core.Event]{
		validate:       func(e *core.Event) field.ErrorList { return corevalidation.ValidateEventCreate(e, gv) },
		validateUpdate: func(e, old *core.Event) field.ErrorList { return corevalidation.ValidateEventUpdate(e, old, gv) },
	}.untyped()
	r.fields = func(obj runtime.Object) fields.Set {
		e := obj.(*core.Event)
		source := e.Source.Component
		if source == "" {
			source = e.ReportingController
		}
		return fields.Set{
			"involvedObject.kind": e.InvolvedObject.Kind, "involvedObject.namespace": e.InvolvedObject.Namespace,
			"involvedObject.name": e.InvolvedObject.Name, "involvedObject.uid": string(e.InvolvedObject.UID),
			"involvedObject.apiVersion": e.InvolvedObject.APIVersion, "involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
			"involvedObject.fieldPath": e.InvolvedObject.FieldPath,
			"reason":                   e.Reason, "reportingComponent": e.ReportingController, "source": source, "type": e.Type,
		}
	}
}

// ipWarnings warns of an address that is valid, but written unusually.
func ipWarnings(path *field.Path, ip string) []string {
	return utilvalidation.GetWarningsForIP(path, ip)
}
