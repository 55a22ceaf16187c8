package apiserver

import (
	"bytes"
	"context"
	"io"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/klab-project/klab/core/api"
)

// isReview tells whether a path is one of the questions about who somebody is
// and what somebody may do, of which nothing is stored.
func isReview(p *path) bool {
	row := api.Find(p.gvr())
	return row != nil && row.Review() && p.Name == "" && (p.Namespace != "") == row.Namespaced
}

// serveReview answers it. It is no step: nothing happens to the cluster.
func (s *Server) serveReview(w http.ResponseWriter, r *http.Request, p *path) {
	who, err := s.identify(r)
	if err != nil {
		s.writeError(w, r, unauthorized(err), nil, nil)
		return
	}
	a := Attributes{User: who.Name, Groups: who.Groups, Verb: p.Verb, Group: p.Group, Version: p.Version, Resource: p.Resource, Namespace: p.Namespace}
	if allowed, reason := s.cfg.Authorize(a); !allowed {
		s.writeError(w, r, forbidden(a, reason), nil, nil)
		return
	}
	answer, err := s.review(r, p, who)
	if err != nil {
		s.writeError(w, r, err, nil, nil)
		return
	}
	accept, err := s.negotiate(r)
	if err != nil {
		s.writeError(w, r, err, nil, nil)
		return
	}
	var out bytes.Buffer
	if err := accept.Serializer.Encode(answer, &out); err != nil {
		s.writeError(w, r, apierrors.NewInternalError(err), nil, nil)
		return
	}
	w.Header().Set("Content-Type", accept.MediaType)
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(out.Bytes())
}

// review reads the question and answers it.
func (s *Server) review(r *http.Request, p *path, who identity) (runtime.Object, error) {
	row := api.Find(p.gvr())
	if p.Verb != "create" {
		return nil, apierrors.NewMethodNotSupported(p.groupResource(), p.Verb)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	internal, _, err := api.Decode(body, r.Header.Get("Content-Type"), row.GVK(), "Ignore")
	if err != nil {
		return nil, err
	}
	question, err := row.ToVersioned(internal)
	if err != nil {
		return nil, err
	}
	switch q := question.(type) {
	case *authenticationv1.SelfSubjectReview:
		q.Status.UserInfo = who.info()
	case *authenticationv1.TokenReview:
		q.Status = s.reviewToken(r.Context(), q.Spec)
	case *authorizationv1.SelfSubjectAccessReview:
		q.Status = s.decide(who, q.Spec.ResourceAttributes, q.Spec.NonResourceAttributes)
	case *authorizationv1.SubjectAccessReview:
		q.Status = s.decide(identity{Name: q.Spec.User, Groups: q.Spec.Groups}, q.Spec.ResourceAttributes, q.Spec.NonResourceAttributes)
	case *authorizationv1.LocalSubjectAccessReview:
		if q.Spec.ResourceAttributes == nil || q.Spec.ResourceAttributes.Namespace != p.Namespace {
			return nil, apierrors.NewBadRequest("spec.resourceAttributes.namespace must match namespace: " + p.Namespace)
		}
		q.Status = s.decide(identity{Name: q.Spec.User, Groups: q.Spec.Groups}, q.Spec.ResourceAttributes, nil)
	case *authorizationv1.SelfSubjectRulesReview:
		if q.Spec.Namespace == "" {
			return nil, apierrors.NewBadRequest("no namespace on request")
		}
		q.Status = s.rulesOf(r.Context(), who, q.Spec.Namespace)
	}
	return question, nil
}

// info is the identity in the API's words.
func (i identity) info() authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: i.Name, UID: i.UID, Groups: i.Groups}
	for key, values := range i.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[key] = values
	}
	return info
}

func (s *Server) reviewToken(ctx context.Context, spec authenticationv1.TokenReviewSpec) authenticationv1.TokenReviewStatus {
	if spec.Token == "" {
		return authenticationv1.TokenReviewStatus{Error: "token is required for TokenReview in authentication"}
	}
	who, audiences, err := s.whose(ctx, spec.Token, spec.Audiences)
	if err != nil {
		return authenticationv1.TokenReviewStatus{Error: err.Error()}
	}
	return authenticationv1.TokenReviewStatus{Authenticated: true, User: who.authenticated().info(), Audiences: audiences}
}

// decide asks the authorizer.
func (s *Server) decide(who identity, o *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	a := Attributes{User: who.Name, Groups: who.Groups}
	if n != nil {
		a.Path, a.Verb = n.Path, n.Verb
	}
	if o != nil {
		a.Verb, a.Group, a.Version, a.Resource = o.Verb, o.Group, o.Version, o.Resource
		a.Subresource, a.Namespace, a.Name = o.Subresource, o.Namespace, o.Name
	}
	allowed, reason := s.cfg.Authorize(a)
	return authorizationv1.SubjectAccessReviewStatus{Allowed: allowed, Reason: reason}
}

// rulesOf lists what roles allow somebody in a namespace.
func (s *Server) rulesOf(ctx context.Context, who identity, namespace string) authorizationv1.SubjectRulesReviewStatus {
	status := authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	if who.in(groupMasters) {
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}})
		status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}})
	}
	if s.policy == nil {
		status.Incomplete, status.EvaluationError = true, "this server has an authorizer that cannot list rules"
		return status
	}
	if who.in(groupNodes) {
		status.Incomplete, status.EvaluationError = true, "node authorizer does not support user rule resolution"
	}
	rules, err := s.policy.rules.RulesFor(ctx, &user.DefaultInfo{Name: who.Name, Groups: who.Groups}, namespace)
	if err != nil {
		status.Incomplete, status.EvaluationError = true, err.Error()
	}
	for _, rule := range rules {
		if len(rule.Resources) > 0 {
			status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
		}
		if len(rule.NonResourceURLs) > 0 {
			status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return status
}
