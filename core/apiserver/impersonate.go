package apiserver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The headers by which somebody asks to be treated as somebody else
// (`kubectl --as`).
const (
	asUser        = "Impersonate-User"
	asGroup       = "Impersonate-Group"
	asUID         = "Impersonate-Uid"
	asExtraPrefix = "Impersonate-Extra-"
)

// impersonate returns whom the request is to be taken for, if who sends it may
// do that: for each part of the other identity there is a right of its own.
// Source: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
func (s *Server) impersonate(r *http.Request, by identity) (identity, error) {
	name := r.Header.Get(asUser)
	as := identity{Name: name, UID: r.Header.Get(asUID), Groups: slices.Clone(r.Header.Values(asGroup))}
	for header, values := range r.Header {
		if key, ok := strings.CutPrefix(header, asExtraPrefix); ok {
			if decoded, err := url.PathUnescape(strings.ToLower(key)); err == nil {
				if as.Extra == nil {
					as.Extra = map[string][]string{}
				}
				as.Extra[decoded] = values
			}
		}
	}
	if name == "" {
		if len(as.Groups) > 0 || as.UID != "" || len(as.Extra) > 0 {
			return anonymous, apierrors.NewBadRequest("requested impersonation of groups, a UID or extra fields without impersonating a user")
		}
		return by, nil
	}
	for _, a := range as.parts() {
		a.User, a.Groups, a.Verb = by.Name, by.Groups, "impersonate"
		if allowed, reason := s.cfg.Authorize(a); !allowed {
			return anonymous, forbidden(a, reason)
		}
	}
	if namespace, _, ok := as.serviceAccount(); ok && len(as.Groups) == 0 {
		as.Groups = []string{serviceAccountsGroup, serviceAccountsGroup + ":" + namespace}
	}
	if name == anonymous.Name {
		return identity{Name: name, Groups: append(as.Groups, anonymous.Groups...)}, nil
	}
	if !as.in(groupAuthenticated) {
		as = as.authenticated()
	}
	return as, nil
}

// parts are what one must be allowed to impersonate to be this identity.
func (i identity) parts() []Attributes {
	user := Attributes{Resource: "users", Name: i.Name}
	if namespace, name, ok := i.serviceAccount(); ok {
		user = Attributes{Resource: "serviceaccounts", Namespace: namespace, Name: name}
	}
	all := []Attributes{user}
	for _, g := range i.Groups {
		all = append(all, Attributes{Resource: "groups", Name: g})
	}
	const group = "authentication.k8s.io"
	if i.UID != "" {
		all = append(all, Attributes{Group: group, Version: "v1", Resource: "uids", Name: i.UID})
	}
	for key, values := range i.Extra {
		for _, v := range values {
			all = append(all, Attributes{Group: group, Version: "v1", Resource: "userextras", Subresource: key, Name: v})
		}
	}
	return all
}

// serviceAccount is the account that this identity is, if it is one.
func (i identity) serviceAccount() (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(i.Name, serviceAccountPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}
