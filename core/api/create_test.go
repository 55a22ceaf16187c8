package api

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// now is when everything in these tests happens.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func stamp() Stamp {
	return Stamp{Now: now, UID: "11111111-2222-3333-4444-555555555555", Suffix: "abcde"}
}

// rowOf finds the row of a manifest; one whose version klab does not serve is
// taken for its kind in v1, as if it were sent to that path.
func rowOf(t testing.TB, manifest []byte) *Resource {
	t.Helper()
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(manifest, &head); err != nil {
		return pods()
	}
	gv, err := schema.ParseGroupVersion(head.APIVersion)
	require.NoError(t, err)
	for _, r := range Resources() {
		if r.Kind == head.Kind && r.Group == gv.Group {
			return r
		}
	}
	require.Fail(t, "no such kind", "%s", manifest)
	return nil
}

// create does all that comes before the store.
func create(r *Resource, manifest []byte, mediaType string) (runtime.Object, []string, error) {
	obj, warnings, err := Decode(manifest, mediaType, r.GVK(), "Strict")
	if err != nil {
		return nil, nil, err
	}
	if err := r.PrepareForCreate(obj, "default", stamp()); err != nil {
		return nil, nil, err
	}
	more, err := r.ValidateCreate(context.Background(), obj)
	return obj, append(warnings, more...), err
}

func TestCreate(t *testing.T) {
	const file = "testdata/create.txtar"
	archive, err := txtar.ParseFile(file)
	require.NoError(t, err)
	want := map[string]string{}
	var out []txtar.File
	for _, f := range archive.Files {
		if name, ok := strings.CutSuffix(f.Name, ".out"); ok {
			want[name] = string(f.Data)
		}
	}
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			_, warnings, err := create(rowOf(t, f.Data), f.Data, runtime.ContentTypeYAML)
			for _, w := range warnings {
				fmt.Fprintf(&got, "warning: %s\n", w)
			}
			if err != nil {
				fmt.Fprintf(&got, "error: %s\n", err)
			}
			if got.Len() == 0 {
				got.WriteString("ok\n")
			}
			out = append(out, f, txtar.File{Name: name + ".out", Data: []byte(got.String())})
			if !*update {
				require.Equal(t, want[name], got.String())
			}
		})
	}
	if *update {
		archive.Files = out
		require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
	}
}
