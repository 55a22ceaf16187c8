package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Config is what a registry is made of.
type Config struct {
	// Tools is the layer of the built-in images, made by [Pack]. Empty, there
	// are none.
	Tools []byte
	// Dir takes what is pushed. Empty, nothing can be pushed.
	Dir string
	// MaxBytes is how much Dir may hold; 0 means 2 GiB.
	MaxBytes int64
}

// Registry serves images. It is safe for concurrent use.
type Registry struct {
	builtin map[string]map[string]manifest // repository, then tag and digest
	blobs   map[string][]byte              // of the built-in images
	disk    *disk                          // nil: read only
	routes  []endpoint
}

// manifest is a manifest or an index, with the type that it was pushed as.
type manifest struct {
	mediaType string
	data      []byte
}

const defaultMaxBytes = 2 << 30

// New makes a registry. It reads no more than the list of what Dir holds.
func New(c Config) (*Registry, error) {
	r := &Registry{builtin: map[string]map[string]manifest{}, blobs: map[string][]byte{}}
	r.routes = r.endpoints()
	if len(c.Tools) > 0 {
		images, err := Images(c.Tools)
		if err != nil {
			return nil, err
		}
		for _, i := range images {
			r.add(i)
		}
	}
	if c.Dir == "" {
		return r, nil
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	var err error
	if r.disk, err = openDisk(c.Dir, c.MaxBytes); err != nil {
		return nil, fmt.Errorf("registry directory: %w", err)
	}
	return r, nil
}

func (r *Registry) add(i Image) {
	m := manifest{string(types.OCIManifestSchema1), i.Manifest}
	r.builtin[i.Repository] = map[string]manifest{i.Tag: m, digest(i.Manifest): m}
	r.blobs[digest(i.Manifest)] = i.Manifest
	r.blobs[digest(i.Config)] = i.Config
	r.blobs[i.layerDigest.String()] = i.Layer
}

// endpoint is a path of the specification, with what serves it; the path's
// groups are its last argument.
type endpoint struct {
	path  *regexp.Regexp
	serve func(w http.ResponseWriter, req *http.Request, groups []string)
}

func (r *Registry) endpoints() []endpoint {
	path := func(tail string) *regexp.Regexp { return regexp.MustCompile(`^/v2/` + tail + `$`) }
	return []endpoint{
		{path(``), r.version},
		{path(`_catalog`), r.catalog},
		{path(`(` + repository + `)/tags/list`), r.tags},
		{path(`(` + repository + `)/manifests/([\w.:-]{1,128})`), r.manifest},
		{path(`(` + repository + `)/blobs/uploads/([0-9a-f]{32})?`), r.upload},
		{path(`(` + repository + `)/blobs/(sha256:[0-9a-f]{64})`), r.blob},
	}
}

// repository is the specification's pattern of names, with a bound.
const repository = `[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*){0,7}`

func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if len(req.URL.Path) > 512 {
		refuse(w, http.StatusNotFound, "NAME_INVALID", "the path is longer than 512 bytes")
		return
	}
	for _, e := range r.routes {
		m := e.path.FindStringSubmatch(req.URL.Path)
		if m == nil {
			continue
		}
		if len(m) > 1 {
			if m[1] = key(req.URL.Query().Get(mirrored), m[1]); m[1] == "" {
				break
			}
		}
		e.serve(w, req, m[1:])
		return
	}
	refuse(w, http.StatusNotFound, "NAME_INVALID", "this registry knows no such path: "+req.URL.Path)
}

// refuse answers with an error in the specification's form.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	// The client may be gone: there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(map[string][]detail{"errors": {{code, message}}})
}

// reads reports whether the request only reads, else refuses it.
func reads(w http.ResponseWriter, req *http.Request) bool {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return true
	}
	refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method+" is not possible here")
	return false
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (r *Registry) version(w http.ResponseWriter, req *http.Request, _ []string) {
	if reads(w, req) {
		answer(w, struct{}{})
	}
}

func (r *Registry) catalog(w http.ResponseWriter, req *http.Request, _ []string) {
	if !reads(w, req) {
		return
	}
	names := []string{}
	for name := range r.builtin {
		names = append(names, name)
	}
	if r.disk != nil {
		names = append(names, r.disk.repositories()...)
	}
	slices.Sort(names)
	answer(w, map[string][]string{"repositories": slices.Compact(names)})
}

func (r *Registry) tags(w http.ResponseWriter, req *http.Request, m []string) {
	if !reads(w, req) {
		return
	}
	var tags []string
	for ref := range r.builtin[m[0]] {
		if !isDigest(ref) {
			tags = append(tags, ref)
		}
	}
	if r.disk != nil {
		tags = append(tags, r.disk.tags(m[0])...)
	}
	if len(tags) == 0 {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no repository "+m[0])
		return
	}
	slices.Sort(tags)
	answer(w, map[string]any{"name": m[0], "tags": tags})
}

func (r *Registry) manifest(w http.ResponseWriter, req *http.Request, m []string) {
	repo, ref := m[0], m[1]
	switch req.Method {
	case http.MethodPut:
		r.putManifest(w, req, repo, ref)
		return
	case http.MethodDelete:
		r.deleteManifest(w, repo, ref)
		return
	}
	if !reads(w, req) {
		return
	}
	found, ok := r.builtin[repo][ref]
	if !ok && r.disk != nil {
		found, ok = r.disk.manifest(repo, ref)
	}
	if !ok {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("no image %s/%s with tag or digest %s", Host, repo, ref))
		return
	}
	w.Header().Set("Content-Type", found.mediaType)
	w.Header().Set("Docker-Content-Digest", digest(found.data))
	serveBytes(w, req, found.data)
}

func (r *Registry) blob(w http.ResponseWriter, req *http.Request, m []string) {
	if !reads(w, req) {
		return
	}
	w.Header().Set("Docker-Content-Digest", m[1])
	w.Header().Set("Content-Type", "application/octet-stream")
	if b, ok := r.blobs[m[1]]; ok {
		serveBytes(w, req, b)
		return
	}
	if r.disk != nil {
		if f, err := r.disk.open(m[1]); err == nil {
			defer f.Close()
			http.ServeContent(w, req, "", epoch, f)
			return
		}
	}
	w.Header().Del("Docker-Content-Digest")
	refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no blob "+m[1])
}

// has reports whether a blob is here.
func (r *Registry) has(d string) bool {
	if _, ok := r.blobs[d]; ok {
		return true
	}
	return r.disk != nil && r.disk.has(strings.TrimSpace(d))
}
