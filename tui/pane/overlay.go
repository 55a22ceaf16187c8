package pane

import (
	"strconv"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/text"
)

// over clears the middle of r for something of w×h cells and frames it.
func (p Pen) over(r canvas.Rect, w, h int, name string) canvas.Rect {
	w, h = min(w, r.W), min(h, r.H)
	box := canvas.Rect{X: r.X + (r.W-w)/2, Y: r.Y + (r.H-h)/2, W: w, H: h}
	p.C.Fill(box, " ", plain)
	return p.C.Box(box, p.G, name, true)
}

// Help draws what the keys do; skip rows are scrolled away. It returns how
// many rows there are and how many of them are shown.
func (p Pen) Help(r canvas.Rect, skip int) (rows, shown int) {
	var lines [][]seg
	for _, g := range keys.Groups() {
		lines = append(lines, []seg{{p.L.T("group." + g), title}})
		if g == "pick" {
			lines = append(lines, p.helpLine("1-9", p.L.T("key.pick")))
		}
		if g == "look" {
			lines = append(lines, p.helpLine("1-6 alt+1-6", p.L.T("key.views")))
		}
		for _, b := range keys.Table() {
			if b.Group == g {
				lines = append(lines, p.helpLine(b.Help().Key, p.L.T("key."+string(b.Action))))
			}
		}
		if g == "look" {
			lines = append(lines, p.helpLine(":dns", p.L.T("help.dns")))
		}
	}
	lines = append(lines, []seg{{p.L.T("help.legend"), title}})
	for _, l := range []struct {
		sign string
		st   canvas.Style
		key  string
	}{{p.G.Good, good, "help.good"}, {p.G.Busy, busy, "help.busy"}, {p.G.Held, held, "help.held"}, {p.G.Bad, bad, "help.bad"}, {p.G.None, dim, "help.idle"}} {
		lines = append(lines, []seg{{"  " + l.sign, l.st}, {"  " + p.L.T(l.key), plain}})
	}
	half := (len(lines) + 1) / 2
	in := p.over(r, min(r.W, 104), min(r.H, half+2), p.L.T("pane.help"))
	if in.W < 90 {
		p.rows(canvas.Rect{X: in.X + 1, Y: in.Y, W: in.W - 2, H: in.H}, lines, skip)
		return len(lines), in.H
	}
	cols := split(in, 2)
	skip = max(0, min(skip, half-in.H))
	p.rows(canvas.Rect{X: cols[0].X + 1, Y: in.Y, W: cols[0].W - 2, H: in.H}, lines[:half], skip)
	p.rows(canvas.Rect{X: cols[1].X + 1, Y: in.Y, W: cols[1].W - 2, H: in.H}, lines[half:], skip)
	return half, in.H
}

func (p Pen) helpLine(k, what string) []seg {
	return []seg{{"  " + text.Pad(k, 16), keyed}, {what, plain}}
}

// Input is a line that is being typed; the cursor is before the rune At.
type Input struct {
	Text string
	At   int
}

// input draws a line that is being typed from x on, the part around the
// cursor if it is too long, and returns the cursor's column.
func (p Pen) input(r canvas.Rect, x int, in Input) int {
	room := r.X + r.W - x - 1
	all := []rune(in.Text)
	at := min(max(in.At, 0), len(all))
	before, after := tailOf(p.clean(string(all[:at])), room), p.clean(string(all[at:]))
	cursor := p.C.Put(r, x, r.Y, before, strong)
	p.C.Put(r, cursor, r.Y, text.Head(after, r.X+r.W-cursor), strong)
	return cursor
}

// Palette draws the command line with the commands that match; it returns
// where the cursor is.
func (p Pen) Palette(r canvas.Rect, typed Input, list []keys.Binding, selected int) (x, y int) {
	in := p.over(r, min(r.W, 72), min(r.H, 14), p.L.T("pane.palette"))
	x, y = p.input(in, p.line(in, 0, seg{" : ", keyed}), typed), in.Y
	if typed.Text == "" {
		p.line(canvas.Rect{X: x + 2, Y: in.Y, W: in.X + in.W - x - 2, H: 1}, 0, seg{p.L.T("palette.hint"), dim})
	}
	room := in.From(1)
	start := max(0, min(selected-room.H+1, len(list)-room.H))
	for i := start; i < len(list) && i-start < room.H; i++ {
		b := list[i]
		p.line(room, i-start, seg{"   " + text.Pad(string(b.Action), 12), code}, seg{text.Pad(b.Label(), 8), keyed}, seg{p.L.T("key." + string(b.Action)), plain})
		if i == selected {
			p.selected(room, i-start)
		}
	}
	return x, y
}

// Filter draws the line in which a filter is typed, and returns where the
// cursor is.
func (p Pen) Filter(r canvas.Rect, typed Input) (x, y int) {
	p.C.Fill(r, " ", plain)
	return p.input(r, p.line(r, 0, seg{" " + p.L.T("filter.prompt") + " / ", keyed}), typed), r.Y
}

// tailOf is the end of s that fits into w cells.
func tailOf(s string, w int) string {
	for text.Width(s) > w && s != "" {
		_, s, _ = text.Next(s)
	}
	return s
}

// Reading is how much text an overlay that covers r shows at once.
func Reading(r canvas.Rect, lines int) (w, h int) {
	return max(1, r.W-8), max(1, min(r.H, max(5, lines+2))-2)
}

// Output draws the visible lines of what a command printed.
func (p Pen) Output(r canvas.Rect, name string, visible []string, above, below int) {
	in := p.over(r, r.W-4, len(visible)+2, p.clean(name))
	for i, l := range visible {
		p.line(in, i, seg{" " + l, code})
	}
	if above+below > 0 {
		p.C.Put(canvas.Rect{X: in.X, Y: in.Y + in.H, W: in.W, H: 1}, in.X+2, in.Y+in.H, " ↑ "+strconv.Itoa(above)+"  ↓ "+strconv.Itoa(below)+" ", dim)
	}
}

// TooSmall says that the terminal is too small.
func (p Pen) TooSmall(r canvas.Rect, s string) { p.say(r, 0, s, plain) }
