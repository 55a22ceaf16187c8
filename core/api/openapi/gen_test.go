package main

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/api"
)

func TestDocumentsAreUpToDate(t *testing.T) {
	module, err := moduleDir()
	require.NoError(t, err)
	require.DirExists(t, module)
	paths := api.OpenAPIPaths()
	require.Len(t, paths, len(documented()))
	for _, gv := range documented() {
		want, err := document(module, gv)
		require.NoError(t, err)
		have, ok := api.OpenAPI(groupPath(gv))
		require.True(t, ok, gv)
		require.True(t, string(want) == string(have), "%s: run `go generate ./core/api`", gv)
		require.NotEmpty(t, paths[groupPath(gv)])
	}
}

// Each resource and subresource has a path, and each reference a schema.
func TestDocumentsAreComplete(t *testing.T) {
	for _, r := range api.Resources() {
		if r.Measured {
			continue
		}
		data, ok := api.OpenAPI(groupPath(r.GV()))
		require.True(t, ok)
		var doc openAPI
		require.NoError(t, json.Unmarshal(data, &doc))
		base := "/" + groupPath(r.GV()) + "/"
		kept := slices.Contains(r.Verbs, "get") // a review is answered and not kept
		if r.Namespaced {
			if kept {
				require.Contains(t, doc.Paths, base+r.Name)
			}
			base += "namespaces/{namespace}/"
		}
		require.Contains(t, doc.Paths, base+r.Name)
		if kept {
			require.Contains(t, doc.Paths, base+r.Name+"/{name}")
		}
		for _, sub := range r.Subresources {
			require.Contains(t, doc.Paths, base+r.Name+"/{name}/"+sub.Name)
		}
		require.NotContains(t, doc.Paths, "/api/v1/persistentvolumes")
		needed := map[string]any{}
		doc.collect(doc.Paths, needed)
		for name, s := range needed {
			require.NotNil(t, s, name)
		}
		require.Len(t, doc.Components.Schemas, len(needed))
	}
}

func TestGenerate(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, generate(dir))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, len(documented())+1)
}
