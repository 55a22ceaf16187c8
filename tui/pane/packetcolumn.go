package pane

import (
	"strconv"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// column draws stations along a line from the top to the bottom; it returns
// the column at which the last of them ends.
func (p Pen) column(r canvas.Rect, lines []mapLine, up bool) (end int) {
	if len(lines) > r.H { // the middle of it, around the packet
		at := 0
		for i, l := range lines {
			if l.station != nil && l.station.N > 0 {
				at = i
			}
		}
		from := min(max(0, at-r.H/2), len(lines)-r.H)
		lines = lines[from : from+r.H]
	}
	spare := r.H - len(lines)
	row := 0
	for i, l := range lines {
		if i > 0 { // spread what is to spare between the stations
			extra := spare*i/max(1, len(lines)-1) - spare*(i-1)/max(1, len(lines)-1)
			for range extra {
				done := l.done && (!up || lines[i-1].done)
				p.rail(r, row, l.pod != nil && lines[i-1].pod != nil && !l.open, done)
				row++
			}
		}
		end = p.mapLine(r, row, l, i == len(lines)-1 && !up)
		row++
	}
	return end
}

// rail is the line between two stations.
func (p Pen) rail(r canvas.Rect, row int, inPod, done bool) {
	x := r.X + 1
	if inPod {
		p.C.Put(r, r.X, r.Y+row, p.G.V, canvas.As(canvas.Frame))
		p.C.Put(r, r.X+r.W-1, r.Y+row, p.G.V, canvas.As(canvas.Frame))
	}
	sign, st := p.G.VV, good
	if !done {
		sign, st = p.G.V, dim
	}
	p.C.Put(r, x, r.Y+row, sign, st)
}

// mapLine draws a row; bare leaves out what a station is known for. It returns
// the column at which the row's text ends.
func (p Pen) mapLine(r canvas.Rect, row int, l mapLine, bare bool) int {
	frame := canvas.As(canvas.Frame)
	y := r.Y + row
	switch {
	case l.open, l.shut:
		left, right := p.G.TL, p.G.TR
		if l.shut {
			left, right = p.G.BL, p.G.BR
		}
		p.C.Fill(canvas.Rect{X: r.X, Y: y, W: r.W, H: 1}, p.G.H, frame)
		p.C.Put(r, r.X, y, left, frame)
		p.C.Put(r, r.X+r.W-1, y, right, frame)
		if l.shut {
			sign, st := p.G.VV, good
			if !l.done {
				sign, st = p.G.V, dim
			}
			p.C.Put(r, r.X+1, y, sign, st)
			return r.X + 2
		}
		name := canvas.Rect{X: r.X + 2, Y: y, W: r.W - 4, H: 1}
		p.line(name, 0, seg{" " + text.Middle(p.clean(l.pod.Pod), max(8, name.W-text.Width(l.pod.Address)-3)) + " ", strong}, seg{p.clean(l.pod.Address) + " ", code})
		return r.X + r.W
	}
	if l.pod != nil {
		p.C.Put(r, r.X, y, p.G.V, frame)
		p.C.Put(r, r.X+r.W-1, y, p.G.V, frame)
	}
	return p.station(canvas.Rect{X: r.X + 1, Y: y, W: r.W - 2, H: 1}, l.station, bare)
}

// station draws a station: its dot on the line, its name, where the packet
// is, and what it is known for. It returns the column at which that ends.
func (p Pen) station(r canvas.Rect, t *view.Station, bare bool) int {
	g, st := p.G.Good, p.stationStyle(t)
	switch {
	case t.Bad || t.Broken != nil:
		g = p.G.Bad
	case t.Ahead:
		g = p.G.None
	case t.Changed:
		g = p.G.Busy
	}
	dot := st
	dot.Reverse = false
	name := p.clean(t.Name)
	if !t.Rules && t.Name != "route" && t.Name != "socket" {
		name = "[" + name + "]"
	}
	segs := []seg{{g, dot}, {" ", plain}, {text.Middle(name, max(8, r.W-10)), st}}
	switch {
	case t.N > 0 && t.Bad:
		segs = append(segs, seg{" " + here(p.G.Bad+strconv.Itoa(t.N)), bad})
	case t.N > 0:
		segs = append(segs, seg{" " + here(strconv.Itoa(t.N)), keyed})
	}
	if t.Broken != nil {
		segs = append(segs, seg{" " + p.faultShort(t.Broken), bad})
	}
	x := p.line(r, 0, segs...)
	if room := r.X + r.W - x - 2; t.Note != "" && room >= 6 && !bare {
		x = p.C.Put(r, x+2, r.Y, text.Cut(p.clean(t.Note), room), dim)
	}
	return x
}
