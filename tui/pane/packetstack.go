package pane

import (
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/view"
)

// Four machines have no room side by side: two of them, at the end of the way
// that has less to show, stand one over the other.

// stack says which two: the first and the one after it (1), the last and the
// one before it (-1), or none (0).
func stack(all []*view.Ground) int {
	switch {
	case len(all) != 4:
		return 0
	case len(all[0].Stations)+len(all[1].Stations) <= len(all[2].Stations)+len(all[3].Stations):
		return 1
	}
	return -1
}

// Widths of the machines of such a map.
const (
	stackColumn = 26
	besideLeast = 30
)

// stackColumns are the widths of the three columns, if they fit.
func stackColumns(w, which int) ([]int, bool) {
	rest := w - stackColumn - 2*mapGap
	if rest/2 < besideLeast {
		return nil, false
	}
	if which > 0 {
		return []int{stackColumn, rest / 2, rest - rest/2}, true
	}
	return []int{rest / 2, rest - rest/2, stackColumn}, true
}

// stackHeight is how many rows the machines take.
func stackHeight(all []*view.Ground) int {
	rows := func(g *view.Ground) int { return len(mapLines(g.Stations, false, mapMost)) + 2 + len(g.Broken) }
	top, bottom, one, two := all[0], all[1], all[2], all[3]
	if stack(all) < 0 {
		top, bottom, one, two = all[3], all[2], all[0], all[1]
	}
	return max(rows(top)+rows(bottom), rows(one), rows(two))
}

// stackMap draws the machines. From the two that are stacked, or into them, the
// packet goes by the lower one.
func (p Pen) stackMap(r canvas.Rect, v *view.PacketStage, columns []int) {
	all, which := machines(v), stack(machines(v))
	x, column := r.X, make([]canvas.Rect, 3)
	for i, w := range columns {
		column[i] = canvas.Rect{X: x, Y: r.Y, W: w, H: r.H - 1}
		x += w + mapGap
	}
	tower, over := &column[0], all[0]
	if which < 0 {
		tower, over = &column[2], all[3]
	}
	high := min(len(mapLines(over.Stations, which < 0, mapMost))+2+len(over.Broken), tower.H/2)
	top := canvas.Rect{X: tower.X, Y: tower.Y, W: tower.W, H: high}
	tower.Y, tower.H = tower.Y+high, tower.H-high
	boxes := []canvas.Rect{top, column[0], column[1], column[2]}
	if which < 0 {
		boxes = []canvas.Rect{column[0], column[1], column[2], top}
	}
	for i, g := range all {
		in := p.machine(boxes[i], g)
		switch {
		case i == 0 && which > 0: // over the next one
			p.column(in, mapLines(g.Stations, false, in.H), false)
		case i == 0 || i == 1 && which > 0:
			p.leave(in, p.column(in, mapLines(g.Stations, false, in.H), false), g.Stations, all[i+1].Stations)
		case i == 3 || i == 2 && which < 0:
			p.column(in, mapLines(g.Stations, true, in.H), true)
		default:
			p.leave(in, p.around(in, g.Stations), g.Stations, all[i+1].Stations)
		}
		if i == 0 {
			continue
		}
		if i == 1 && which > 0 || i == 3 && which < 0 {
			if which > 0 {
				p.between(boxes[0], boxes[1], all[0], all[1], all[1])
			} else {
				p.between(boxes[3], boxes[2], all[2], all[3], all[2])
			}
			continue
		}
		p.crossing(boxes[i-1], boxes[i], all[i-1].Stations, g.Stations)
		p.onWire(boxes[i-1], boxes[i], v, all[i-1])
	}
	if h := v.Row(); h != nil && h.Outer != nil {
		line := p.nested(h)
		p.line(canvas.Rect{X: r.X + max(0, (r.W-width(line))/2), Y: r.Y + r.H - 1, W: r.W, H: 1}, 0, line...)
	}
}

// between draws the wire from one machine to the next where their boxes, high
// and low, touch; the name of the one in the low box makes room for it.
func (p Pen) between(high, low canvas.Rect, from, to, below *view.Ground) {
	if len(from.Stations) == 0 || len(to.Stations) == 0 || from.Stations[len(from.Stations)-1].Bad {
		return
	}
	sign, st := p.G.VV, good
	if to.Stations[0].Ahead {
		sign, st = p.G.V, dim
	}
	p.C.Fill(canvas.Rect{X: low.X + 2, Y: low.Y, W: low.W - 4, H: 1}, p.G.H, canvas.As(canvas.Frame))
	p.machineName(canvas.Rect{X: low.X + 5, Y: low.Y, W: low.W - 7, H: 1}, below)
	p.C.Put(high, high.X+3, high.Y+high.H-1, sign, st)
	p.C.Put(low, low.X+3, low.Y, sign, st)
}

// around draws a machine that the packet passes: from the lower left corner up
// to its first station, and down to the last. It returns the column at which
// that ends.
func (p Pen) around(r canvas.Rect, list []view.Station) int {
	if len(list) == 0 || r.H < 2 {
		return r.X
	}
	up, along, turn, corner, st := p.G.VV, p.G.HH, p.G.TLL, p.G.BRR, good
	if list[0].Ahead {
		up, along, turn, corner, st = p.G.V, p.G.H, p.G.TL, p.G.BR, dim
	}
	for y := 1; y < r.H-1; y++ {
		p.C.Put(r, r.X, r.Y+y, up, st)
	}
	p.C.Put(r, r.X, r.Y+r.H-1, corner, st)
	p.C.Put(r, r.X, r.Y, turn, st)
	p.C.Put(r, r.X+1, r.Y, along, st)
	p.C.Put(r, r.X+2, r.Y, along, st)
	in := canvas.Rect{X: r.X + 2, Y: r.Y, W: r.W - 2, H: r.H}
	return p.column(in, mapLines(list, false, in.H), false)
}
