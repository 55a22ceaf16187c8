package apiserver

import (
	"context"
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbacregistry "k8s.io/kubernetes/pkg/registry/rbac/validation"
	rbacauthorizer "k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"

	"github.com/klab-project/klab/core/api"
)

// AllowAll is an authorizer for servers in which nobody is restricted, as
// upstream's mode AlwaysAllow.
func AllowAll(Attributes) (bool, string) { return true, "everybody may do everything" }

// roleRules has the roles and bindings of the store, for Kubernetes' own
// evaluation of them.
type roleRules struct {
	server *Server
	rules  rbacregistry.AuthorizationRuleResolver
	rbac   *rbacauthorizer.RBACAuthorizer

	mu    sync.Mutex
	views map[*entry]runtime.Object // versioned; of entries that are current
}

func newPolicy(s *Server) *roleRules {
	p := &roleRules{server: s, views: map[*entry]runtime.Object{}}
	p.rules = rbacregistry.NewDefaultRuleResolver(p, p, p, p)
	p.rbac = rbacauthorizer.New(p, p, p, p)
	return p
}

// authorize decides in the order of upstream's authorizers: the group
// system:masters may do everything, a kubelet what a kubelet needs, and
// everybody what roles give them.
func (p *roleRules) authorize(a Attributes) (bool, string) {
	who := identity{Name: a.User, Groups: a.Groups}
	if who.in(groupMasters) {
		return true, "system:masters may do everything"
	}
	if a.Path == "" && who.in(groupNodes) {
		if allowed, reason := nodeRule(a); allowed {
			return true, reason
		}
	}
	decision, reason, err := p.rbac.Authorize(context.Background(), a.record())
	if err != nil {
		return false, err.Error()
	}
	if decision != authorizer.DecisionAllow && reason == "" && who.in(groupNodes) {
		reason = "no relationship found between node and this object"
	}
	return decision == authorizer.DecisionAllow, reason
}

// record is the question in upstream's words.
func (a Attributes) record() authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: a.User, Groups: a.Groups}, Verb: a.Verb, APIGroup: a.Group, APIVersion: a.Version,
		Resource: a.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name, Path: a.Path, ResourceRequest: a.Path == "",
	}
}

// GetRole implements RoleGetter of upstream's resolver, as the next three do
// theirs.
func (p *roleRules) GetRole(_ context.Context, namespace, name string) (*rbacv1.Role, error) {
	return one[*rbacv1.Role](p, "roles", namespace, name)
}

func (p *roleRules) GetClusterRole(_ context.Context, name string) (*rbacv1.ClusterRole, error) {
	return one[*rbacv1.ClusterRole](p, "clusterroles", "", name)
}

func (p *roleRules) ListRoleBindings(_ context.Context, namespace string) ([]*rbacv1.RoleBinding, error) {
	all, err := every[*rbacv1.RoleBinding](p, "rolebindings")
	var in []*rbacv1.RoleBinding
	for _, b := range all {
		if b.Namespace == namespace {
			in = append(in, b)
		}
	}
	return in, err
}

func (p *roleRules) ListClusterRoleBindings(context.Context) ([]*rbacv1.ClusterRoleBinding, error) {
	return every[*rbacv1.ClusterRoleBinding](p, "clusterrolebindings")
}

func one[T runtime.Object](p *roleRules, resource, namespace, name string) (none T, err error) {
	row := api.Find(rbacv1.SchemeGroupVersion.WithResource(resource))
	c := p.server.cachers[row.Prefix]
	c.mu.Lock()
	e := c.objects[row.Key(namespace, name)]
	c.mu.Unlock()
	if e == nil {
		return none, apierrors.NewNotFound(row.GR(), name)
	}
	obj, err := p.view(row, e)
	if err != nil {
		return none, err
	}
	return obj.(T), nil
}

func every[T runtime.Object](p *roleRules, resource string) ([]T, error) {
	row := api.Find(rbacv1.SchemeGroupVersion.WithResource(resource))
	var entries []*entry
	p.server.cachers[row.Prefix].each(func(e *entry) { entries = append(entries, e) })
	out := make([]T, 0, len(entries))
	for _, e := range entries {
		obj, err := p.view(row, e)
		if err != nil {
			return nil, err
		}
		out = append(out, obj.(T))
	}
	return out, nil
}

// maxViews bounds what is remembered of entries that are gone.
const maxViews = 4096

// view is the versioned form of an entry, made once.
func (p *roleRules) view(row *api.Resource, e *entry) (runtime.Object, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if obj, ok := p.views[e]; ok {
		return obj, nil
	}
	obj, err := row.ToVersioned(e.obj)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", row.Name, err)
	}
	if len(p.views) >= maxViews {
		clear(p.views)
	}
	p.views[e] = obj
	return obj, nil
}
