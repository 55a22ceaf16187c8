package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// Loops draws what each control loop wants, has and plans, as a table.
func (p Pen) Loops(r canvas.Rect, v *view.Loops, selected int) {
	if len(v.Rows) == 0 {
		p.say(r, 0, p.L.T("loop.none"), dim)
		return
	}
	who, num := 12, max(text.Width(p.L.T("loop.want")), text.Width(p.L.T("loop.have")), text.Width(p.L.T("loop.gap")))+1
	for _, l := range v.Rows {
		who = min(max(who, text.Width(l.Actor)+1), 18)
	}
	object := 16
	for _, l := range v.Rows {
		object = max(object, text.Width(p.clean(l.Object)))
	}
	object = max(14, min(object, r.W-who-3*num-4-18))
	p.line(r, 0, seg{"  " + text.Pad(p.L.T("loop.actor"), who) + text.Pad(p.L.T("loop.object"), object) + " ", title},
		seg{text.Left(p.L.T("loop.want"), num) + text.Left(p.L.T("loop.have"), num) + text.Left(p.L.T("loop.gap"), num) + "  " + p.L.T("loop.plan"), title})
	list := r.From(1)
	start := max(0, min(selected-list.H+1, len(v.Rows)-list.H))
	for i := start; i < len(v.Rows) && i-start < list.H; i++ {
		l := v.Rows[i]
		g, st := p.sign(l.State)
		plan, planStyle := p.plan(l)
		p.line(list, i-start, seg{g + " ", st}, seg{text.Fit(p.clean(l.Actor), who), plain}, seg{text.Pad(text.Middle(p.clean(l.Object), object), object) + " ", strong},
			seg{text.Left(count(l.Want), num) + text.Left(count(l.Have), num), code}, seg{text.Left(gap(l), num) + "  ", held}, seg{plan, planStyle})
		if i == selected {
			p.selected(list, i-start)
		}
	}
}

func (p Pen) plan(l view.Loop) (string, canvas.Style) {
	switch {
	case l.Err != "":
		return p.clean(l.Err), bad
	case l.State == view.Held:
		return p.L.T("state.held"), held
	case len(l.Plan) > 0:
		plan := p.clean(strings.Join(l.Plan, ", "))
		if l.Merged > 1 {
			plan += " (" + p.L.T("loop.merged", "n", strconv.Itoa(l.Merged)) + ")"
		}
		return plan, plain
	case l.State == view.Busy:
		return p.L.T("state.busy"), busy
	}
	return p.L.T("loop.nothing"), dim
}

