package apiserver

import (
	"context"
	"errors"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/apis/core/helper"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacregistry "k8s.io/kubernetes/pkg/registry/rbac/validation"
)

// escalation refuses roles and bindings that give away more than who writes
// them has, unless a role lets them escalate or bind.
// Source: k8s.io/kubernetes/pkg/registry/rbac/*/policybased.
func (r *request) escalation(ctx context.Context) (string, error) {
	if r.resource.Group != rbac.GroupName || r.isDeletion() || r.object == nil || r.server.policy == nil || r.user.in(groupMasters) {
		return "", nil
	}
	if r.current != nil && onlyOwners(r.object, r.current.obj) {
		return "", nil
	}
	ctx = genericrequest.WithNamespace(genericrequest.WithUser(ctx, &user.DefaultInfo{Name: r.user.Name, Groups: r.user.Groups}), r.scope())
	var err error
	switch obj := r.object.(type) {
	case *rbac.Role:
		if !r.may("escalate", r.resource.Name, r.path.Name) {
			err = rbacregistry.ConfirmNoEscalationInternal(ctx, r.server.policy.rules, obj.Rules)
		}
	case *rbac.ClusterRole:
		if !r.may("escalate", r.resource.Name, r.path.Name) {
			err = r.escalatesCluster(ctx, obj)
		}
	case *rbac.RoleBinding:
		err = r.escalatesBinding(ctx, obj.RoleRef)
	case *rbac.ClusterRoleBinding:
		err = r.escalatesBinding(ctx, obj.RoleRef)
	}
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &status):
		return "", err
	}
	m, metaErr := meta.Accessor(r.object)
	if metaErr != nil {
		return "", apierrors.NewInternalError(metaErr)
	}
	return "", apierrors.NewForbidden(r.resource.GR(), m.GetName(), err)
}

func (r *request) may(verb, resource, name string) bool {
	allowed, _ := r.server.cfg.Authorize(Attributes{
		User: r.user.Name, Groups: r.user.Groups, Verb: verb, Group: rbac.GroupName, Version: "*", Resource: resource, Namespace: r.scope(), Name: name,
	})
	return allowed
}

// escalatesCluster also checks an aggregation rule, which can gather anything.
func (r *request) escalatesCluster(ctx context.Context, role *rbac.ClusterRole) error {
	if err := rbacregistry.ConfirmNoEscalationInternal(ctx, r.server.policy.rules, role.Rules); err != nil {
		return err
	}
	aggregates := role.AggregationRule != nil
	if r.current != nil {
		aggregates = aggregates || r.current.obj.(*rbac.ClusterRole).AggregationRule != nil
	}
	everything := []rbac.PolicyRule{
		{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
		{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
	}
	if aggregates && rbacregistry.ConfirmNoEscalationInternal(ctx, r.server.policy.rules, everything) != nil {
		return errors.New("must have cluster-admin privileges to use the aggregationRule")
	}
	return nil
}

func (r *request) escalatesBinding(ctx context.Context, ref rbac.RoleRef) error {
	resource := map[string]string{"Role": "roles", "ClusterRole": "clusterroles"}[ref.Kind]
	if resource == "" || r.may("bind", resource, ref.Name) {
		return nil // another kind is invalid
	}
	rules, err := r.server.policy.rules.GetRoleReferenceRules(ctx, rbacv1.RoleRef{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}, r.scope())
	if err != nil {
		return err
	}
	return rbacregistry.ConfirmNoEscalation(ctx, r.server.policy.rules, rules)
}

// onlyOwners tells whether a change is one of the garbage collector's: owners
// and finalizers.
func onlyOwners(obj, old runtime.Object) bool {
	a, b := obj.DeepCopyObject(), old
	m, err := meta.Accessor(a)
	if err != nil {
		return false
	}
	was, err := meta.Accessor(b)
	if err != nil {
		return false
	}
	m.SetOwnerReferences(was.GetOwnerReferences())
	m.SetFinalizers(was.GetFinalizers())
	m.SetManagedFields(was.GetManagedFields())
	return helper.Semantic.DeepEqual(a, b)
}
