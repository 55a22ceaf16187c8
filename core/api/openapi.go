package api

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
)

//go:generate go run ./openapi

//go:embed openapi/v3
var openAPIDocuments embed.FS

const openAPIDir = "openapi/v3"

// OpenAPIPaths are the paths of the OpenAPI v3 documents ("api/v1",
// "apis/apps/v1"), each with the hash of its content, as the index at
// /openapi/v3 has them.
func OpenAPIPaths() map[string]string {
	index, err := openAPIDocuments.ReadFile(path.Join(openAPIDir, "index.json"))
	if err != nil {
		panic(err) // embedded
	}
	var paths map[string]string
	if err := json.Unmarshal(index, &paths); err != nil {
		panic(err)
	}
	return paths
}

// OpenAPIGzip is the document of a path, as compressed JSON.
func OpenAPIGzip(documentPath string) ([]byte, bool) {
	name := strings.ReplaceAll(documentPath, "/", "__") + "_openapi.json.gz"
	doc, err := openAPIDocuments.ReadFile(path.Join(openAPIDir, name))
	return doc, err == nil
}

// OpenAPI is the document of a path, as JSON. It is unpacked at each call, in
// some milliseconds.
func OpenAPI(documentPath string) ([]byte, bool) {
	packed, ok := OpenAPIGzip(documentPath)
	if !ok {
		return nil, false
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(fmt.Errorf("embedded OpenAPI document of %s: %w", documentPath, err))
	}
	doc, err := io.ReadAll(z)
	if err != nil {
		panic(fmt.Errorf("embedded OpenAPI document of %s: %w", documentPath, err))
	}
	return doc, true
}
