package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the repository's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	return dir
}

// source is one Go file.
type source struct {
	path  string // from the root
	lines int
	file  *ast.File
}

// sources parses every Go file that is neither a test nor generated.
func sources(t *testing.T) []source {
	t.Helper()
	base := root(t)
	var all []source
	err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != base && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, path)
		if err != nil {
			return err
		}
		if !ast.IsGenerated(file) {
			all = append(all, source{rel, strings.Count(string(data), "\n"), file})
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]string{}
	for _, s := range sources(t) {
		dir := filepath.Dir(s.path)
		documented[dir] += s.file.Doc.Text()
	}
	for dir, doc := range documented {
		if !strings.HasPrefix(doc, "Package "+filepath.Base(dir)) && !strings.HasPrefix(dir, "cmd/") && len(doc) < 40 {
			t.Errorf("%s has no package comment: say what it is, its few nouns, and where to start", dir)
		}
	}
}

// maxLines is hard; about 250 is what a file should have.
const maxLines = 400

func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: which noun is the second one in it?", s.path, s.lines, maxLines)
		}
	}
}

func TestNoInitFunctions(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function: wire by hand, in one place", s.path)
			}
		}
	}
}
