package fold

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// Key names an API object: resource is the plural with its group, as in
// [step.Object].
type Key struct{ Resource, Namespace, Name string }

// KeyOf is the key of o.
func KeyOf(o step.Object) Key { return Key{o.Resource, o.Namespace, o.Name} }

// String is resource/namespace/name without the empty parts.
func (k Key) String() string {
	return step.Object{Resource: k.Resource, Namespace: k.Namespace, Name: k.Name}.String()
}

// Object is an API object as the store has it.
type Object struct {
	Key
	RV      int64
	Value   map[string]any // decoded JSON; shared, must not be changed
	Last    *Revision      // the newest
	Created uint64         // seq of the event that brought it
}

// Housekeeping tells whether objects of a resource are written as a matter of
// course, so that a write says nothing by itself: leases and events.
func Housekeeping(resource string) bool {
	return strings.HasPrefix(resource, "leases") || resource == "events" || strings.HasPrefix(resource, "events.")
}

// Revision is one state of an object. A bounded number of them is kept.
type Revision struct {
	RV    int64
	Seq   uint64
	Step  uint64
	At    step.Seconds
	Type  string // create, update, delete, snapshot
	Value map[string]any
	Prev  *Revision // the one before, or nil if forgotten or none

	depth int
}

// revisionsKept is how many revisions an object keeps at least; twice as many
// are dropped to it.
const revisionsKept = 16

// Revisions lists the kept revisions, the newest first.
func (o *Object) Revisions() []*Revision {
	var list []*Revision
	for r := o.Last; r != nil; r = r.Prev {
		list = append(list, r)
	}
	return list
}

// Revision returns the kept revision rv, or nil.
func (o *Object) Revision(rv int64) *Revision {
	for r := o.Last; r != nil; r = r.Prev {
		if r.RV == rv {
			return r
		}
	}
	return nil
}

// Get returns the value at a path such as "spec.replicas" or
// "status.conditions[Ready].status": list elements are named by their name,
// type, ip or uid field, or by their index. It returns nil if there is none.
func (o *Object) Get(path string) any { return Lookup(o.Value, path) }

// Text is Get as text, "" for nil.
func (o *Object) Text(path string) string { return Scalar(o.Get(path)) }

// Number is Get as a number; ok is false if there is none.
func (o *Object) Number(path string) (n int64, ok bool) {
	f, ok := o.Get(path).(float64)
	return int64(f), ok
}

// Lookup is Object.Get for any decoded JSON. A dot in a key is written "\.".
func Lookup(v any, path string) any {
	for _, p := range splitPath(path) {
		switch t := v.(type) {
		case map[string]any:
			v = t[p]
		case []any:
			v = element(t, p)
		default:
			return nil
		}
	}
	return v
}

func splitPath(path string) []string {
	var parts []string
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			parts = append(parts, b.String())
			b.Reset()
		}
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && i+1 < len(path):
			i++
			b.WriteByte(path[i])
		case c == '.' || c == '[' || c == ']':
			flush()
		default:
			b.WriteByte(c)
		}
	}
	flush()
	return parts
}

func element(list []any, name string) any {
	for _, e := range list {
		if elementName(e) == name {
			return e
		}
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(list) {
		return list[i]
	}
	return nil
}

// elementName is what tells an element of a list of objects from the others.
func elementName(e any) string {
	m, ok := e.(map[string]any)
	if !ok {
		return ""
	}
	for _, k := range []string{"name", "type", "ip", "uid"} {
		if s, ok := m[k].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// Scalar is v as text: numbers without exponent, nothing for nil, JSON for the rest.
func Scalar(v any) string {
	switch t := v.(type) {
	case nil:
		return ""
	case string:
		return t
	case bool:
		return strconv.FormatBool(t)
	case float64:
		return strconv.FormatFloat(t, 'f', -1, 64)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(raw)
}

// Merge applies a JSON merge patch (RFC 7396) and returns the result. Neither
// argument is changed; what the patch does not touch is shared.
func Merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, _ := target.(map[string]any)
	out := make(map[string]any, len(t)+len(p))
	for k, v := range t {
		out[k] = v
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = Merge(out[k], v)
	}
	return out
}

// revise returns o with a new revision. A nil o is a new object.
func (o *Object) revise(key Key, r *Revision) *Object {
	n := &Object{Key: key, RV: r.RV, Value: r.Value, Last: r, Created: r.Seq}
	if o == nil {
		return n
	}
	n.Created = o.Created
	keep := revisionsKept
	if strings.HasPrefix(key.Resource, "leases") {
		keep = 1 // renewed for ever, and always alike
	}
	r.Prev, r.depth = o.Last, o.Last.depth+1
	if r.depth > 2*keep {
		r.Prev, r.depth = o.Last.cut(keep)
	}
	return n
}

// cut copies the newest n revisions, so that the older ones can be freed.
func (r *Revision) cut(n int) (*Revision, int) {
	var chain []*Revision
	for ; r != nil && len(chain) < n; r = r.Prev {
		c := *r
		chain = append(chain, &c)
	}
	var last *Revision
	depth := 0
	for _, c := range slices.Backward(chain) {
		c.Prev, c.depth = last, depth
		last, depth = c, depth+1
	}
	return last, depth
}
