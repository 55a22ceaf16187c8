package apiserver

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/klab-project/klab/core/api"
)

// kinds has the field manager of each resource and subresource: it knows who
// set which field (metadata.managedFields) and merges what is applied.
type kinds struct {
	types func() managedfields.TypeConverter

	mu       sync.Mutex
	managers map[string]*managedfields.FieldManager
}

func newKinds() *kinds {
	return &kinds{
		// Reading the schema of all types takes a while, so not before it is needed.
		types:    sync.OnceValue(func() managedfields.TypeConverter { return applyconfigurations.NewTypeConverter(api.Scheme()) }),
		managers: map[string]*managedfields.FieldManager{},
	}
}

func (k *kinds) manager(row *api.Resource, sub *api.Subresource) (*managedfields.FieldManager, error) {
	name, reset := "", row.Reset
	if sub != nil {
		name, reset = sub.Name, sub.Reset
	}
	types := k.types()
	k.mu.Lock()
	defer k.mu.Unlock()
	key := row.GVR().String() + "/" + name
	if m := k.managers[key]; m != nil {
		return m, nil
	}
	filters := map[fieldpath.APIVersion]fieldpath.Filter{}
	if len(reset) > 0 {
		fields := fieldpath.NewSet()
		for _, path := range reset {
			parts := make([]any, len(path))
			for i := range path {
				parts[i] = path[i]
			}
			fields.Insert(fieldpath.MakePathOrDie(parts...))
		}
		filters[fieldpath.APIVersion(row.GV().String())] = fieldpath.NewExcludeSetFilter(fields)
	}
	hub := schema.GroupVersion{Group: row.Group, Version: runtime.APIVersionInternal}
	m, err := managedfields.NewDefaultFieldManager(types, unsafeConvertor{api.Scheme()}, api.Scheme(), api.Scheme(), row.GVK(), hub, name, filters)
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", key, err)
	}
	k.managers[key] = m
	return m, nil
}

// unsafeConvertor converts without copying first; the field manager does not
// change what it converted.
type unsafeConvertor struct{ *runtime.Scheme }

func (c unsafeConvertor) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	return c.UnsafeConvertToVersion(in, target)
}

// manageFields notes who set the fields that a write changed.
func (r *request) manageFields() error {
	if r.applies() {
		return nil // Apply did it
	}
	manager, err := r.server.kinds.manager(r.resource, r.sub)
	if err != nil {
		return err
	}
	live := r.resource.New()
	if r.current != nil {
		live = r.current.obj.DeepCopyObject()
	}
	r.object = manager.UpdateNoErrors(live, r.object, r.options.manager)
	return nil
}

// keepManagedTimes undoes a change that consists of nothing but new times in
// metadata.managedFields, so that it is none.
func (r *request) keepManagedTimes() {
	is, err := meta.Accessor(r.object)
	if err != nil {
		return
	}
	was, err := meta.Accessor(r.current.obj)
	if err != nil || !sameManagers(is.GetManagedFields(), was.GetManagedFields()) {
		return
	}
	changed := is.GetManagedFields()
	is.SetManagedFields(was.GetManagedFields())
	if !equality.Semantic.DeepEqual(r.object, r.current.obj) {
		is.SetManagedFields(changed)
	}
}

// sameManagers compares all but the times.
func sameManagers(a, b []metav1.ManagedFieldsEntry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		x.Time, y.Time = nil, nil
		if !equality.Semantic.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

// managerOf is the field manager of a client that does not name one: the first
// word of its User-Agent.
func managerOf(userAgent string) string {
	const limit = 128
	word, _, _ := strings.Cut(userAgent, "/")
	var out strings.Builder
	for _, c := range word {
		if !unicode.IsPrint(c) {
			continue
		}
		if out.Len()+utf8.RuneLen(c) > limit {
			break
		}
		out.WriteRune(c)
	}
	return out.String()
}
