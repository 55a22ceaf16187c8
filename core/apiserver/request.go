package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/step"
)

// maxBody is the size in bytes of the largest request body, as upstream's.
const maxBody = 3 << 20

// request is one request for a resource on its way through the stages. Each
// stage reads what earlier ones found out and adds its own part.
type request struct {
	server *Server
	http   *http.Request
	query  url.Values
	path   *path

	// Known before the first stage, because the step as a whole says it.
	user        identity
	userErr     error
	actor, node string
	stepVerb    step.Verb
	about       step.Object
	quiet       bool
	step        uint64 // the request as a step
	body        []byte
	bodyErr     error

	// route
	resource *api.Resource
	sub      *api.Subresource
	cache    *cacher
	accept   accepted
	options  writeOptions
	deletion *metav1.DeleteOptions

	// decode, convert, admit, validate, commit
	sent    runtime.Object // internal
	current *entry
	object  runtime.Object // internal: the new state
	creates bool           // there is no current object
	deletes removal
	result  runtime.Object // internal: the answer, if nothing is to be written
	strict  bool           // the client said which revision it wants to change
	plan    plan
	retries int

	given    []*given // numbers of services that are this request's until it ends
	charge   *charge  // what it uses up of quotas until it ends
	budgeted bool     // the eviction has used up a disruption budget

	// encode
	warnings []string
	listed   *listing
	code     int
	answer   []byte
	header   http.Header
	stream   func(ctx context.Context, w http.ResponseWriter) error // goes on after the step
	hijack   func(ctx context.Context, w http.ResponseWriter)       // answers by itself, within the step
	w        http.ResponseWriter
}

// serveResource is the composer: it opens the step that the whole request is,
// sends the request through its stages, and writes the answer afterwards.
func (s *Server) serveResource(w http.ResponseWriter, req *http.Request, p *path) {
	r := &request{server: s, http: req, query: req.URL.Query(), path: p, w: w, header: http.Header{}, code: http.StatusOK}
	r.user, r.userErr = s.identify(req)
	r.actor, r.node = r.user.actor(req.UserAgent())
	r.stepVerb = step.Verb(p.Verb)
	if connects(p) {
		r.stepVerb = step.Connect
	}
	r.about = p.object()
	if r.user.Name != anonymous.Name && !connects(p) {
		r.read()
	}
	r.quiet = r.user.quiet(r)
	ctx := req.Context()
	if s.cfg.Lab != nil {
		ctx = step.With(ctx, s.cfg.Lab)
	}
	detail := r.detail()
	limited, cancel := r.limit(ctx)
	defer cancel()
	err := step.Do(limited, step.Action{
		Actor: r.actor, Node: r.node, Verb: r.stepVerb, Object: r.about, Class: step.ClassRequest,
		Parent: step.ParentOf(req), Quiet: r.quiet, Detail: detail,
	}, func(ctx context.Context) error {
		r.step = step.Current(ctx)
		err := r.guarded(ctx)
		if err == nil && r.hijack != nil {
			r.hijack(ctx, w)
		}
		detail.Code, detail.MediaType, detail.Bytes = r.code, r.accept.MediaType, len(r.answer)
		if err != nil {
			detail.Code = int(asStatus(err).Code)
		}
		step.Note(ctx, detail)
		return err
	})
	r.settle(0)
	r.write(ctx, err)
}

// limit applies the time that the client gives to its request (?timeout=10s).
func (r *request) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	d, err := time.ParseDuration(r.query.Get("timeout"))
	if err != nil || d <= 0 || r.path.Verb == "watch" || connects(r.path) {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// guarded is process; a panic in a stage becomes an error of the request.
func (r *request) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			r.server.cfg.Log.Error("a request panicked", "path", r.http.URL.Path, "panic", p, "stack", string(debug.Stack()))
			err = apierrors.NewInternalError(fmt.Errorf("this request caused apiserver to panic. Look in the logs for details"))
		}
	}()
	return r.process(ctx)
}

