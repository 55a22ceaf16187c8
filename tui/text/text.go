// Package text measures, cuts, wraps and cleans text by the cells that it
// takes on a terminal. Everything that the interface draws goes through it.
//
// It has no types: Clean makes untrusted text safe, Width measures, Cut, Pad
// and Fit bring text to a width, Wrap sets prose by the rules of Unicode
// Standard Annex 14, so that no Chinese line begins with a full stop.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// Clean makes text from containers, objects or packets safe to draw: control
// characters become "·", line ends and tabs a space, and what has no cell of
// its own but changes its neighbours (joiners, variation selectors, marks of
// direction) goes.
func Clean(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteByte('?')
		case r == '\n', r == '\t', r == '\r':
			b.WriteByte(' ')
		case dropped(r):
		case unicode.IsControl(r):
			b.WriteString("·")
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

// clean tells whether s needs nothing; most text is plain ASCII.
func clean(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return cleanRunes(s)
		}
	}
	return true
}

func cleanRunes(s string) bool {
	for i, r := range s {
		if r < 0x20 || r >= 0x7f && (unicode.IsControl(r) || dropped(r)) {
			return false
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return false
			}
		}
	}
	return true
}

func dropped(r rune) bool {
	return unicode.Is(unicode.Cf, r) || r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0000 && r <= 0xe0fff || r == 0x2028 || r == 0x2029
}

// Width is how many cells s takes.
func Width(s string) int {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return uniseg.StringWidth(s)
		}
	}
	return len(s)
}

// Next splits s after its first character as a reader sees it, and tells how
// many cells that takes.
func Next(s string) (first, rest string, width int) {
	if s[0] < 0x80 && (len(s) == 1 || s[1] < 0x80) {
		return s[:1], s[1:], 1
	}
	first, rest, width, _ = uniseg.FirstGraphemeClusterInString(s, -1)
	return first, rest, width
}

// Head returns as much of the beginning of s as fits into w cells.
func Head(s string, w int) string {
	if w <= 0 {
		return ""
	}
	if Width(s) <= w {
		return s
	}
	used, rest := 0, s
	for len(rest) > 0 {
		_, next, n := Next(rest)
		if used+n > w {
			break
		}
		used, rest = used+n, next
	}
	return s[:len(s)-len(rest)]
}

// Cut returns s, or if it does not fit into w cells its beginning with "…".
func Cut(s string, w int) string {
	if Width(s) <= w {
		return s
	}
	if w <= 0 {
		return ""
	}
	return Head(s, w-1) + "…"
}

// Middle returns s, or if it does not fit into w cells its beginning and its
// end with "…" between: names made by machines differ at their end.
func Middle(s string, w int) string {
	n := Width(s)
	if n <= w || w < 8 {
		return Cut(s, w)
	}
	tail := s
	keep := min(6, w/3)
	for Width(tail) > keep {
		_, tail, _ = Next(tail)
	}
	return Head(s, w-1-Width(tail)) + "…" + tail
}

// Tail returns s, or if it does not fit into w cells its end after "…".
func Tail(s string, w int) string {
	if Width(s) <= w {
		return s
	}
	for Width(s) > max(0, w-1) {
		_, s, _ = Next(s)
	}
	return "…" + s
}

// Pad adds spaces until s takes w cells.
func Pad(s string, w int) string {
	if n := w - Width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

// Left adds spaces in front until s takes w cells.
func Left(s string, w int) string {
	if n := w - Width(s); n > 0 {
		return strings.Repeat(" ", n) + s
	}
	return s
}

// Fit makes s take exactly w cells.
func Fit(s string, w int) string { return Pad(Cut(s, w), w) }

// Wrap sets s in lines of at most w cells. Line ends in s are kept. A word
// that is longer than a line is broken.
func Wrap(s string, w int) []string {
	if w <= 0 {
		return nil
	}
	var lines []string
	for _, p := range strings.Split(s, "\n") {
		lines = append(lines, paragraph(p, w)...)
	}
	return lines
}

func paragraph(s string, w int) []string {
	var lines []string
	line, used, state := "", 0, -1
	flush := func() {
		lines = append(lines, strings.TrimRight(line, " "))
		line, used = "", 0
	}
	for len(s) > 0 {
		var piece string
		piece, s, _, state = uniseg.FirstLineSegmentInString(s, state)
		if flagBegins(piece) && s != "" {
			var name string
			name, s, _, state = uniseg.FirstLineSegmentInString(s, state)
			piece += name
		}
		bare := strings.TrimRight(piece, " ")
		if used+Width(bare) > w && line != "" {
			flush()
		}
		for Width(strings.TrimRight(piece, " ")) > w {
			head := Head(piece, w)
			if head == "" {
				head, _, _ = Next(piece)
			}
			lines = append(lines, head)
			piece = piece[len(head):]
		}
		line, used = line+piece, used+Width(piece)
	}
	flush()
	return lines
}

// flagBegins says that a piece of a line ends with the hyphens that a flag begins with, as of --network:
// they stay with what follows, other than those of "well-known".
func flagBegins(piece string) bool {
	before := strings.TrimRight(piece, "-")
	last, _ := utf8.DecodeLastRuneInString(before)
	return before != piece && !unicode.IsLetter(last) && !unicode.IsNumber(last)
}
