package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/klab-project/klab/core/step"
)

// newAggregation fills in cluster roles that gather the rules of others: admin,
// edit and view are such.
// Behaviour: kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles.
func newAggregation(l *Loop) (Reconcile, error) {
	roles := l.Informers.Rbac().V1().ClusterRoles()
	lister := roles.Lister()
	aggregating := func() []*rbacv1.ClusterRole {
		all, _ := lister.List(labels.Everything())
		return slices.DeleteFunc(slices.Clone(all), func(r *rbacv1.ClusterRole) bool { return r.AggregationRule == nil })
	}
	reconcile := func(ctx context.Context, name string) error {
		role, err := lister.Get(name)
		if apierrors.IsNotFound(err) || err == nil && role.AggregationRule == nil {
			return nil
		}
		if err != nil {
			return err
		}
		all, err := lister.List(labels.Everything())
		if err != nil {
			return err
		}
		rules, err := gathered(role, all)
		if err != nil || equality.Semantic.DeepEqual(rules, role.Rules) {
			return err
		}
		role = role.DeepCopy()
		role.Rules = rules
		step.Note(ctx, step.ReconcileDetail{Plan: []string{fmt.Sprintf("gather %d rules", len(rules))}})
		_, err = l.Client.RbacV1().ClusterRoles().Update(ctx, role, metav1.UpdateOptions{})
		return err
	}
	return reconcile, errors.Join(Watch(l, roles.Informer(), func(old, cur *rbacv1.ClusterRole) {
		for _, r := range aggregating() {
			l.Add(r.Name, revisionOf(newest(old, cur)))
		}
	}))
}

// gathered are the rules of all roles that role selects, each once.
func gathered(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.Name == role.Name || !selector.Matches(labels.Set(other.Labels)) {
				continue
			}
			for _, rule := range other.Rules {
				known := slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, rule) })
				if !known {
					rules = append(rules, *rule.DeepCopy())
				}
			}
		}
	}
	return rules, nil
}
