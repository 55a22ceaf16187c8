package api

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacvalidation "k8s.io/kubernetes/pkg/apis/rbac/validation"
)

// rbacResource is a row of the group of roles and their bindings, to be
// filled.
func rbacResource(kind, name, singular string, namespaced bool) *Resource {
	r := coreResource(kind, name, singular)
	r.Group, r.Storage, r.Namespaced = rbacv1.GroupName, rbacv1.SchemeGroupVersion, namespaced
	r.AllowCreateOnUpdate = true
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/rbac/role.
func roles() *Resource {
	r := rbacResource("Role", "roles", "role", true)
	r.plainTable = true
	r.Rules = rules[*rbac.Role]{validate: rbacvalidation.ValidateRole, validateUpdate: rbacvalidation.ValidateRoleUpdate}.untyped()
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/rbac/rolebinding.
func roleBindings() *Resource {
	r := rbacResource("RoleBinding", "rolebindings", "rolebinding", true)
	r.Rules = rules[*rbac.RoleBinding]{validate: rbacvalidation.ValidateRoleBinding, validateUpdate: rbacvalidation.ValidateRoleBindingUpdate}.untyped()
	return r
}

// Source: k8s.io/kubernetes/pkg/registry/rbac/clusterrole.
func clusterRoles() *Resource {
	r := rbacResource("ClusterRole", "clusterroles", "clusterrole", false)
	r.plainTable = true
	r.Rules = rules[*rbac.ClusterRole]{
		validate: func(c *rbac.ClusterRole) field.ErrorList {
			return rbacvalidation.ValidateClusterRole(c, rbacvalidation.ClusterRoleValidationOptions{})
		},
		validateUpdate: func(c, old *rbac.ClusterRole) field.ErrorList {
			return rbacvalidation.ValidateClusterRoleUpdate(c, old, rbacvalidation.ClusterRoleValidationOptions{AllowInvalidLabelValueInSelector: selectsInvalid(old)})
		},
	}.untyped()
	return r
}

// selectsInvalid tells whether a role has a selector with an invalid value,
// which it may keep.
func selectsInvalid(c *rbac.ClusterRole) bool {
	if c.AggregationRule == nil {
		return false
	}
	for i := range c.AggregationRule.ClusterRoleSelectors {
		if len(metavalidation.ValidateLabelSelector(&c.AggregationRule.ClusterRoleSelectors[i], metavalidation.LabelSelectorValidationOptions{}, nil)) > 0 {
			return true
		}
	}
	return false
}

// Source: k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding.
func clusterRoleBindings() *Resource {
	r := rbacResource("ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", false)
	r.Rules = rules[*rbac.ClusterRoleBinding]{validate: rbacvalidation.ValidateClusterRoleBinding, validateUpdate: rbacvalidation.ValidateClusterRoleBindingUpdate}.untyped()
	return r
}
