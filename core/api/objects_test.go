package api

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/core"
)

// object is a manifest of testdata/objects.yaml.
type object struct {
	row      *Resource
	internal runtime.Object
}

func objects(t testing.TB) []object {
	t.Helper()
	data, err := os.ReadFile("testdata/objects.yaml")
	require.NoError(t, err)
	var all []object
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		r := rowOf(t, doc)
		obj, warnings, err := Decode(doc, runtime.ContentTypeYAML, r.GVK(), metav1.FieldValidationStrict)
		require.NoError(t, err, "%s", doc)
		require.Empty(t, warnings)
		all = append(all, object{r, obj})
	}
	for _, r := range Resources() {
		if !r.Stored() {
			continue
		}
		require.True(t, strings.Contains(string(data), "kind: "+r.Kind), "an object of each resource")
	}
	return all
}

// Whatever way an object takes, through the store and each format, it is the
// same afterwards.
func TestRoundTrip(t *testing.T) {
	for _, o := range objects(t) {
		t.Run(o.row.GV().String()+" "+o.row.Kind, func(t *testing.T) {
			value, err := o.row.EncodeStored(o.internal)
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(value, []byte(`{"`)), "%s", value)
			require.Contains(t, string(value), fmt.Sprintf(`"apiVersion":%q`, o.row.Storage.String()))
			require.NotContains(t, string(value), "resourceVersion")
			stored, err := o.row.DecodeStored(value, 42)
			require.NoError(t, err)
			m := stored.(metav1.Object)
			require.Equal(t, "42", m.GetResourceVersion())
			again, err := o.row.EncodeStored(stored)
			require.NoError(t, err)
			require.Equal(t, string(value), string(again))
			require.Equal(t, "42", m.GetResourceVersion(), "encoding changes nothing")
			m.SetResourceVersion("")
			sameObject(t, o.internal, stored)

			for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf} {
				body, err := Encode(o.internal, mediaType, o.row.GV(), false)
				require.NoError(t, err)
				back, warnings, err := Decode(body, mediaType+"; charset=utf-8", o.row.GVK(), "")
				require.NoError(t, err)
				require.Empty(t, warnings)
				sameObject(t, o.internal, back)
			}
			versioned, err := o.row.ToVersioned(o.internal)
			require.NoError(t, err)
			require.Equal(t, o.row.GVK(), versioned.GetObjectKind().GroupVersionKind())
			internal, err := o.row.ToInternal(versioned)
			require.NoError(t, err)
			sameObject(t, o.internal, internal)
		})
	}
}

// sameObject compares as Kubernetes does: what is empty is as if it were not
// there.
func sameObject(t *testing.T, want, got runtime.Object) {
	t.Helper()
	if !equality.Semantic.DeepEqual(want, got) {
		require.Equal(t, want, got)
	}
}

func TestList(t *testing.T) {
	for _, o := range objects(t) {
		list, err := o.row.NewList([]runtime.Object{o.internal, o.internal}, metav1.ListMeta{ResourceVersion: "7", Continue: "next"})
		require.NoError(t, err)
		body, err := Encode(list, runtime.ContentTypeJSON, o.row.GV(), false)
		require.NoError(t, err)
		require.Contains(t, string(body), `"kind":"`+o.row.ListKind+`"`)
		require.Contains(t, string(body), `"resourceVersion":"7","continue":"next"`)
		require.Contains(t, string(body), `"items":[{"metadata":{"name":`, "items have neither apiVersion nor kind")
		empty, err := o.row.NewList(nil, metav1.ListMeta{})
		require.NoError(t, err)
		body, err = Encode(empty, runtime.ContentTypeJSON, o.row.GV(), false)
		require.NoError(t, err)
		require.Contains(t, string(body), `"items":[]`)
	}
}

