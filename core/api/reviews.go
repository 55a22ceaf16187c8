package api

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Review tells whether this is a question to the server rather than a resource
// with objects: it can only be created, and nothing is stored.
func (r *Resource) Review() bool { return !r.Stored() && !r.Measured }

// Stored tells whether there are objects of it in the store.
func (r *Resource) Stored() bool { return r.Prefix != "" }

// reviews are the questions about who somebody is and what somebody may do.
// Source: k8s.io/kubernetes/pkg/registry/{authentication,authorization}.
func reviews() []*Resource {
	question := func(gv schema.GroupVersion, kind, name, singular string, namespaced bool) *Resource {
		return &Resource{
			Group: gv.Group, Version: gv.Version, Kind: kind, Name: name, Singular: singular,
			Namespaced: namespaced, Verbs: []string{"create"}, Storage: gv,
		}
	}
	who, may := authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion
	return []*Resource{
		question(who, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", false),
		question(who, "TokenReview", "tokenreviews", "tokenreview", false),
		question(may, "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview", true),
		question(may, "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", false),
		question(may, "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", false),
		question(may, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", false),
	}
}
