package pane

import (
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// cardColumns is from which width on a card's text is beside the list.
const cardColumns = 100

// CardPage is the page of cards, and where the learner is on it.
type CardPage struct {
	*view.Cards
	Selected int
	Asks     bool // for a target
	Targets  []view.Target
	Target   int  // the selected one
	Plays    bool // there is a lab that can be broken
}

// both is a text in the pen's language.
func (p Pen) both(w view.Words) string {
	if p.L == i18n.Chinese {
		return p.clean(w.ZH)
	}
	return p.clean(w.EN)
}

// CardRows is how many rows of a list there is room for on the page of cards
// that covers r. Lists are turned by pages of that many rows.
func CardRows(r canvas.Rect) int {
	if r.W >= cardColumns {
		return max(1, r.H-4)
	}
	return max(1, (r.H-3)/2)
}

// divided makes of the inside of a page that covers r into a list of n rows, and
// what is told of the selected one: beside it where there is room, else below.
func (p Pen) divided(r, in canvas.Rect, n int) (list, told canvas.Rect) {
	list = canvas.Rect{X: in.X, Y: in.Y, W: in.W, H: n}
	told = canvas.Rect{X: in.X, Y: in.Y + n + 1, W: in.W, H: in.H - n - 1}
	if r.W < cardColumns {
		p.C.Fill(canvas.Rect{X: in.X, Y: told.Y - 1, W: in.W, H: 1}, p.G.H, canvas.As(canvas.Frame))
		return list, told
	}
	list.W = in.W * 11 / 20
	told = canvas.Rect{X: in.X + list.W + 2, Y: in.Y, W: in.W - list.W - 2, H: in.H}
	p.C.Fill(canvas.Rect{X: told.X - 2, Y: in.Y, W: 1, H: in.H}, p.G.V, canvas.As(canvas.Frame))
	return list, told
}

// Cards draws the page of cards over r.
func (p Pen) Cards(r canvas.Rect, v CardPage) {
	name := p.L.T("pane.cards")
	in := pad(p.over(r, r.W, r.H, name))
	n := CardRows(r)
	list, told := p.divided(r, in, n)
	if len(v.Rows) == 0 {
		p.say(in, 0, p.L.T("card.none"), dim)
		return
	}
	row := v.Rows[v.Selected]
	if v.Asks {
		p.targets(list, v)
	} else {
		start := v.Selected / n * n
		for i := start; i < min(len(v.Rows), start+n); i++ {
			p.cardRow(list, i-start, v.Rows[i], i == v.Selected)
		}
		p.pages(r, v.Selected, n, len(v.Rows))
	}
	lines := p.cardLines(told.W, v, row)
	p.rows(told, lines, 0)
}

// pages says which page of a list this is.
func (p Pen) pages(r canvas.Rect, at, n, all int) {
	if all > n {
		s := " " + strconv.Itoa(at/n+1) + "/" + strconv.Itoa((all+n-1)/n) + " "
		p.C.Put(r, r.X+r.W-text.Width(s)-2, r.Y+r.H-1, s, dim)
	}
}

// number is the digit that picks a row of the page that is shown.
func number(i int) seg {
	if i < 9 {
		return seg{strconv.Itoa(i+1) + " ", keyed}
	}
	return seg{"  ", plain}
}

func (p Pen) cardRow(r canvas.Rect, i int, row view.CardRow, selected bool) {
	tail, st := p.L.T("card.mend"), bad
	line := []seg{number(i)}
	switch {
	case row.Fault != nil:
		f := row.Fault
		line = append(line, seg{p.G.Bad + " ", bad}, seg{p.faultWord(view.FaultRow{ID: f.ID, Card: f.Card, Node: f.Node, Target: f.Target}), strong})
	case row.All > 0:
		line = append(line, seg{p.G.To + " ", bad}, seg{p.L.T("card.all", "n", strconv.Itoa(row.All)), strong})
		tail = ""
	default:
		tail, st = p.on(row.Card.On), dim
		line = append(line, seg{p.G.None + " ", dim}, seg{text.Pad(p.clean(row.Card.Name), 17), code}, seg{p.both(row.Card.Title), plain})
	}
	p.line(canvas.Rect{X: r.X, Y: r.Y, W: r.W - text.Width(tail) - 2, H: r.H}, i, line...)
	p.right(canvas.Rect{X: r.X, Y: r.Y, W: r.W - 1, H: r.H}, i, tail, st)
	if selected {
		p.selected(r, i)
	}
}

// on words what a card is played on.
func (p Pen) on(kind string) string { return p.word("card.on." + strings.ReplaceAll(kind, " ", "-")) }

func (p Pen) targets(r canvas.Rect, v CardPage) {
	p.line(r, 0, seg{p.L.T("card.which", "card", p.clean(v.Rows[v.Selected].Card.Name), "kind", p.on(v.Rows[v.Selected].Card.On)), title})
	r = r.From(1)
	n := max(1, r.H)
	start := v.Target / n * n
	for i := start; i < min(len(v.Targets), start+n); i++ {
		t := v.Targets[i]
		g, st, tail := p.G.None, dim, p.clean(t.Where)
		if t.Broken {
			g, st, tail = p.G.Bad, bad, p.L.T("card.broken")
		}
		p.line(canvas.Rect{X: r.X, Y: r.Y, W: r.W - text.Width(tail) - 2, H: r.H}, i-start, number(i-start), seg{g + " ", st},
			seg{text.Pad(p.on(strings.TrimSuffix(t.Kind, "s")), 12), dim}, seg{p.clean(t.Name), strong})
		p.right(canvas.Rect{X: r.X, Y: r.Y, W: r.W - 1, H: r.H}, i-start, tail, st)
		if i == v.Target {
			p.selected(r, i-start)
		}
	}
}

// cardLines is what the page says of the selected row.
func (p Pen) cardLines(w int, v CardPage, row view.CardRow) [][]seg {
	var out [][]seg
	say := func(head, s string, st canvas.Style) {
		if s == "" {
			return
		}
		for i, l := range text.Wrap(head+s, w) {
			if i == 0 && strings.HasPrefix(l, head) {
				out = append(out, []seg{{head, dim}, {l[len(head):], st}})
				continue
			}
			out = append(out, []seg{{l, st}})
		}
	}
	line := "klab " + p.clean(row.Line())
	switch {
	case row.Fault != nil:
		say("", p.L.T("card.since", "id", p.clean(row.Fault.ID), "at", strconv.FormatFloat(row.Fault.At.Duration().Seconds(), 'f', 1, 64)), strong)
		for _, a := range sorted(row.Fault.Args) {
			say("  ", p.clean(a+"="+row.Fault.Args[a]), code)
		}
	case row.All > 0:
		say("", p.L.T("card.all", "n", strconv.Itoa(row.All)), strong)
	default:
		say("", p.both(row.Card.Title), strong)
		if row.Card.Aims() {
			line += " " + p.aim(v)
		}
		line = strings.TrimSpace(line + " " + p.clean(row.Card.Told()))
	}
	if row.All == 0 && row.Card.Does != (view.Words{}) {
		say(p.L.T("card.does"), p.both(row.Card.Does), plain)
		say(p.L.T("card.sees"), p.both(row.Card.Sees), plain)
		say(p.L.T("card.heals"), p.both(row.Card.Heals), plain)
	}
	if row.Fault == nil && row.All == 0 {
		for _, a := range row.Card.Args {
			say("  ", p.clean(a.Name+"="+a.Default)+"  "+p.both(a.Says), plain)
		}
	}
	if v.Hidden {
		say("", p.L.T("card.hidden"), held)
	}
	if !v.Plays {
		say("", p.L.T("card.replay"), held)
		return out
	}
	return slices.Insert(out, min(1, len(out)), []seg{{text.Cut(line, w), code}})
}

// aim stands for the target in the command that would be run.
func (p Pen) aim(v CardPage) string {
	if v.Asks && v.Target < len(v.Targets) {
		return p.clean(v.Targets[v.Target].Name)
	}
	return strings.ToUpper(strings.ReplaceAll(v.Rows[v.Selected].Card.On, " or ", "|"))
}

func sorted(m map[string]string) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
