package lessons

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// paragraphs reads prose: paragraphs, "# heading", "- item", "> note", and
// lines indented by four spaces, which are code.
func paragraphs(body string) []Para {
	var list []Para
	open := false // the last paragraph may go on
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, " \t\n")
		text := strings.TrimSpace(line)
		switch {
		case text == "":
			open = false
		case strings.HasPrefix(line, "    "):
			if n := len(list); n > 0 && list[n-1].Kind == "code" && open {
				list[n-1].Text += "\n" + line[4:]
			} else {
				list = append(list, Para{"code", line[4:]})
			}
			open = true
		case strings.HasPrefix(text, "# "):
			list, open = append(list, Para{"heading", inline(text[2:])}), false
		case strings.HasPrefix(text, "- "):
			list, open = append(list, Para{"item", inline(text[2:])}), true
		case strings.HasPrefix(text, "> ") && (!open || list[len(list)-1].Kind != "note"):
			list, open = append(list, Para{"note", inline(text[2:])}), true
		default:
			text = inline(strings.TrimPrefix(text, "> "))
			if open {
				list[len(list)-1].Text = join(list[len(list)-1].Text, text)
			} else {
				list, open = append(list, Para{"", text}), true
			}
		}
	}
	return list
}

// inline drops the marks of emphasis and code: a terminal is all one font.
func inline(s string) string { return strings.NewReplacer("*", "", "`", "").Replace(s) }

// join puts two lines of a paragraph together: Chinese has no space there,
// but where it meets letters.
func join(a, b string) string {
	last, _ := utf8.DecodeLastRuneInString(a)
	first, _ := utf8.DecodeRuneInString(b)
	switch {
	case unicode.Is(unicode.Han, last) && unicode.Is(unicode.Han, first):
		return a + b
	case fullwidth(last), fullwidth(first):
		return a + b
	}
	return a + " " + b
}

// fullwidth tells whether r is Chinese punctuation.
func fullwidth(r rune) bool {
	return r >= 0x3000 && r <= 0x303f || r >= 0xff00 && r <= 0xff60 || strings.ContainsRune("“”‘’…—", r)
}
