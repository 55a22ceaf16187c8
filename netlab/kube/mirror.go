package kube

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Mirror has what some lists of the API contain.
type Mirror struct {
	// failed is told of each attempt to list or watch that failed; another one
	// follows. It is called by every [Mirror.Follow].
	failed func(path string, err error)

	client  *Client
	changed chan struct{}
	mu      sync.Mutex
	lists   map[string]map[string]json.RawMessage // by path and key; of paths that have been listed
}

// NewMirror is a Mirror of nothing yet.
func NewMirror(c *Client, failed func(path string, err error)) *Mirror {
	return &Mirror{failed: failed, client: c, changed: make(chan struct{}, 1), lists: map[string]map[string]json.RawMessage{}}
}

// Changed tells that something is not as it was when it was last received from.
func (m *Mirror) Changed() <-chan struct{} { return m.changed }

// Known says whether all of these have been listed.
func (m *Mirror) Known(paths ...string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range paths {
		if m.lists[p] == nil {
			return false
		}
	}
	return true
}

// Objects decodes the objects of a list. Those that are no T are left out, and
// said to bad with "namespace/name".
func Objects[T any](m *Mirror, path string, bad func(key string, err error)) (list []T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, raw := range m.lists[path] {
		var o T
		if err := json.Unmarshal(raw, &o); err != nil {
			bad(key, err)
			continue
		}
		list = append(list, o)
	}
	return list
}

// Follow lists and watches one path ("/api/v1/services", also with selectors as
// its query), over and over, until ctx ends.
func (m *Mirror) Follow(ctx context.Context, path string) {
	const first, most = 100 * time.Millisecond, 10 * time.Second
	for pause := first; ctx.Err() == nil; pause = min(2*pause, most) {
		version, err := m.list(ctx, path)
		if err == nil {
			pause = first
			err = m.watch(ctx, path, version)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, errExpired) {
			m.failed(path, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// with adds words to a path's query.
func with(path string, words ...string) string {
	u, err := url.Parse(path)
	if err != nil {
		return path // the request says what is wrong with it
	}
	q := u.Query()
	for i := 0; i < len(words); i += 2 {
		q.Set(words[i], words[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func (m *Mirror) list(ctx context.Context, path string) (version string, err error) {
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []json.RawMessage
	}
	if err := m.client.Do(ctx, http.MethodGet, with(path, "resourceVersion", "0"), "", nil, &list); err != nil {
		return "", err
	}
	all := map[string]json.RawMessage{}
	for _, item := range list.Items {
		key, _, err := identify(item)
		if err != nil {
			return "", err
		}
		all[key] = item
	}
	m.mu.Lock()
	m.lists[path] = all
	m.mu.Unlock()
	m.wake()
	return list.Metadata.ResourceVersion, nil
}

func identify(item json.RawMessage) (key, version string, err error) {
	var o struct {
		Metadata struct{ Namespace, Name, ResourceVersion string }
	}
	err = json.Unmarshal(item, &o)
	return o.Metadata.Namespace + "/" + o.Metadata.Name, o.Metadata.ResourceVersion, err
}

// watch applies changes until a connection ends without any; after others it
// goes on where it was.
func (m *Mirror) watch(ctx context.Context, path, version string) error {
	for {
		res, err := m.client.open(ctx, http.MethodGet, with(path, "watch", "true", "allowWatchBookmarks", "true", "resourceVersion", version), "", nil)
		if err != nil {
			return err
		}
		began := version
		version, err = m.read(path, res.Body, version)
		res.Body.Close()
		if err != nil || version == began {
			return err // also a connection that ended at once: with a pause, and a list
		}
	}
}

// read applies a watch's events; its end is no error.
func (m *Mirror) read(path string, body io.Reader, version string) (string, error) {
	for events := json.NewDecoder(body); ; {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		if err := events.Decode(&e); err != nil {
			return version, nil
		}
		if e.Type == "ERROR" {
			return version, errExpired
		}
		key, now, err := identify(e.Object)
		if err != nil {
			return version, err
		}
		version = now
		m.mu.Lock()
		switch e.Type {
		case "ADDED", "MODIFIED":
			m.lists[path][key] = e.Object
		case "DELETED":
			delete(m.lists[path], key)
		}
		m.mu.Unlock()
		if e.Type != "BOOKMARK" {
			m.wake()
		}
	}
}

func (m *Mirror) wake() {
	select {
	case m.changed <- struct{}{}:
	default: // what is about to be looked at has it
	}
}
