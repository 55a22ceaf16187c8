package lessons

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/klab-project/klab/tui/text"
)

// Line is a line of the JSON form.
type Line struct {
	Kind    string   `json:"kind"` // lesson, step, text, do, output, decision, hop, question, answer, goal, end
	ID      string   `json:"id,omitempty"`
	Text    string   `json:"text,omitempty"`
	Choices []string `json:"choices,omitempty"`
	Choice  string   `json:"choice,omitempty"` // the learner's, "" if skipped
	Sure    int      `json:"sure,omitempty"`
	Answer  string   `json:"answer,omitempty"` // what really happened
	Done    *bool    `json:"done,omitempty"`   // of goals, and of the end
	Event   uint64   `json:"event,omitempty"`
	// Points are those that were earned, Of those that could be: of goals and
	// of the end, in a lesson that is graded.
	Points int    `json:"points,omitempty"`
	Of     int    `json:"of,omitempty"`
	Grade  string `json:"grade,omitempty"` // of the end: a to d
}

func (p *Plain) w(key string, pairs ...string) string { return word(p.Lang, key, pairs...) }

// print prints a line in the form that was asked for.
func (p *Plain) print(l Line) {
	if p.JSON {
		raw, err := json.Marshal(l)
		if err == nil {
			fmt.Fprintln(p.Out, string(raw))
		}
		return
	}
	p.wrapped(l.Text, "", "  ")
}

// text prints prose, which the JSON form has as lines of kind text.
func (p *Plain) text(lines ...string) {
	for _, l := range lines {
		switch {
		case !p.JSON && l == "":
			fmt.Fprintln(p.Out)
		case !p.JSON:
			p.wrapped(l, "", "")
		case l != "":
			p.print(Line{Kind: "text", Text: l})
		}
	}
}

func (p *Plain) para(para Para) {
	switch {
	case p.JSON:
		p.text(para.Text)
	case para.Kind == "item":
		p.wrapped(para.Text, "  - ", "    ")
	case para.Kind == "code":
		fmt.Fprintln(p.Out, "\n    "+strings.ReplaceAll(para.Text, "\n", "\n    "))
	default:
		p.text("", para.Text)
	}
}

// printed prints what entries of a step's Do have printed.
func (p *Plain) printed(i, from, to int) {
	p.Session.mu.Lock()
	defer p.Session.mu.Unlock()
	for k := from; k < to; k++ {
		out := p.Session.see.steps[i].printed[k]
		switch {
		case out == "":
		case p.JSON:
			p.print(Line{Kind: "output", Text: out})
		default:
			for l := range strings.SplitSeq(out, "\n") {
				fmt.Fprintln(p.Out, "  | "+text.Clean(l))
			}
		}
	}
}

func (p *Plain) wrapped(s, first, rest string) {
	lead := first
	for _, l := range text.Wrap(text.Clean(s), plainWidth-len(rest)) {
		fmt.Fprintln(p.Out, lead+l)
		lead = rest
	}
}
