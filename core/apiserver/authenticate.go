package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// authenticate refuses who claims to be somebody and cannot prove it.
// Somebody who claims nothing is anonymous.
func (r *request) authenticate(ctx context.Context) error {
	if r.userErr != nil {
		return unauthorized(r.userErr)
	}
	r.note(ctx, "%s, groups %s", r.user.Name, strings.Join(r.user.Groups, " "))
	return nil
}

// unauthorized tells who is not known nothing more; who may not be somebody
// else learns why.
func unauthorized(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	return apierrors.NewUnauthorized("Unauthorized")
}

// audit gives the request a name by which client and server can talk about it.
func (r *request) audit(ctx context.Context) error {
	id := r.http.Header.Get("Audit-ID")
	if id == "" || len(id) > 64 {
		id = string(r.server.random.uid())
	}
	r.header.Set("Audit-Id", printable(id, 64))
	r.note(ctx, "%s %s %s", r.user.Name, r.path.Verb, r.path.object())
	return nil
}

// Attributes are what an authorizer decides about.
type Attributes struct {
	User                         string
	Groups                       []string
	Verb                         string // get, list, watch, create, …; for other paths the method in lower case
	Group, Version, Resource     string
	Subresource, Namespace, Name string
	Path                         string // set if it is not about a resource
}

// authorize asks whether the user may do this.
func (r *request) authorize(ctx context.Context) error {
	a := r.attributes()
	allowed, reason := r.server.cfg.Authorize(a)
	if !allowed {
		return forbidden(a, reason)
	}
	r.note(ctx, "allowed: %s", reason)
	return nil
}

func (r *request) attributes() Attributes {
	p := r.path
	return Attributes{
		User: r.user.Name, Groups: r.user.Groups, Verb: p.Verb, Group: p.Group, Version: p.Version,
		Resource: p.Resource, Subresource: p.Sub, Namespace: p.Namespace, Name: p.Name,
	}
}

// forbidden is the refusal in upstream's words.
func forbidden(a Attributes, reason string) error {
	var text string
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	switch {
	case a.Path != "":
		text = fmt.Sprintf("User %q cannot %s path %q", a.User, a.Verb, a.Path)
	case a.Namespace != "":
		text = fmt.Sprintf("User %q cannot %s resource %q in API group %q in the namespace %q", a.User, a.Verb, resource, a.Group, a.Namespace)
	default:
		text = fmt.Sprintf("User %q cannot %s resource %q in API group %q at the cluster scope", a.User, a.Verb, resource, a.Group)
	}
	text = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
	err := fmt.Errorf("%s", text)
	if reason != "" {
		err = fmt.Errorf("%s: %s", text, reason)
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, err)
}

// nodeRule is what a kubelet may do. Admission restricts writes further, to
// the node's own objects (NodeRestriction).
// Source: https://kubernetes.io/docs/reference/access-authn-authz/node/
func nodeRule(a Attributes) (bool, string) {
	reads := a.Verb == "get" || a.Verb == "list" || a.Verb == "watch"
	changes := a.Verb == "update" || a.Verb == "patch"
	allowed := false
	switch a.Resource {
	case "nodes":
		allowed = reads || a.Verb == "create" && a.Subresource == "" || changes
	case "pods":
		switch a.Subresource {
		case "":
			allowed = reads || a.Verb == "create" || a.Verb == "delete"
		case "status":
			allowed = changes || a.Verb == "get"
		case "eviction":
			allowed = a.Verb == "create"
		}
	case "serviceaccounts":
		allowed = reads || a.Verb == "create" && a.Subresource == "token"
	case "services", "endpoints", "endpointslices", "configmaps", "secrets", "namespaces", "runtimeclasses", "networkpolicies", "servicecidrs":
		allowed = reads
	case "tokenreviews", "subjectaccessreviews":
		allowed = a.Verb == "create"
	case "certificatesigningrequests":
		allowed = a.Subresource == "" && (reads || a.Verb == "create")
	case "leases":
		allowed = a.Verb == "get" || a.Verb == "create" || changes || a.Verb == "delete"
	case "events":
		allowed = a.Verb == "create" || changes
	}
	if allowed {
		return true, "system:nodes may " + a.Verb + " " + a.Resource
	}
	return false, "no relationship found between node and this object"
}
