package apiserver

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klab-project/klab/core/step"
)

// path is what a request's method and URL say, as Kubernetes' API concepts
// lay it out: /api/v1/namespaces/NS/pods/NAME/SUB, /apis/GROUP/VERSION/….
type path struct {
	Verb                     string // get, list, watch, create, update, patch, delete, deletecollection
	Group, Version, Resource string
	Namespace, Name, Sub     string
	Rest                     []string // what follows the subresource, as in pods/x/proxy/…
}

func (p *path) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: p.Group, Resource: p.Resource}
}

func (p *path) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: p.Group, Version: p.Version, Resource: p.Resource}
}

// object is the path in a step's words.
func (p *path) object() step.Object {
	return step.Object{Resource: p.groupResource().String(), Namespace: p.Namespace, Name: p.Name}
}

// parsePath splits r's URL. It returns nil if r is not about a resource.
func parsePath(r *http.Request) *path {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	p := &path{}
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		p.Version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		p.Group, p.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return nil
	}
	if parts[0] == "namespaces" && len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
		p.Namespace, parts = parts[1], parts[2:]
	}
	p.Resource = parts[0]
	if len(parts) > 1 {
		p.Name = parts[1]
	}
	if len(parts) > 2 {
		p.Sub = parts[2]
	}
	if len(parts) > 3 {
		p.Rest = parts[3:]
	}
	if p.Group == "" && p.Resource == "namespaces" && p.Name != "" {
		p.Namespace = p.Name
	}
	p.Verb = verbOf(r, p.Name)
	if proxied(p) {
		p.Verb = proxyVerb(r.Method)
	}
	return p
}

func verbOf(r *http.Request, name string) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if name == "" {
			return "deletecollection"
		}
		return "delete"
	case http.MethodGet, http.MethodHead:
		watch := r.URL.Query().Get("watch")
		switch {
		case watch == "true" || watch == "1":
			return "watch"
		case name == "":
			return "list"
		}
		return "get"
	}
	return strings.ToLower(r.Method)
}

// scope is the namespace for the store and for objects: none for a namespace
// itself, although its path says that it is in one.
func (r *request) scope() string {
	if r.resource != nil && !r.resource.Namespaced {
		return ""
	}
	return r.path.Namespace
}
