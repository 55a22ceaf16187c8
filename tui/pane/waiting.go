package pane

import (
	"strconv"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// Waiting draws what waits. Empty is what to say if nothing does; digits
// tells whether digits pick here.
func (p Pen) Waiting(r canvas.Rect, v *view.Pending, selected int, digits, ways bool, empty string) {
	if v.Hidden > 0 && r.H > 1 {
		p.C.Text(r, r.H-1, p.L.T("pending.hidden", "n", strconv.Itoa(v.Hidden)), dim)
		r.H--
	}
	if v.Folded > 0 && r.H > 3 && len(v.Rows) < r.H {
		p.C.Text(r, min(len(v.Rows), r.H-2), "  "+p.L.T("timer.folded", "n", strconv.Itoa(v.Folded)), dim)
	}
	if len(v.Rows) == 0 {
		p.say(r, 0, empty, dim)
		return
	}
	list := r
	if ways && r.H >= 5 {
		list.H -= 1
		p.line(r, r.H-1, seg{p.L.T("pending.ways"), dim})
	}
	start := max(0, min(selected-list.H/2, len(v.Rows)-list.H))
	end := min(len(v.Rows), start+list.H)
	verbs := 0
	for _, w := range v.Rows[start:end] {
		verbs = max(verbs, text.Width(p.lead(w)))
	}
	for i := start; i < end; i++ {
		row := i - start
		if row == list.H-1 && end < len(v.Rows) && i != selected {
			p.line(list, row, seg{"  " + p.L.T("pending.more", "n", strconv.Itoa(len(v.Rows)-i)), dim})
			break
		}
		p.waiting(list, row, i, v.Rows[i], min(verbs, max(9, r.W*3/10)), digits, i == selected)
	}
}

// lead is the first word of what waits: what is done, or when.
func (p Pen) lead(w view.Waiting) string {
	switch {
	case !w.Timer:
		return p.L.Verb(w.Verb)
	case w.Due > 0:
		return p.L.T("pending.due", "d", view.Took(w.Due))
	}
	return p.L.T("pending.now")
}

func (p Pen) waiting(r canvas.Rect, row, i int, w view.Waiting, verbs int, digits, selected bool) {
	digit := "  "
	if digits && i < 9 {
		digit = strconv.Itoa(i+1) + " "
	}
	tail, tailStyle := "", dim
	switch {
	case w.Timer:
		tail = p.L.T(w.For, "verb", p.L.Verb(w.Verb))
	case w.Actor != "":
		tail = p.G.To + " " + p.clean(w.Actor)
		if w.Class != step.ClassDeliver {
			tail = p.clean(w.Actor)
		}
	}
	verb := text.Fit(p.lead(w), verbs)
	sign, st := change(w.Type)
	free := r.W - text.Width(digit) - text.Width(verb) - 4
	object := p.clean(w.Object)
	if text.Width(object)+text.Width(tail) > free {
		object = view.Short(object)
	}
	tail = text.Cut(tail, max(free-12, 0))
	room := free - text.Width(tail)
	style := plain
	if w.Quiet {
		style = dim
	}
	verbStyle := held
	if w.Timer {
		verbStyle = code
	}
	p.line(r, row, seg{digit, keyed}, seg{verb + " ", verbStyle}, seg{sign + " ", st}, seg{text.Middle(object, room), style})
	p.right(r, row, tail, tailStyle)
	if selected {
		p.selected(r, row)
	}
}
