package apiserver

import (
	"context"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/api"
)

// route finds the row of the table and what is to be done with it.
func (r *request) route(ctx context.Context) error {
	p := r.path
	if p.Group == "" && p.Resource == "bindings" && p.Verb == "create" && p.Name == "" {
		// The older address of the same subresource.
		p.Resource, p.Name, p.Sub = "pods", r.about.Name, "binding"
	}
	r.resource = api.Find(schema.GroupVersionResource{Group: p.Group, Version: p.Version, Resource: p.Resource})
	if r.resource == nil || r.resource.Namespaced && p.Namespace == "" && p.Name != "" ||
		!r.resource.Namespaced && p.Namespace != "" && p.Resource != "namespaces" {
		return notServed(p)
	}
	verbs := r.resource.Verbs
	if p.Sub != "" {
		if r.sub = r.resource.Subresource(p.Sub); r.sub == nil {
			return notServed(p)
		}
		verbs = r.sub.Verbs
	}
	namedWrongly := p.Verb == "create" && p.Sub == "" && p.Name != "" || p.Name == "" && (p.Verb == "update" || p.Verb == "patch")
	if namedWrongly || !proxied(p) && !slices.Contains(verbs, p.Verb) {
		return apierrors.NewMethodNotSupported(p.groupResource(), p.Verb)
	}
	if p.Verb == "create" && p.Sub == "" && r.resource.Namespaced && p.Namespace == "" {
		return apierrors.NewBadRequest("an empty namespace may not be set during creation")
	}
	r.cache = r.server.cachers[r.resource.Prefix]
	if r.sub != nil && r.sub.Connect {
		r.note(ctx, "%s/%s: somebody else answers", p.Resource, p.Sub)
		return nil
	}
	var err error
	if r.accept, err = r.server.negotiate(r.http); err != nil {
		return err
	}
	if r.plan = r.planFor(); r.plan != nil {
		if err := r.writeOptions(); err != nil {
			return err
		}
	}
	r.note(ctx, "%s of %s, kind %s", p.Verb, strings.TrimSuffix(p.Resource+"/"+p.Sub, "/"), r.kind().Kind)
	return nil
}

// kind is that of the objects which the client sends and receives.
func (r *request) kind() schema.GroupVersionKind {
	if r.sub != nil {
		return r.sub.Kind
	}
	return r.resource.GVK()
}

// planFor says how the new state of the object comes about.
func (r *request) planFor() plan {
	scale := r.path.Sub == "scale"
	switch r.path.Verb {
	case "create":
		switch r.path.Sub {
		case "binding":
			return (*request).bind
		case "eviction":
			return (*request).evict
		case "token":
			return (*request).requestToken
		}
		return (*request).create
	case "update":
		if scale {
			return (*request).updateScale
		}
		return (*request).update
	case "patch":
		if scale {
			return (*request).patchScale
		}
		return (*request).patch
	case "delete":
		return (*request).delete
	}
	return nil
}

func connects(p *path) bool {
	if p.Group != "" || p.Resource != "pods" {
		return proxied(p)
	}
	switch p.Sub {
	case "log", "exec", "attach", "portforward", "proxy":
		return true
	}
	return false
}

func notServed(p *path) error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, p.Verb, p.groupResource(), p.Name, "404 page not found", 0, true)
}

// patchTypes are the media types of patches, with what upstream calls them.
var patchTypes = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}

// patchType is the media type of the request's patch.
func (r *request) patchType() types.PatchType {
	mediaType, _, _ := strings.Cut(r.http.Header.Get("Content-Type"), ";")
	return types.PatchType(strings.TrimSpace(mediaType))
}

func (r *request) applies() bool {
	return r.path.Verb == "patch" && r.patchType() == types.ApplyYAMLPatchType
}

// writeOptions are the query parameters of everything that writes.
type writeOptions struct {
	dryRun     bool
	manager    string
	validation string // Strict, Warn or Ignore
	force      bool
}

func orDefault(s, value string) string {
	if s == "" {
		return value
	}
	return s
}

var optionsKind = func(kind string) schema.GroupKind { return schema.GroupKind{Group: metav1.GroupName, Kind: kind} }
