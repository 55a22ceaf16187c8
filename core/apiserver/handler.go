package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klab-project/klab/core/api"
)

// Handler serves the whole API: resources, discovery, OpenAPI, health and
// version. The identity of a client is that of its TLS certificate.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				s.cfg.Log.Error("a request panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				s.writeError(w, r, apierrors.NewInternalError(errors.New("this request caused apiserver to panic. Look in the logs for details")), nil, nil)
			}
		}()
		p := parsePath(r)
		switch {
		case strings.Contains(r.URL.Path, "//") && (p == nil || !proxied(p)):
			s.found(w, r, nil)
		case p == nil:
			s.serveOther(w, r)
		case isReview(p):
			s.serveReview(w, r, p)
		default:
			s.serveResource(w, r, p)
		}
	})
}

// serveOther answers what is not about a resource. It is no step: nothing
// happens to the cluster, and kubectl asks for it all the time.
func (s *Server) serveOther(w http.ResponseWriter, r *http.Request) {
	user, err := s.identify(r)
	if err != nil {
		s.writeError(w, r, unauthorized(err), nil, nil)
		return
	}
	a := Attributes{User: user.Name, Groups: user.Groups, Verb: strings.ToLower(r.Method), Path: r.URL.Path}
	if r.Method == http.MethodHead {
		a.Verb = "get"
	}
	if allowed, reason := s.cfg.Authorize(a); !allowed {
		s.writeError(w, r, forbidden(a, reason), nil, nil)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.writeError(w, r, apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, a.Verb, schema.GroupResource{}, "", "", 0, true), nil, nil)
		return
	}
	s.answerOther(w, r)
}

func (s *Server) answerOther(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/":
		writeJSON(w, metav1.RootPaths{Paths: rootPaths()})
	case parts[0] == "version" && len(parts) == 1:
		writeJSON(w, s.cfg.Version)
	case parts[0] == "healthz", parts[0] == "livez", parts[0] == "readyz":
		s.health(w, r)
	case r.URL.Path == keySetPath, r.URL.Path == "/.well-known/openid-configuration":
		s.openID(w, r)
	case parts[0] == "openapi":
		s.openAPI(w, r, parts[1:])
	case parts[0] == "api" && len(parts) == 1:
		s.discover(w, r, true, api.APIVersions(r.Host))
	case parts[0] == "apis" && len(parts) == 1:
		s.discover(w, r, false, api.APIGroupList())
	case parts[0] == "api" && len(parts) == 2:
		s.found(w, r, resourceList(schema.GroupVersion{Version: parts[1]}))
	case parts[0] == "apis" && len(parts) == 2:
		if group := api.APIGroup(parts[1]); group != nil && parts[1] != "" {
			s.found(w, r, group)
			return
		}
		s.found(w, r, nil)
	case parts[0] == "apis" && len(parts) == 3:
		s.found(w, r, resourceList(schema.GroupVersion{Group: parts[1], Version: parts[2]}))
	default:
		s.found(w, r, nil)
	}
}

// resourceList is an APIResourceList, or nothing (rather than a nil pointer).
func resourceList(gv schema.GroupVersion) runtime.Object {
	if list := api.APIResourceList(gv); list != nil {
		return list
	}
	return nil
}

func (s *Server) found(w http.ResponseWriter, r *http.Request, obj runtime.Object) {
	if obj == nil {
		s.writeError(w, r, apierrors.NewGenericServerResponse(http.StatusNotFound, "get", schema.GroupResource{}, "", "404 page not found", 0, true), nil, nil)
		return
	}
	accept, err := s.negotiate(r)
	if err != nil {
		s.writeError(w, r, err, nil, nil)
		return
	}
	if accept.as.Kind != "" || accept.MediaType != protobufType {
		writeJSON(w, obj)
		return
	}
	w.Header().Set("Content-Type", accept.MediaType)
	_ = accept.Serializer.Encode(obj, w)
}

// discover answers /api and /apis, all at once if the client can read that.
func (s *Server) discover(w http.ResponseWriter, r *http.Request, legacy bool, plain runtime.Object) {
	w.Header().Set("Vary", "Accept")
	for _, clause := range goautoneg.ParseAccept(r.Header.Get("Accept")) {
		if clause.Params["as"] == "APIGroupDiscoveryList" && clause.Params["v"] == "v2" && clause.Params["g"] == "apidiscovery.k8s.io" && clause.SubType == "json" {
			w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
			_ = json.NewEncoder(w).Encode(api.APIGroupDiscoveryList(legacy))
			return
		}
		if clause.Params["as"] == "" {
			break
		}
	}
	s.found(w, r, plain)
}

func (s *Server) openAPI(w http.ResponseWriter, r *http.Request, parts []string) {
	if len(parts) == 0 || parts[0] != "v3" {
		s.found(w, r, nil)
		return
	}
	if len(parts) == 1 {
		index := map[string]map[string]string{}
		for path, hash := range api.OpenAPIPaths() {
			index[path] = map[string]string{"serverRelativeURL": "/openapi/v3/" + path + "?hash=" + hash}
		}
		writeJSON(w, map[string]any{"paths": index})
		return
	}
	document, ok := api.OpenAPI(strings.Join(parts[1:], "/"))
	if !ok {
		s.found(w, r, nil)
		return
	}
	if hash := r.URL.Query().Get("hash"); hash != "" {
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Etag", strconv.Quote(hash))
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(document)
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	ctx, stop := bounded(ctx)
	defer stop()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err := s.cfg.Store.Revision(ctx)
	if err == nil && s.ctx.Err() != nil {
		err = errClosed
	}
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, "[+]ping ok\n[-]etcd failed: %v\n%s check failed\n", err, strings.Trim(r.URL.Path, "/"))
		return
	}
	if _, verbose := r.URL.Query()["verbose"]; verbose {
		_, _ = fmt.Fprintf(w, "[+]ping ok\n[+]etcd ok\n%s check passed\n", strings.Trim(r.URL.Path, "/"))
		return
	}
	_, _ = w.Write([]byte("ok"))
}

func rootPaths() []string {
	paths := []string{"/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"}
	for _, gv := range api.Groups() {
		if gv.Group == "" {
			paths = append(paths, "/api/"+gv.Version)
		} else {
			paths = append(paths, "/apis/"+gv.Group, "/apis/"+gv.String())
		}
	}
	sort.Strings(paths)
	return paths
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