func count(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

func gap(l view.Loop) string {
	if l.Want == nil || l.Have == nil || *l.Want == *l.Have {
		return ""
	}
	n := *l.Want - *l.Have
	if n > 0 {
		return "+" + strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10)
}

// Objects draws the list of objects and, beside or below it, the selected one
// as YAML; skip rows of the YAML are scrolled away.
func (p Pen) Objects(r canvas.Rect, v *view.Objects, selected int, yaml []string, filter string, skip int) {
	if filter != "" {
		p.C.Text(r, 0, p.L.T("obj.filtered", "n", strconv.Itoa(len(v.Rows)), "all", strconv.Itoa(v.All), "filter", p.clean(filter)), dim)
		r = r.From(1)
	}
	if len(v.Rows) == 0 {
		p.C.Text(r, 0, p.L.T("obj.none"), dim)
		return
	}
	list := r
	if r.W >= 70 {
		list.W = max(36, r.W*9/20)
		side := canvas.Rect{X: r.X + list.W, Y: r.Y, W: r.W - list.W, H: r.H}
		p.C.Fill(canvas.Rect{X: side.X, Y: side.Y, W: 1, H: side.H}, p.G.V, canvas.As(canvas.Frame))
		p.yaml(canvas.Rect{X: side.X + 2, Y: side.Y, W: side.W - 2, H: side.H}, yaml, skip)
	} else if r.H >= 8 {
		list.H = r.H / 2
		p.yaml(r.From(list.H), yaml, skip)
	}
	start := max(0, min(selected-list.H/2, len(v.Rows)-list.H))
	for i := start; i < len(v.Rows) && i-start < list.H; i++ {
		p.item(canvas.Rect{X: list.X, Y: list.Y, W: list.W - 1, H: list.H}, i-start, v.Rows[i], i == selected)
	}
}

func (p Pen) item(r canvas.Rect, row int, it view.Item, selected bool) {
	g, st := p.sign(it.State)
	status := p.clean(it.Status)
	name := strong
	if !it.Fresh {
		name = plain
	}
	room := r.W - text.Width(status) - 4
	p.line(r, row, seg{g + " ", st}, seg{text.Middle(p.clean(it.Name), room), name})
	p.right(r, row, status, st)
	if selected {
		p.selected(r, row)
	}
}

func (p Pen) yaml(r canvas.Rect, lines []string, skip int) {
	skip = max(0, min(skip, len(lines)-r.H))
	for i := 0; i < r.H && skip+i < len(lines); i++ {
		l := lines[skip+i]
		key, value, ok := strings.Cut(l, ": ")
		switch {
		case ok:
			p.line(r, i, seg{text.Clean(key) + ": ", dim}, seg{p.clean(value), code})
		case strings.HasSuffix(l, ":"):
			p.line(r, i, seg{text.Clean(l), title})
		default:
			p.line(r, i, seg{p.clean(l), code})
		}
	}
}

// Log draws events, the newest at the lower edge.
func (p Pen) Log(r canvas.Rect, v *view.Log, filter string) {
	if filter != "" {
		p.C.Text(r, 0, p.L.T("filter.prompt")+": "+p.clean(filter), keyed)
		r = r.From(1)
	}
	if len(v.Rows) == 0 {
		p.C.Text(r, 0, p.L.T("log.none"), dim)
		return
	}
	rows := v.Rows[max(0, len(v.Rows)-r.H):]
	actor, verb := 6, 6
	for _, e := range rows {
		actor, verb = max(actor, text.Width(p.clean(e.Actor))), max(verb, text.Width(p.L.Verb(e.Verb)))
	}
	for i, e := range rows {
		p.entry(r, i, e, min(actor, 18), min(verb, 16))
	}
}

func (p Pen) entry(r canvas.Rect, row int, e view.Entry, actor, verb int) {
	seq := text.Left("#"+strconv.FormatUint(e.Seq, 10), 6)
	if e.Hidden {
		p.line(r, row, seg{seq + "  ", dim}, seg{p.L.T("hidden.word"), dim})
		return
	}
	g, st := p.G.Dot, dim
	switch e.Phase {
	case step.PhasePending:
		g, st = p.G.Held, held
	case step.PhaseBegin:
		g, st = p.G.Right, busy
	case step.PhaseEnd:
		g, st = p.G.Good, good
	}
	if e.Err != "" {
		g, st = p.G.Bad, bad
	}
	tail := ""
	if e.RV != 0 {
		tail = p.L.T("head.rev", "rv", strconv.FormatInt(e.RV, 10))
	}
	if e.Err != "" {
		tail = p.clean(e.Err)
	}
	style := plain
	if e.Quiet {
		style = dim
	}
	at := text.Left(strconv.FormatFloat(e.At.Duration().Seconds(), 'f', 3, 64), 7)
	room := r.W - 6 - 1 - 7 - 2 - 2 - actor - verb - 2 - min(text.Width(tail)+1, r.W/4)
	p.line(r, row, seg{seq + " ", dim}, seg{at + "  ", dim}, seg{g + " ", st}, seg{text.Fit(p.clean(e.Actor), actor) + " ", style},
		seg{text.Fit(p.L.Verb(e.Verb), verb) + " ", code}, seg{text.Middle(p.clean(e.Object), max(8, room)) + " ", style}, seg{tail, st})
}
