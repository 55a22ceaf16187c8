package text_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/tui/text"
)

func TestCleanLeavesNothingThatMovesTheCursor(t *testing.T) {
	require.Equal(t, "·[31mred·[0m", text.Clean("\x1b[31mred\x1b[0m"))
	require.Equal(t, "a b", text.Clean("a\nb"))
	require.Equal(t, "名字", text.Clean("名\u202e字\u200d"))
	require.Equal(t, "a?b", text.Clean("a\xffb"))
	rapid.Check(t, func(t *rapid.T) {
		s := text.Clean(string(rapid.SliceOf(rapid.Byte()).Draw(t, "s")))
		for _, r := range s {
			if unicode.IsControl(r) {
				t.Fatalf("%q", s)
			}
		}
	})
}

func TestFitIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := text.Clean(rapid.StringOf(rapid.RuneFrom([]rune("ab 中文，。●é→é한"))).Draw(t, "s"))
		w := rapid.IntRange(0, 20).Draw(t, "w")
		if got := text.Width(text.Fit(s, w)); got != w {
			t.Fatalf("%q is %d wide, not %d", text.Fit(s, w), got, w)
		}
	})
}

func TestWrapKeepsTheText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.RuneFrom([]rune("abcdef  中文字，。（）“”、-/"))).Draw(t, "s")
		w := rapid.IntRange(2, 30).Draw(t, "w")
		lines := text.Wrap(s, w)
		for _, l := range lines {
			if text.Width(l) > w {
				t.Fatalf("%q is wider than %d", l, w)
			}
		}
		strip := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if strip(strings.Join(lines, "")) != strip(s) {
			t.Fatalf("%q became %q", s, lines)
		}
	})
}

func TestChineseLinesDoNotBeginWithAStop(t *testing.T) {
	s := "调度器从队列里取出一个还没有绑定的 Pod，先过滤，再打分，最后绑定。然后轮到 kubelet。"
	for w := 10; w < 40; w++ {
		for _, l := range text.Wrap(s, w) {
			r := []rune(l)
			require.NotContains(t, "，。、", string(r[0]), "width %d: %q", w, l)
		}
	}
}

func TestFlagsStayWhole(t *testing.T) {
	s := "容器接到哪里，由 --network 决定。 \"klab --help\" lists what is well-known, and -n says where."
	for w := 12; w < 60; w++ {
		lines := text.Wrap(s, w)
		all := strings.Join(lines, "\n")
		for _, flag := range []string{"--network", "--help", "-n"} {
			require.Contains(t, all, flag, "width %d: %q", w, lines)
		}
	}
	require.Equal(t, []string{"well-", "known"}, text.Wrap("well-known", 6))
}
