package apiserver

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	slashpath "path"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metainternalvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

// listing is what a list request selected.
type listing struct {
	entries []*entry
	meta    metav1.ListMeta
}

// selection picks objects of a resource.
type selection struct {
	row    *api.Resource
	prefix string // of keys
	labels labels.Selector
	fields fields.Selector
}

func (s *selection) matches(e *entry) bool {
	if e == nil || !strings.HasPrefix(e.key, s.prefix) {
		return false
	}
	if s.labels != nil && !s.labels.Empty() {
		m, err := meta.Accessor(e.obj)
		if err != nil || !s.labels.Matches(labels.Set(m.GetLabels())) {
			return false
		}
	}
	return s.fields == nil || s.fields.Empty() || s.fields.Matches(s.row.Fields(e.obj))
}

func (s *selection) everything() bool {
	return (s.labels == nil || s.labels.Empty()) && (s.fields == nil || s.fields.Empty())
}

// listOptions reads the query of a list or a watch.
func (r *request) listOptions() (*internalversion.ListOptions, *selection, error) {
	o := &internalversion.ListOptions{}
	if err := metainternalversionscheme.ParameterCodec.DecodeParameters(r.query, metav1.SchemeGroupVersion, o); err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	o.Watch = r.path.Verb == "watch"
	internalversion.SetListOptionsDefaults(o, true)
	if errs := metainternalvalidation.ValidateListOptions(o, true); len(errs) > 0 {
		return nil, nil, apierrors.NewInvalid(optionsKind("ListOptions"), "", errs)
	}
	sel := &selection{row: r.resource, prefix: r.resource.KeyPrefix(r.scope()), labels: o.LabelSelector, fields: o.FieldSelector}
	if o.FieldSelector != nil {
		var err error
		sel.fields, err = o.FieldSelector.Transform(func(label, value string) (string, string, error) {
			return api.Scheme().ConvertFieldLabel(r.resource.GVK(), label, value)
		})
		if err != nil {
			return nil, nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if name := r.path.Name; name != "" && o.Watch { // a watch of one object by its path
		named := fields.OneTermEqualSelector("metadata.name", name)
		if sel.fields != nil && !sel.fields.Empty() {
			if selected, ok := sel.fields.RequiresExactMatch("metadata.name"); !ok || selected != name {
				return nil, nil, apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
			}
		}
		sel.fields = named
	}
	return o, sel, nil
}

// list selects what the request asks for, at the revision that it asks for.
func (r *request) list(ctx context.Context) (*listing, error) {
	o, sel, err := r.listOptions()
	if err != nil {
		return nil, err
	}
	at := store.ListOptions{Limit: int(o.Limit)}
	wanted, err := revision(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	legacyExact := o.Limit > 0 && o.ResourceVersionMatch == "" && wanted > 0
	switch {
	case o.Continue != "":
		if wanted != 0 {
			return nil, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
		after, rev, err := decodeContinue(o.Continue, sel.prefix)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
		}
		at.After, at.Revision = after, max(rev, 0)
	case o.ResourceVersionMatch == metav1.ResourceVersionMatchExact || legacyExact:
		at.Revision = wanted
	}
	found, err := r.cache.list(ctx, sel, at)
	switch {
	case errors.Is(err, store.ErrCompacted) && o.Continue != "":
		return nil, continueExpired(at.After, sel.prefix)
	case errors.Is(err, store.ErrFuture):
		return nil, r.cache.tooLarge(ctx, at.Revision)
	case err != nil:
		return nil, storeError(err)
	}
	if now, _ := strconv.ParseInt(found.meta.ResourceVersion, 10, 64); wanted > now {
		return nil, tooLargeRevision(wanted, now)
	}
	return found, nil
}

// revision parses a resourceVersion; none is 0.
func revision(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	rev, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("resourceVersion: Invalid value: %q: %v", s, err))
	}
	return int64(rev), nil
}

// list reads pages until there are as many matches as wanted.
func (c *cacher) list(ctx context.Context, sel *selection, at store.ListOptions) (*listing, error) {
	out := &listing{}
	limit, page := at.Limit, at
	for {
		if limit > 0 && !sel.everything() {
			page.Limit = max(limit, 500)
		}
		kvs, rev, more, err := c.page(ctx, sel.prefix, page)
		if err != nil {
			return nil, err
		}
		page.Revision = rev
		out.meta.ResourceVersion = strconv.FormatInt(rev, 10)
		for i := range kvs {
			page.After = kvs[i].Key
			e, err := c.decode(&kvs[i])
			if err != nil {
				c.log.Error("skipping an object that does not decode", "key", kvs[i].Key, "err", err)
				continue
			}
			if sel.matches(e) {
				out.entries = append(out.entries, e)
			}
			if limit > 0 && len(out.entries) == limit && (more || i < len(kvs)-1) {
				out.meta.Continue = encodeContinue(page.After, sel.prefix, rev)
				return out, nil
			}
		}
		if !more {
			return out, nil
		}
	}
}

func (c *cacher) page(ctx context.Context, prefix string, o store.ListOptions) ([]store.KV, int64, bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return c.store.List(ctx, prefix, o)
}

func byKey(a, b *entry) int { return cmp.Compare(a.key, b.key) }

// tooLarge is the error for a revision that is still to come.
func (c *cacher) tooLarge(ctx context.Context, wanted int64) error {
	now, err := c.store.Revision(ctx)
	if err != nil {
		return storeError(err)
	}
	return tooLargeRevision(wanted, now)
}

func tooLargeRevision(wanted, now int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", wanted, now), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// continueToken is a place in a list, in the form that upstream gives it.
type continueToken struct {
	APIVersion string `json:"v"`
	Revision   int64  `json:"rv"` // -1: whatever is current
	Start      string `json:"start"`
}

func encodeContinue(last, prefix string, rev int64) string {
	token, _ := json.Marshal(continueToken{APIVersion: "meta.k8s.io/v1", Revision: rev, Start: strings.TrimPrefix(last, prefix) + "\x00"})
	return base64.RawURLEncoding.EncodeToString(token)
}

func decodeContinue(s, prefix string) (after string, rev int64, err error) {
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return "", 0, fmt.Errorf("continue key is not valid: %w", err)
	}
	var token continueToken
	if err := json.Unmarshal(data, &token); err != nil {
		return "", 0, fmt.Errorf("continue key is not valid: %w", err)
	}
	start := strings.TrimSuffix(token.Start, "\x00")
	switch {
	case token.APIVersion != "meta.k8s.io/v1":
		return "", 0, fmt.Errorf("continue key is not valid: server does not recognize this encoded version %s", token.APIVersion)
	case token.Revision == 0:
		return "", 0, errors.New("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case start == "":
		return "", 0, errors.New("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
	case slashpath.Clean("/"+start) != "/"+start:
		return "", 0, fmt.Errorf("continue key is not valid: %s", start)
	}
	return prefix + start, token.Revision, nil
}

// continueExpired tells a client that its list cannot go on, and how it could.
func continueExpired(after, prefix string) error {
	err := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. " +
		"Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
	err.ErrStatus.ListMeta.Continue = encodeContinue(after, prefix, -1)
	return err
}

// getObject reads the object that the path names.
func (r *request) getObject(ctx context.Context) error {
	if rv := r.query.Get("resourceVersion"); rv != "" {
		if _, err := revision(rv); err != nil {
			return err
		}
	}
	e, err := r.cache.get(ctx, r.resource.Key(r.scope(), r.path.Name))
	if errors.Is(err, store.ErrNotFound) {
		return r.notFound()
	}
	if err != nil {
		return storeError(err)
	}
	r.current, r.object, r.code = e, e.obj, http.StatusOK
	return nil
}
