package pane

import (
	"strings"

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

// Help draws what the keys do; skip rows are scrolled away.
func (p Pen) Help(r canvas.Rect, skip int) {
	var lines [][]seg
	for _, g := range keys.Groups() {
		lines = append(lines, []seg{{p.L.T("group." + g), title}})
		if g == "pick" {
			lines = append(lines, p.helpLine("1-9", p.L.T("key.pick")))
		}
		if g == "look" {
			lines = append(lines, p.helpLine("1-5 alt+1-5", p.L.T("key.views")))
		}
		for _, b := range keys.Table() {
			if b.Group == g {
				lines = append(lines, p.helpLine(keyNames(b.Keys), p.L.T("key."+string(b.Action))))
			}
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
		return
	}
	cols := split(in, 2)
	skip = max(0, min(skip, half-in.H))
	p.rows(canvas.Rect{X: cols[0].X + 1, Y: in.Y, W: cols[0].W - 2, H: in.H}, lines[:half], skip)
	p.rows(canvas.Rect{X: cols[1].X + 1, Y: in.Y, W: cols[1].W - 2, H: in.H}, lines[half:], skip)
}

func (p Pen) helpLine(k, what string) []seg {
	return []seg{{"  " + text.Pad(k, 16), keyed}, {what, plain}}
}

// keyNames words keys as they are labelled.
func keyNames(list []string) string {
	names := map[string]string{"left": "←", "right": "→", "up": "↑", "down": "↓", "pgup": "PgUp", "pgdown": "PgDn", "delete": "Del", "home": "Home", "end": "End", "enter": "Enter", "esc": "Esc", "tab": "Tab"}
	var out []string
	for _, k := range list {
		if k == " " {
			continue
		}
		if n, ok := names[k]; ok {
			k = n
		}
		if len(k) > 1 && k[0] == 'f' && k[1] >= '0' && k[1] <= '9' {
			k = "F" + k[1:]
		}
		out = append(out, strings.Replace(k, "shift+f", "shift+F", 1))
	}
	return strings.Join(out, " ")
}

// Palette draws the command line with the commands that match.
func (p Pen) Palette(r canvas.Rect, input string, list []keys.Binding, selected int) (x, y int) {
	in := p.over(r, min(r.W, 72), min(r.H, 14), p.L.T("pane.palette"))
	x = p.line(in, 0, seg{" : ", keyed}, seg{tailOf(p.clean(input), in.W-6), strong})
	y = in.Y
	if input == "" {
		p.line(canvas.Rect{X: x + 2, Y: in.Y, W: in.X + in.W - x - 2, H: 1}, 0, seg{p.L.T("palette.hint"), dim})
	}
	room := in.From(1)
	start := max(0, min(selected-room.H+1, len(list)-room.H))
	for i := start; i < len(list) && i-start < room.H; i++ {
		b := list[i]
		p.line(room, i-start, seg{"   " + text.Pad(string(b.Action), 12), code}, seg{text.Pad(keyNames(b.Keys[:1]), 8), keyed}, seg{p.L.T("key." + string(b.Action)), plain})
		if i == selected {
			p.selected(room, i-start)
		}
	}
	return x, y
}

// Filter draws the line in which a filter is typed.
func (p Pen) Filter(r canvas.Rect, input string) (x, y int) {
	p.C.Fill(r, " ", plain)
	return p.line(r, 0, seg{" " + p.L.T("filter.prompt") + " / ", keyed}, seg{tailOf(p.clean(input), r.W-14), strong}), r.Y
}

// tailOf is the end of s that fits into w cells.
func tailOf(s string, w int) string {
	for text.Width(s) > w && s != "" {
		_, s, _ = text.Next(s)
	}
	return s
}

// Output draws what a command printed; skip rows are scrolled away.
func (p Pen) Output(r canvas.Rect, name string, lines []string, skip int) {
	in := p.over(r, r.W-4, min(r.H, max(5, len(lines)+2)), p.clean(name))
	skip = max(0, min(skip, len(lines)-in.H))
	for i := 0; i < in.H && skip+i < len(lines); i++ {
		p.line(in, i, seg{" " + p.clean(lines[skip+i]), code})
	}
}

// TooSmall says that the terminal is too small.
func (p Pen) TooSmall(r canvas.Rect, s string) { p.say(r, 0, s, plain) }
