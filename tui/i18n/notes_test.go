package i18n

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// What the tracer could not see is said in Chinese too, with all that is in it.
func TestEachNoteOfTheTracerIsKnown(t *testing.T) {
	note := regexp.MustCompile(`(?:stopped = |otes = append\((?:w\.N|n)otes, |Unread = |return common\(fit\), |return x, |Text: )(?:fmt\.Sprintf\()?"([^"]{20,})"`)
	n := 0
	for _, file := range []string{"assemble.go", "ipvs.go", "legacy.go", "legacyruns.go", "legacywalk.go"} {
		src, err := os.ReadFile("../../netlab/trace/" + file)
		require.NoError(t, err)
		for _, m := range note.FindAllStringSubmatch(string(src), -1) {
			n++
			args := 0
			said := regexp.MustCompile(`%[sdv]`).ReplaceAllStringFunc(m[1], func(string) string { args++; return "arg" + string(rune('a'+args)) })
			if strings.HasSuffix(said, ": ") {
				said += "there are too many ways that it may have gone"
			}
			zh := Chinese.Says(said)
			require.True(t, strings.ContainsFunc(zh, func(r rune) bool { return unicode.Is(unicode.Han, r) }), "%s: %q has no Chinese", file, said)
			for i := 1; i <= args; i++ {
				require.Contains(t, zh, "arg"+string(rune('a'+i)), "%q", said)
			}
		}
	}
	require.Equal(t, 11, n)
	require.Equal(t, "之后怎样无法判断：它可能走过的路径太多", Chinese.Says("cannot say what follows: there are too many ways that it may have gone"))
}