// The tables are what kubectl prints, with -o wide after the bar.
func TestTables(t *testing.T) {
	const file = "testdata/tables.txt"
	byRow, order := map[string][]runtime.Object{}, []*Resource{}
	for _, o := range objects(t) {
		if byRow[o.row.GVR().String()] == nil {
			order = append(order, o.row)
		}
		byRow[o.row.GVR().String()] = append(byRow[o.row.GVR().String()], o.internal)
	}
	var got strings.Builder
	for _, r := range order {
		table, err := r.Table(byRow[r.GVR().String()], metav1.ListMeta{ResourceVersion: "7"}, nil, time.Now())
		require.NoError(t, err)
		require.Equal(t, "7", table.ResourceVersion)
		fmt.Fprintf(&got, "%s\n%s\n", r.GVR().GroupResource(), render(t, table))
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String())
}

func render(t *testing.T, table *metav1.Table) string {
	t.Helper()
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	line := func(cell func(i int) any) {
		for _, wide := range []bool{false, true} {
			for i, c := range table.ColumnDefinitions {
				if (c.Priority > 0) == wide {
					fmt.Fprintf(w, "%v\t", cell(i))
				}
			}
			if !wide {
				fmt.Fprint(w, "|\t")
			}
		}
		fmt.Fprintln(w)
	}
	line(func(i int) any { return strings.ToUpper(table.ColumnDefinitions[i].Name) })
	for _, row := range table.Rows {
		require.Len(t, row.Cells, len(table.ColumnDefinitions))
		line(func(i int) any { return row.Cells[i] })
	}
	require.NoError(t, w.Flush())
	lines := strings.Split(out.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " |")
	}
	return strings.Join(lines, "\n")
}

func TestTableObjects(t *testing.T) {
	r := pods()
	obj, _, err := create(r, []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"x"}]}}`), "")
	require.NoError(t, err)
	row := func(include metav1.IncludeObjectPolicy) string {
		table, err := r.Table([]runtime.Object{obj}, metav1.ListMeta{}, &metav1.TableOptions{IncludeObject: include}, time.Now())
		require.NoError(t, err)
		body, err := Encode(table, runtime.ContentTypeJSON, r.GV(), false)
		require.NoError(t, err)
		return string(body)
	}
	require.Contains(t, row(""), `"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1"`)
	require.NotContains(t, row(""), `"spec"`)
	require.Contains(t, row(metav1.IncludeObject), `"spec"`)
	require.Contains(t, row(metav1.IncludeNone), `"object":null`)
	require.True(t, strings.HasPrefix(row(""), `{"kind":"Table","apiVersion":"meta.k8s.io/v1"`))
	_, err = r.Table([]runtime.Object{obj}, metav1.ListMeta{}, &metav1.TableOptions{IncludeObject: "Some"}, time.Now())
	require.ErrorContains(t, err, `unrecognized includeObject value: "Some"`)

	empty, err := r.Table(nil, metav1.ListMeta{}, nil, time.Now())
	require.NoError(t, err)
	require.NotEmpty(t, empty.ColumnDefinitions)
	require.Empty(t, empty.Rows)
	bare, err := r.Table([]runtime.Object{obj, obj}, metav1.ListMeta{}, &metav1.TableOptions{NoHeaders: true}, time.Now())
	require.NoError(t, err)
	require.Empty(t, bare.ColumnDefinitions)
	require.Len(t, bare.Rows, 2)
}

func TestAgesAreThoseOfTheClockThatIsGiven(t *testing.T) {
	r := Find(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"})
	obj := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", CreationTimestamp: metav1.NewTime(time.Now())}}
	for ahead, want := range map[time.Duration]string{0: "0s", time.Hour: "60m", 90 * time.Second: "90s"} {
		table, err := r.Table([]runtime.Object{obj}, metav1.ListMeta{}, nil, time.Now().Add(ahead))
		require.NoError(t, err)
		require.Equal(t, want, table.Rows[0].Cells[2])
	}
}
