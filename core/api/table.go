package api

import (
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
)

// generator has Kubernetes' columns of every internal type.
var generator = sync.OnceValue(func() *printers.HumanReadableGenerator {
	return printers.NewTableGenerator().With(printersinternal.AddHandlers)
})

// Table prints internal objects as `kubectl get` shows them; columns with
// a priority are those of -o wide. Each row carries its object, its metadata or
// nothing, as opts says; empty means metadata. opts may be nil. Ages are those
// at now, which need not be the wall clock's.
func (r *Resource) Table(objs []runtime.Object, lm metav1.ListMeta, opts *metav1.TableOptions, now time.Time) (*metav1.Table, error) {
	skew := time.Since(now)
	if opts == nil {
		opts = &metav1.TableOptions{}
	}
	out := &metav1.Table{
		TypeMeta: metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: "Table"},
		ListMeta: lm,
		Rows:     []metav1.TableRow{},
	}
	if len(objs) == 0 {
		objs = []runtime.Object{r.New()}
		defer func() { out.Rows = out.Rows[:0] }()
	}
	for i, obj := range objs {
		// Its own type has a printer, and so no list need be built.
		t, err := r.print(aged(obj, skew), printers.GenerateOptions{Wide: true, NoHeaders: opts.NoHeaders || i > 0})
		if err != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("print %s: %w", r.Name, err))
		}
		if i == 0 {
			out.ColumnDefinitions = t.ColumnDefinitions
		}
		for _, row := range t.Rows {
			if row.Object.Object, err = r.rowObject(obj, opts.IncludeObject); err != nil {
				return nil, err
			}
			if n := len(out.ColumnDefinitions); n > 0 && n < len(row.Cells) {
				row.Cells = row.Cells[:n] // the printer of IPAddresses has a cell without a column
			}
			out.Rows = append(out.Rows, row)
		}
	}
	return out, nil
}

// print makes the table of one object. Kinds for which Kubernetes has no
// columns show a name and a time.
// Source: k8s.io/apiserver/pkg/registry/rest/table.go.
func (r *Resource) print(obj runtime.Object, o printers.GenerateOptions) (*metav1.Table, error) {
	if r.columns != nil {
		columns, cells := r.columns(obj)
		if o.NoHeaders {
			columns = nil
		}
		return &metav1.Table{ColumnDefinitions: columns, Rows: []metav1.TableRow{{Cells: cells, Object: runtime.RawExtension{Object: obj}}}}, nil
	}
	if !r.plainTable {
		return generator().GenerateTable(obj, o)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	t := &metav1.Table{Rows: []metav1.TableRow{{
		Cells: []any{m.GetName(), m.GetCreationTimestamp().UTC().Format(time.RFC3339)}, Object: runtime.RawExtension{Object: obj},
	}}}
	if !o.NoHeaders {
		docs := metav1.ObjectMeta{}.SwaggerDoc()
		t.ColumnDefinitions = []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: docs["name"]},
			{Name: "Created At", Type: "date", Description: docs["creationTimestamp"]},
		}
	}
	return t, nil
}

// rowObject is what a row carries of its object.
func (r *Resource) rowObject(obj runtime.Object, include metav1.IncludeObjectPolicy) (runtime.Object, error) {
	switch include {
	case metav1.IncludeObject:
		return r.ToVersioned(obj)
	case metav1.IncludeMetadata, "":
		return PartialMetadata(obj)
	case metav1.IncludeNone:
		return nil, nil
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("unrecognized includeObject value: %q", include))
}

// PartialMetadata is an object's metadata as an object.
func PartialMetadata(obj runtime.Object) (*metav1.PartialObjectMetadata, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	partial := meta.AsPartialObjectMetadata(m)
	partial.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
	return partial, nil
}
