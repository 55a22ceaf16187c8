// Command openapi writes the OpenAPI v3 documents that klab serves: those of
// the Kubernetes module, less what is not in the table of package api, into the
// folder v3. Run it by `go generate ./core/api` after a change of the table or
// of the Kubernetes version. Start at document.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/klab-project/klab/core/api"
)

func main() {
	if err := generate("openapi/v3"); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

// generate writes a compressed document for each group and version, and the
// index of their hashes.
func generate(dir string) error {
	module, err := moduleDir()
	if err != nil {
		return err
	}
	index := map[string]string{}
	for _, gv := range documented() {
		doc, err := document(module, gv)
		if err != nil {
			return err
		}
		hash := sha256.Sum256(doc)
		index[groupPath(gv)] = strings.ToUpper(hex.EncodeToString(hash[:]))
		packed, err := pack(doc)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fileName(gv)+".gz"), packed, 0o644); err != nil {
			return err
		}
	}
	encoded, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), append(encoded, '\n'), 0o644)
}

// documented are the groups that the Kubernetes module describes: all but that
// of the metrics server.
func documented() []schema.GroupVersion {
	return slices.DeleteFunc(api.Groups(), func(gv schema.GroupVersion) bool { return gv.Group == metrics.GroupName })
}

// moduleDir is where the Kubernetes module of go.mod is.
func moduleDir() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return "", fmt.Errorf("find the module k8s.io/kubernetes: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// groupPath is the path of a group and version below the server's root.
func groupPath(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.Group + "/" + gv.Version
}

// fileName is how the module calls the document of a group and version.
func fileName(gv schema.GroupVersion) string {
	return strings.ReplaceAll(groupPath(gv), "/", "__") + "_openapi.json"
}

func pack(doc []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(doc); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// openAPI is as much of a document as pruning needs to know.
type openAPI struct {
	Components struct {
		Schemas         map[string]any `json:"schemas"`
		SecuritySchemes any            `json:"securitySchemes,omitempty"`
	} `json:"components"`
	Info    any            `json:"info"`
	OpenAPI string         `json:"openapi"`
	Paths   map[string]any `json:"paths"`
}

// document is the module's document of gv, with the paths that are served and
// the schemas that these refer to.
func document(module string, gv schema.GroupVersion) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(module, "api", "openapi-spec", "v3", fileName(gv)))
	if err != nil {
		return nil, err
	}
	var doc openAPI
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%s: %w", fileName(gv), err)
	}
	needed := map[string]any{}
	for path, item := range doc.Paths {
		if !served(gv, path) {
			delete(doc.Paths, path)
			continue
		}
		doc.collect(item, needed)
	}
	doc.Components.Schemas = needed
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(doc); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// served tells whether a path of a document belongs to the table.
func served(gv schema.GroupVersion, path string) bool {
	rest := strings.Trim(strings.TrimPrefix(path, "/"+groupPath(gv)), "/")
	if rest == "" {
		return true // the list of resources
	}
	parts := strings.Split(rest, "/")
	if len(parts) > 2 && parts[0] == "namespaces" && parts[1] == "{namespace}" {
		parts = parts[2:]
	}
	r := api.Find(gv.WithResource(parts[0]))
	switch {
	case r == nil:
		return false
	case len(parts) == 1:
		return true
	case parts[1] != "{name}":
		return false
	case len(parts) == 2:
		return true
	}
	return len(parts) == 3 && r.Subresource(parts[2]) != nil
}

// collect adds to needed the schemas to which part of a document refers.
func (doc *openAPI) collect(part any, needed map[string]any) {
	switch part := part.(type) {
	case map[string]any:
		if ref, ok := part["$ref"].(string); ok {
			name := strings.TrimPrefix(ref, "#/components/schemas/")
			if _, done := needed[name]; !done {
				needed[name] = doc.Components.Schemas[name]
				doc.collect(needed[name], needed)
			}
		}
		for _, v := range part {
			doc.collect(v, needed)
		}
	case []any:
		for v := range slices.Values(part) {
			doc.collect(v, needed)
		}
	}
}
