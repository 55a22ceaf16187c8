package i18n

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

func TestBothLanguages(t *testing.T) {
	holes := regexp.MustCompile(`\{\w+\}`)
	for key, both := range table {
		require.NotEmpty(t, both[0], key)
		require.NotEmpty(t, both[1], key)
		en, zh := holes.FindAllString(both[0], -1), holes.FindAllString(both[1], -1)
		slices.Sort(en)
		slices.Sort(zh)
		require.Equal(t, en, zh, "placeholders of %s", key)
		for _, r := range both[0] {
			if !strings.HasSuffix(key, "language") && !strings.HasSuffix(key, "lang") {
				require.False(t, unicode.Is(unicode.Han, r), "%s: Chinese in the English text", key)
			}
		}
	}
}

func TestEachKeyInTheCodeIsThere(t *testing.T) {
	used := regexp.MustCompile(`\bT\("([^"]+)"([^)+]*)`)
	n := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range used.FindAllStringSubmatch(string(src), -1) {
			if strings.HasSuffix(m[1], ".") {
				continue // the beginning of a key
			}
			n++
			require.True(t, Has(m[1]), "%s: no text %q", path, m[1])
		}
		return err
	}))
	for _, k := range fold.WhyKeys() {
		require.True(t, Has(k), "no text %q", k)
	}
	t.Log(n, "uses")
}

// The verbs of the interfaces CRI and CNI keep their own names.
func TestEachVerbHasWords(t *testing.T) {
	src, err := os.ReadFile("../../core/step/verb.go")
	require.NoError(t, err)
	verbs := regexp.MustCompile(`(?m)^\t\w+ +Verb = "([^"]+)"`).FindAllStringSubmatch(string(src), -1)
	require.Len(t, verbs, strings.Count(string(src), " Verb = "))
	require.NotEmpty(t, verbs)
	for _, m := range verbs {
		v := step.Verb(m[1])
		if c := v.Class(); c == step.ClassCRI || c == step.ClassCNI {
			require.Equal(t, string(v), Chinese.Verb(v))
			continue
		}
		require.True(t, Has("verb."+m[1]), "no words for the verb %q", m[1])
	}
}
