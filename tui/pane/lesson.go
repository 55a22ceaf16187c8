package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/text"
)

// Lesson draws a lesson's text and its prompt; skip rows are scrolled away. It
// returns how many rows can be. The prompt stays in view: text that does not
// fit gives way to it.
func (p Pen) Lesson(r canvas.Rect, v lesson.View, a Answering, skip int) int {
	body, foot := p.blocks(v, r.W), p.foot(v, a, r.W)
	part, lines := r, body
	if tight(len(body), len(foot), r.H) {
		lines = append(lines, foot...)
	} else {
		part.H = r.H - len(foot)
		p.rows(r.From(min(len(body), part.H)), foot, 0)
	}
	most := max(0, len(lines)-part.H)
	skip = max(0, min(skip, most))
	p.rows(part, lines, skip)
	if skip < most {
		p.right(part, part.H-1, " "+p.L.T("lesson.more"), dim)
	}
	if skip > 0 {
		p.right(part, 0, " "+p.L.T("lesson.above"), dim)
	}
	return most
}

// tight tells whether text and prompt scroll together, because the prompt
// alone takes nearly all of h rows.
func tight(body, foot, h int) bool { return body+foot > h && (foot > h*3/4 || foot == 0) }

// LessonStart is how many rows are to be scrolled away so that in w×h cells
// the prompt, and what came of it, is in view, or else what is to be done.
func (p Pen) LessonStart(v lesson.View, a Answering, w, h int) int {
	body, foot := len(p.blocks(v, w)), len(p.foot(v, a, w))
	switch {
	case !tight(body, foot, h), v.Prompt == nil && (v.Do == nil || v.Do.Output+v.Do.Before == ""):
		return 0
	case v.Prompt != nil && !v.Prompt.Quiz && (v.Prompt.Open() || v.Prompt.Answer >= 0):
		return min(body+1, body+foot-h)
	}
	return body + foot - h
}

// LessonAsks draws the part of a lesson that says what the learner is to do, in
// few rows: an open question from its beginning, else the end.
func (p Pen) LessonAsks(r canvas.Rect, v lesson.View, a Answering) {
	skip, body, foot := 0, len(p.blocks(v, r.W)), len(p.foot(v, a, r.W))
	if foot > 0 && tight(body, foot, r.H) {
		skip = body + foot - r.H
		if v.Prompt == nil || v.Prompt.Open() && !v.Prompt.Quiz {
			skip = min(skip, body+1) // without the empty row between them
		}
	}
	p.Lesson(r, v, a, skip)
}

// LessonRows is how many rows a lesson would take at a width.
func (p Pen) LessonRows(v lesson.View, a Answering, w int) int {
	return len(p.blocks(v, w)) + len(p.foot(v, a, w))
}

// LessonWide is the rows of a lesson that do not fit into w cells.
func (p Pen) LessonWide(v lesson.View, a Answering, w int) (list []string) {
	for _, row := range append(p.blocks(v, w), p.foot(v, a, w)...) {
		line := ""
		for _, s := range row {
			line += s.s
		}
		if line = strings.TrimRight(line, " "); text.Width(line) > w {
			list = append(list, line)
		}
	}
	return list
}

func (p Pen) rows(r canvas.Rect, lines [][]seg, skip int) {
	skip = max(0, min(skip, len(lines)-r.H))
	for i := 0; i < r.H && skip+i < len(lines); i++ {
		p.line(r, i, lines[skip+i]...)
	}
}

func (p Pen) blocks(v lesson.View, w int) [][]seg {
	var out [][]seg
	if v.Name != "" {
		for _, l := range text.Wrap(p.clean(v.Name), w) {
			out = append(out, []seg{{l, title}})
		}
	}
	for i, b := range v.Blocks {
		if i > 0 && b.Kind != lesson.Item {
			out = append(out, nil)
		}
		out = append(out, p.block(b, w)...)
	}
	return out
}

func (p Pen) block(b lesson.Block, w int) [][]seg {
	var out [][]seg
	switch b.Kind {
	case lesson.Code:
		for _, l := range strings.Split(b.Text, "\n") {
			out = append(out, []seg{{"  " + p.clean(l), code}})
		}
	case lesson.Heading:
		for _, l := range text.Wrap(p.clean(b.Text), w) {
			out = append(out, []seg{{l, strong}})
		}
	case lesson.Item:
		for i, l := range text.Wrap(p.clean(b.Text), w-3) {
			lead := "   "
			if i == 0 {
				lead = " " + p.G.Dot + " "
			}
			out = append(out, []seg{{lead, dim}, {l, plain}})
		}
	case lesson.Note:
		for _, l := range text.Wrap(p.clean(b.Text), w-2) {
			out = append(out, []seg{{p.G.V + " ", keyed}, {l, plain}})
		}
	default:
		for _, l := range text.Wrap(p.clean(b.Text), w) {
			out = append(out, []seg{{l, plain}})
		}
	}
	return out
}

