package apiserver

import (
	"encoding/json"
	"io"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// isReview tells whether a path is one of the questions that users ask about
// themselves: `kubectl auth can-i` and `kubectl auth whoami`.
func isReview(p *path) bool {
	switch p.Group + "/" + p.Version + "/" + p.Resource {
	case "authorization.k8s.io/v1/selfsubjectaccessreviews", "authentication.k8s.io/v1/selfsubjectreviews":
		return p.Name == "" && p.Namespace == ""
	}
	return false
}

// serveReview answers it. Nothing is stored, and it is no step.
func (s *Server) serveReview(w http.ResponseWriter, r *http.Request, p *path) {
	user, err := s.identify(r)
	if err == nil && user.Name == anonymous.Name || err != nil {
		s.writeError(w, r, apierrors.NewUnauthorized("Unauthorized"), nil, nil)
		return
	}
	if p.Verb != "create" {
		s.writeError(w, r, apierrors.NewMethodNotSupported(p.groupResource(), p.Verb), nil, nil)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		s.writeError(w, r, apierrors.NewBadRequest(err.Error()), nil, nil)
		return
	}
	var answer any
	if p.Resource == "selfsubjectreviews" {
		review := &authenticationv1.SelfSubjectReview{}
		err = unmarshal(body, review)
		review.TypeMeta = metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"}
		review.Status.UserInfo = authenticationv1.UserInfo{Username: user.Name, Groups: user.Groups}
		answer = review
	} else {
		review := &authorizationv1.SelfSubjectAccessReview{}
		err = unmarshal(body, review)
		review.TypeMeta = metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"}
		review.Status.Allowed, review.Status.Reason = s.cfg.Authorize(reviewed(user, review.Spec))
		answer = review
	}
	if err != nil {
		s.writeError(w, r, apierrors.NewBadRequest("the review does not decode: "+err.Error()), nil, nil)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(answer)
}

func reviewed(user identity, spec authorizationv1.SelfSubjectAccessReviewSpec) Attributes {
	a := Attributes{User: user.Name, Groups: user.Groups}
	if n := spec.NonResourceAttributes; n != nil {
		a.Path, a.Verb = n.Path, n.Verb
	}
	if o := spec.ResourceAttributes; o != nil {
		a.Verb, a.Group, a.Version, a.Resource = o.Verb, o.Group, o.Version, o.Resource
		a.Subresource, a.Namespace, a.Name = o.Subresource, o.Namespace, o.Name
	}
	return a
}

// unmarshal reads JSON, or protobuf in the envelope that Kubernetes gives it.
func unmarshal(body []byte, into interface{ Unmarshal([]byte) error }) error {
	if len(body) > 4 && string(body[:4]) == "k8s\x00" {
		var unknown runtime.Unknown
		if err := unknown.Unmarshal(body[4:]); err != nil {
			return err
		}
		return into.Unmarshal(unknown.Raw)
	}
	return json.Unmarshal(body, into)
}