// write sends what the stages made, after the step has ended, so that
// whatever the answer sets off comes later in the journal.
func (r *request) write(ctx context.Context, err error) {
	switch {
	case errors.Is(err, step.ErrDropped), errors.Is(err, step.ErrCrashed):
		panic(http.ErrAbortHandler)
	case ctx.Err() != nil:
		return // nobody is there to read it
	case err != nil:
		r.server.writeError(r.w, r.http, err, r.header, r.warnings)
	case r.stream != nil:
		if err := r.stream(ctx, r.w); err != nil {
			r.server.writeError(r.w, r.http, err, r.header, r.warnings)
		}
	case r.hijack == nil:
		r.send(r.w)
	}
}

func (r *request) send(w http.ResponseWriter) {
	h := w.Header()
	for k, v := range r.header {
		h[k] = v
	}
	addWarnings(h, r.warnings)
	h.Set("Cache-Control", "no-cache, private")
	w.WriteHeader(r.code)
	if r.http.Method != http.MethodHead {
		_, _ = w.Write(r.answer)
	}
}

func (r *request) detail() step.RequestDetail {
	return step.RequestDetail{
		Method: r.http.Method, Path: r.http.URL.RequestURI(), User: r.user.Name, Agent: r.http.UserAgent(),
		Sub: r.path.Sub, MediaType: r.http.Header.Get("Content-Type"), Bytes: len(r.body),
	}
}

// read takes the body, and from it the name of an object to be created.
func (r *request) read() {
	if r.http.Body == nil || r.path.Verb == "get" || r.path.Verb == "list" || r.path.Verb == "watch" {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.http.Body, maxBody+1))
	switch {
	case err != nil:
		r.bodyErr = apierrors.NewBadRequest("the body of the request broke off: " + err.Error())
	case len(body) > maxBody:
		r.bodyErr = apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	default:
		r.body = body
	}
	if r.path.Verb == "create" && r.path.Name == "" {
		r.about.Name = nameIn(r.body)
	}
}

// nameIn finds metadata.name (or else generateName) in a body without
// decoding the whole of it; it is for display.
func nameIn(body []byte) string {
	var meta metav1.ObjectMeta
	if raw, ok := bytes.CutPrefix(body, []byte("k8s\x00")); ok {
		var unknown runtime.Unknown
		var partial metav1.PartialObjectMetadata
		if unknown.Unmarshal(raw) == nil && partial.Unmarshal(unknown.Raw) == nil {
			meta = partial.ObjectMeta
		}
	} else if len(body) > 0 && body[0] == '{' {
		meta = metadataIn(body)
	}
	if meta.Name == "" {
		meta.Name = meta.GenerateName
	}
	return printable(meta.Name, 253)
}

func metadataIn(body []byte) (meta metav1.ObjectMeta) {
	var names struct{ Name, GenerateName string }
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil {
		return meta
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return meta
		}
		var skipped json.RawMessage
		if key == "metadata" {
			if d.Decode(&names) == nil {
				meta.Name, meta.GenerateName = names.Name, names.GenerateName
			}
			return meta
		}
		if d.Decode(&skipped) != nil {
			return meta
		}
	}
	return meta
}

// note says in one short sentence what a stage decided.
func (r *request) note(ctx context.Context, format string, args ...any) {
	if r.server.cfg.Lab != nil {
		step.Note(ctx, step.StageDetail{Note: fmt.Sprintf(format, args...)})
	}
}

func (r *request) writes() bool {
	switch r.path.Verb {
	case "create", "update", "patch", "delete":
		return r.plan != nil
	}
	return false
}

func (r *request) hasInput() bool { return r.writes() || r.path.Verb == "deletecollection" }

func (r *request) warn(warnings ...string) {
	for _, w := range warnings {
		w = strings.Map(func(c rune) rune {
			if c < ' ' {
				return ' '
			}
			return c
		}, w)
		r.warnings = append(r.warnings, w)
	}
}