// foot is what the learner is to do: predict, run, check, go on.
func (p Pen) foot(v lesson.View, a Answering, w int) [][]seg {
	var out [][]seg
	gap := func() {
		if len(out) > 0 || len(v.Blocks) > 0 {
			out = append(out, nil)
		}
	}
	quiz := v.Prompt != nil && v.Prompt.Quiz // it is about what has happened, so that comes first
	if v.Prompt != nil && !quiz {
		gap()
		out = append(out, p.prompt(v.Prompt, a, w)...)
	}
	if v.Do != nil && *v.Do != (lesson.Command{Done: true}) && (quiz || !v.Prompt.Open()) { // more than turning to a view
		gap()
		out = append(out, p.doing(v.Do, w)...)
	}
	if quiz {
		gap()
		out = append(out, p.prompt(v.Prompt, a, w)...)
	}
	for _, h := range v.Hints {
		for _, l := range text.Wrap(p.L.T("lesson.hint")+p.clean(h), w) {
			out = append(out, []seg{{l, held}})
		}
	}
	if !v.Prompt.Open() {
		out = append(out, p.goals(v, w)...)
	}
	if v.Result != "" && !v.Prompt.Open() {
		gap()
		for _, l := range text.Wrap(p.clean(v.Result), w) {
			out = append(out, []seg{{l, keyed}})
		}
	}
	switch {
	case v.Done:
		for _, l := range text.Wrap(p.L.T("lesson.done"), w) {
			out = append(out, []seg{{l, good}})
		}
	case v.Prompt.Open():
	case v.CanNext:
		gap()
		out = append(out, []seg{{p.G.Right + " ", keyed}, {p.L.T("lesson.next"), keyed}})
	case v.Waiting != "":
		gap()
		for _, l := range text.Wrap(p.L.T("lesson.waiting", "what", p.clean(v.Waiting)), w) {
			out = append(out, []seg{{l, dim}})
		}
	}
	if v.Left > 0 && !v.Done && !v.Prompt.Open() {
		out = append(out, []seg{{p.L.T("lesson.hints", "n", strconv.Itoa(v.Left)), dim}})
	}
	return out
}

// doing is what the step does next, or did last.
func (p Pen) doing(c *lesson.Command, w int) [][]seg {
	g, st, word := p.G.Right, keyed, p.L.T("lesson.enter")
	if c.Busy {
		g, st, word = p.G.Busy, busy, p.L.T("lesson.busy")
	}
	if c.Done {
		g, st, word = p.G.On, good, ""
	}
	return append(p.printed(c.Before, w), p.command(c, []seg{{g + " ", st}, {"", code}, {word, dim}}, w)...)
}

func (p Pen) goals(v lesson.View, w int) [][]seg {
	var out [][]seg
	if len(v.Checks) > 0 {
		out = append(out, nil, []seg{{p.L.T("lesson.checks"), title}})
	}
	for _, g := range v.Checks {
		sign, st := p.G.Off, dim
		if g.Done {
			sign, st = p.G.On, good
		}
		for i, l := range text.Wrap(p.clean(g.Text), w-2) {
			lead := "  "
			if i == 0 {
				lead = sign + " "
			}
			out = append(out, []seg{{lead, st}, {l, plain}})
		}
		if !g.Done && g.NotYet != "" {
			for _, l := range text.Wrap(p.clean(g.NotYet), w-4) {
				out = append(out, []seg{{"    " + l, held}})
			}
		}
	}
	return out
}

// command is a command, wrapped, and what it printed. The row that lead begins
// is the first one; a long command has its word in a row of its own.
func (p Pen) command(c *lesson.Command, lead []seg, w int) [][]seg {
	lines := text.Wrap(p.clean(c.Line), w-2)
	if len(lines) == 0 {
		lines = []string{""}
	}
	lead[1].s = lines[0]
	var out [][]seg
	if len(lines) == 1 && text.Width(lines[0]+lead[2].s) <= w-4 {
		lead[1].s += "  "
		out = append(out, lead)
	} else {
		out = append(out, lead[:2])
		for _, l := range lines[1:] {
			out = append(out, []seg{{"  " + l, code}})
		}
		if lead[2].s != "" {
			out = append(out, []seg{{"  ", plain}, lead[2]})
		}
	}
	return append(out, p.printed(c.Output, w)...)
}

// printed is what a command printed.
func (p Pen) printed(s string, w int) [][]seg {
	var out [][]seg
	if s == "" {
		return nil
	}
	for l := range strings.SplitSeq(s, "\n") {
		l = p.clean(l)
		if text.Width(l) > w-2 { // a table, say: its words fit more often than its columns
			l = strings.Join(strings.Fields(l), " ")
		}
		for _, part := range text.Wrap(l, w-2) {
			out = append(out, []seg{{"  " + part, plain}})
		}
	}
	return out
}
