package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// Inspect draws why something happened, and what it changed. It returns how
// many rows there would be; skip rows are scrolled away.
func (p Pen) Inspect(r canvas.Rect, v *view.Inspect, skip int) int {
	if v == nil {
		p.say(r, 0, p.L.T("why.none"), dim)
		return 1
	}
	lines := p.inspectLines(r.W, v, r.H)
	skip = max(0, min(skip, len(lines)-r.H))
	for i := range r.H {
		if skip+i < len(lines) {
			p.line(r, i, lines[skip+i]...)
		}
	}
	return len(lines)
}

func (p Pen) inspectLines(w int, v *view.Inspect, h int) [][]seg {
	var out [][]seg
	add := func(s ...seg) { out = append(out, s) }
	sentence := p.clean(v.Actor) + ": " + p.L.Verb(v.Verb) + " " + p.clean(v.Title)
	if len(v.Causes) > 0 && !v.Causes[0].Hidden {
		sentence = p.sentence(v.Causes[0], 2*w-8)
	}
	for _, l := range text.Wrap(sentence, w) {
		add(seg{l, strong})
	}
	if v.Err != "" {
		for _, l := range text.Wrap(p.G.Bad+" "+p.clean(v.Err), w) {
			add(seg{l, bad})
		}
	}
	for _, n := range v.Note {
		if strings.Contains(sentence, p.clean(n)) {
			continue
		}
		for _, l := range text.Wrap("  "+p.clean(p.L.Says(n)), w) {
			add(seg{l, code})
		}
	}
	causes := p.causeLines(w, v)
	diff := p.diffLines(w, v, max(4, h-len(out)-len(causes)-3))
	out = append(out, diff...)
	add()
	add(seg{p.L.T("why.title"), title})
	return append(out, causes...)
}

func (p Pen) diffLines(w int, v *view.Inspect, room int) [][]seg {
	if v.Object == "" || len(v.Diff) == 0 && !v.Gone {
		return nil
	}
	head := p.clean(v.Object) + "  " + p.L.T("head.rev", "rv", strconv.FormatInt(v.RV, 10))
	switch {
	case v.Whole:
		head += "  " + p.L.T("diff.whole")
	case v.Gone:
		head += "  " + p.L.T("diff.gone")
	}
	out := [][]seg{nil, {{text.Middle(head, w), title}}}
	if v.Gone {
		return out
	}
	for i, l := range v.Diff {
		if i >= room-1 && len(v.Diff) > room {
			return append(out, []seg{{p.L.T("diff.more", "n", strconv.Itoa(len(v.Diff)-i)), dim}})
		}
		st := good
		if l.Op == '-' {
			st = held
		}
		path := p.clean(l.Path)
		value := p.clean(l.Value)
		if text.Width(path) > w-4-min(text.Width(value), w/3) {
			path = text.Tail(path, w-4-min(text.Width(value), w/3))
		}
		out = append(out, []seg{{string(l.Op) + " ", st}, {path + ": ", plain}, {value, st}})
	}
	return out
}

// sentence words a cause; the object's name gives way if it is wider than w.
func (p Pen) sentence(l view.Link, w int) string {
	if l.Hidden {
		return p.L.T("hidden.word")
	}
	s := text.Clean(p.L.Why(l.Cause, l.Object, l.Actor))
	if text.Width(s) <= w {
		return s
	}
	name := view.Short(l.Object)
	over := text.Width(text.Clean(p.L.Why(l.Cause, name, l.Actor))) - w
	return text.Clean(p.L.Why(l.Cause, text.Middle(name, max(12, text.Width(name)-max(0, over))), l.Actor))
}

// causeLines tells the causes, one line each, with the revision at the right.
func (p Pen) causeLines(w int, v *view.Inspect) [][]seg {
	var out [][]seg
	width, rvs := 4, 0
	for _, l := range v.Causes {
		width = max(width, text.Width("#"+strconv.FormatUint(l.Cause.Seq, 10)))
		if l.Cause.RV != 0 {
			rvs = max(rvs, 1+len(strconv.FormatInt(l.Cause.RV, 10)))
		}
	}
	room := w - width - 3 - rvs
	for i, l := range v.Causes {
		if i == 0 {
			continue
		}
		st, s, rv := plain, text.Cut(p.sentence(l, room), room), ""
		if l.Hidden {
			st = dim
		} else if l.Cause.RV != 0 {
			rv = strconv.FormatInt(l.Cause.RV, 10)
		}
		if l.Cause.Others > 0 && !l.Hidden {
			s = text.Cut(s, room-3) + " +" + strconv.Itoa(l.Cause.Others)
		}
		seq := "#" + strconv.FormatUint(l.Cause.Seq, 10)
		out = append(out, []seg{{p.G.Up + " ", dim}, {text.Pad(seq, width) + " ", dim}, {text.Pad(s, room), st}, {text.Left(rv, rvs), code}})
	}
	switch {
	case v.Lost:
		out = append(out, []seg{{p.L.T("why.lost"), dim}})
	case v.Root && len(v.Causes) > 0:
		for _, s := range text.Wrap(p.L.T("why.root"), w) {
			out = append(out, []seg{{s, dim}})
		}
	}
	return out
}

// Ran draws what really ran, the newest first.
func (p Pen) Ran(r canvas.Rect, v *view.Ran, selected int) {
	if len(v.Rows) == 0 {
		p.C.Text(r, 0, p.L.T("ran.none"), dim)
		return
	}
	start := max(0, min(selected-r.H+1, len(v.Rows)-r.H))
	width := 6
	for _, l := range v.Rows {
		width = min(max(width, text.Width(p.clean(l.Where))), 12)
	}
	for i := start; i < len(v.Rows) && i-start < r.H; i++ {
		p.ran(r, i-start, v.Rows[i], width)
		if i == selected && selected > 0 {
			p.selected(r, i-start)
		}
	}
}

func (p Pen) ran(r canvas.Rect, row int, l view.Line, width int) {
	if l.Hidden {
		p.C.Text(r, row, p.L.T("hidden"), dim)
		return
	}
	tail := view.Took(l.Took) + "  " + strconv.Itoa(l.Exit)
	st := dim
	if l.Bad {
		st = bad
	}
	room := r.W - text.Width(tail) - width - 3
	p.line(r, row, seg{text.Fit(p.clean(l.Where), width) + "  ", dim}, seg{text.Cut(p.clean(l.Text), room), code})
	p.right(r, row, tail, st)
}
