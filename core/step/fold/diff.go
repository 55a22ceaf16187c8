package fold

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Line is one line of a difference: Op is '+', '-' or ' '.
type Line struct {
	Op    byte
	Path  string // spec.containers[web].image
	Value string
}

// Diff lists what a revision changed, by path; "" and the whole object for
// the first one. Bookkeeping (resourceVersion, managedFields) is left out.
func (r *Revision) Diff() []Line {
	var before map[string]any
	if r.Prev != nil {
		before = r.Prev.Value
	}
	if r.Type == "delete" {
		return Diff(before, nil)
	}
	return Diff(before, r.Value)
}

// Diff lists by path what after has other than before.
func Diff(before, after map[string]any) []Line {
	var d differ
	d.values("", orNil(before), orNil(after))
	return d.lines
}

func orNil(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

type differ struct{ lines []Line }

func (d *differ) values(path string, a, b any) {
	if path == "metadata.resourceVersion" || path == "metadata.managedFields" {
		return
	}
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if (aok || a == nil) && (bok || b == nil) && (aok || bok) && len(am)+len(bm) > 0 {
		for _, k := range sortedKeys(am, bm) {
			d.values(join(path, k), am[k], bm[k])
		}
		return
	}
	al, aok := a.([]any)
	bl, bok := b.([]any)
	if (aok || a == nil) && (bok || b == nil) && len(al)+len(bl) > 0 {
		d.lists(path, al, bl)
		return
	}
	if reflect.DeepEqual(a, b) {
		return
	}
	if a != nil {
		d.lines = append(d.lines, Line{'-', path, Scalar(a)})
	}
	if b != nil {
		d.lines = append(d.lines, Line{'+', path, Scalar(b)})
	}
}

func (d *differ) lists(path string, a, b []any) {
	name := func(list []any, i int) string {
		if n := elementName(list[i]); n != "" {
			return n
		}
		return strconv.Itoa(i)
	}
	seen := map[string]bool{}
	for i := range a {
		n := name(a, i)
		if seen[n] {
			continue
		}
		seen[n] = true
		d.values(path+"["+n+"]", a[i], element(b, n))
	}
	for i := range b {
		if n := name(b, i); !seen[n] {
			seen[n] = true
			d.values(path+"["+n+"]", nil, b[i])
		}
	}
}

func join(path, key string) string {
	key = strings.ReplaceAll(key, ".", `\.`)
	if path == "" {
		return key
	}
	return path + "." + key
}

// fieldOrder is how people expect an object to be told.
var fieldOrder = []string{"apiVersion", "kind", "metadata", "name", "namespace", "spec", "data", "status"}

// sortedKeys are the keys of all maps, well-known ones first.
func sortedKeys(all ...map[string]any) []string {
	set := map[string]bool{}
	for _, m := range all {
		for k := range m {
			set[k] = true
		}
	}
	rank := func(k string) int {
		if i := slices.Index(fieldOrder, k); i >= 0 {
			return i
		}
		return len(fieldOrder)
	}
	return slices.SortedFunc(maps.Keys(set), func(a, b string) int {
		if ra, rb := rank(a), rank(b); ra != rb {
			return ra - rb
		}
		return strings.Compare(a, b)
	})
}

// SortedKeys are the keys of a decoded JSON object in the order in which
// people expect them.
func SortedKeys(m map[string]any) []string { return sortedKeys(m) }
