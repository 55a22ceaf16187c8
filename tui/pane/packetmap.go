package pane

import (
	"strconv"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// mapGap is how many cells there are between two machines of the map.
const mapGap = 9

// mapMost is more rows than any map has.
const mapMost = 1 << 10

// columns are the widths of the machines of the map, if they fit.
func (p Pen) columns(w int, v *view.PacketStage) ([]int, bool) {
	n := len(machines(v))
	if n == 0 || w < mapColumns {
		return nil, false
	}
	if which := stack(machines(v)); which != 0 {
		return stackColumns(w, which)
	}
	each := (w - mapGap*(n-1)) / n
	if n > 2 && each < 22 || each < 26 && n > 1 || n > 4 {
		return nil, false
	}
	list := make([]int, n)
	for i := range list {
		list[i] = each
	}
	list[n-1] += w - mapGap*(n-1) - each*n
	return list, true
}

// machines are the grounds that have a box of their own on the map.
func machines(v *view.PacketStage) (list []*view.Ground) {
	for i := range v.Grounds {
		if !v.Grounds[i].Wire {
			list = append(list, &v.Grounds[i])
		}
	}
	return list
}

// mapLine is a row of a machine on the map: a station, the frame of a pod, or
// only the line that joins them.
type mapLine struct {
	station *view.Station
	open    bool // the upper side of a pod's frame
	shut    bool // its lower side
	pod     *view.Station
	done    bool // the packet has come by
}

// mapLines is a column of stations from the top to the bottom. Up says that
// the packet goes up in it.
func mapLines(list []view.Station, up bool, most int) []mapLine {
	list = fewer(list, most)
	var out []mapLine
	at := func(i int) *view.Station {
		if up {
			return &list[len(list)-1-i]
		}
		return &list[i]
	}
	for i := range list {
		t := at(i)
		if t.Pod != "" && (i == 0 || at(i-1).Pod != t.Pod) {
			out = append(out, mapLine{open: true, pod: t})
		}
		out = append(out, mapLine{station: t, pod: podOf(t), done: !t.Ahead})
		if t.Pod != "" && (i == len(list)-1 || at(i+1).Pod != t.Pod) {
			out = append(out, mapLine{shut: true, pod: t, done: !t.Ahead})
		}
	}
	return out
}

// fewer makes less of stations that take more rows than most: rules and routes
// that follow one another become one, then a node's end of a veth pair goes.
func fewer(list []view.Station, most int) []view.Station {
	if rowsOf(list) <= most {
		return list
	}
	var ties []tie
	for _, t := range list {
		ties = append(ties, tie{Station: t})
	}
	var out []view.Station
	for _, t := range joined(ties, false) {
		out = append(out, t.Station)
	}
	if rowsOf(out) <= most {
		return out
	}
	out = out[:0]
	for _, t := range joined(ties, true) {
		out = append(out, t.Station)
	}
	return out
}

// rowsOf is how many rows stations take, with the frames of pods.
func rowsOf(list []view.Station) (n int) {
	for i, t := range list {
		n++
		if t.Pod != "" && (i == 0 || list[i-1].Pod != t.Pod) {
			n += 2
		}
	}
	return n
}

func podOf(t *view.Station) *view.Station {
	if t.Pod == "" {
		return nil
	}
	return t
}

// halves divides the stations of the only machine that is passed, if the way
// ends in another pod of it: down to where it turns, and up again.
func halves(list []view.Station) (down, up []view.Station) {
	if len(list) == 0 || list[len(list)-1].Pod == "" || list[len(list)-1].Pod == list[0].Pod {
		return list, nil
	}
	n := (len(list) + 1) / 2
	return list[:n], list[n:]
}

// mapHeight is how many rows the map takes, at most most.
func (p Pen) mapHeight(v *view.PacketStage, most int) int {
	rows := 0
	all := machines(v)
	if stack(all) != 0 {
		return min(stackHeight(all)+1, max(most, 9))
	}
	for i, g := range all {
		lines := len(mapLines(g.Stations, i > 0, mapMost))
		if len(all) == 1 {
			down, up := halves(g.Stations)
			lines = max(len(mapLines(down, false, mapMost)), len(mapLines(up, true, mapMost)))
		} else if i > 0 && i < len(all)-1 {
			lines = 2
		}
		rows = max(rows, lines+2+len(g.Broken))
	}
	return min(rows+1, max(most, 9))
}

// packetMap draws the machines as boxes side by side. In the first one the
// packet goes down, in the last one up, and from one to the next at the
// bottom.
func (p Pen) packetMap(r canvas.Rect, v *view.PacketStage, columns []int) {
	if stack(machines(v)) != 0 {
		p.stackMap(r, v, columns)
		return
	}
	x := r.X
	boxes := make([]canvas.Rect, len(columns))
	for i, w := range columns {
		boxes[i] = canvas.Rect{X: x, Y: r.Y, W: w, H: r.H - 1}
		x += w + mapGap
	}
	all := machines(v)
	for i, g := range all {
		in := p.machine(boxes[i], g)
		switch {
		case len(all) == 1:
			down, up := halves(g.Stations)
			half := split(in, 2)
			if len(up) == 0 {
				half[0] = in
			}
			end := p.column(half[0], mapLines(down, false, in.H), false)
			if len(up) > 0 {
				p.column(half[1], mapLines(up, true, in.H), true)
				p.across(in.Row(in.H-1), end+1, half[1].X+1, &up[0], down[len(down)-1].Bad)
			}
		case i == 0:
			p.leave(in, p.column(in, mapLines(g.Stations, false, in.H), false), g.Stations, all[1].Stations)
		case i == len(all)-1:
			p.column(in, mapLines(g.Stations, true, in.H), true)
		default:
			p.passage(in, g.Stations)
		}
		if i > 0 {
			p.crossing(boxes[i-1], boxes[i], all[i-1].Stations, g.Stations)
			p.onWire(boxes[i-1], boxes[i], v, all[i-1])
		}
	}
	if h := v.Row(); h != nil && h.Outer != nil {
		line := p.nested(h)
		p.line(canvas.Rect{X: r.X + max(0, (r.W-width(line))/2), Y: r.Y + r.H - 1, W: r.W, H: 1}, 0, line...)
	}
}

// machine draws the box of a machine and what is broken in it; it returns what
// is left inside.
func (p Pen) machine(r canvas.Rect, g *view.Ground) canvas.Rect {
	in := p.C.Box(r, p.G, "", false)
	p.machineName(canvas.Rect{X: r.X + 2, Y: r.Y, W: r.W - 4, H: 1}, g)
	for i := range g.Broken {
		p.line(in, i, seg{" " + p.G.Bad + " ", bad}, seg{p.faultShort(&g.Broken[i]), bad})
	}
	return pad(in.From(len(g.Broken)))
}

func (p Pen) machineName(head canvas.Rect, g *view.Ground) {
	line := []seg{{" " + p.clean(g.Name) + " ", strong}}
	if g.Address != "" && text.Width(g.Name)+text.Width(g.Address)+4 <= head.W {
		line = append(line, seg{p.clean(g.Address) + " ", code})
	}
	p.line(head, 0, line...)
}

// leave draws the wire from the last station of a machine to its side.
func (p Pen) leave(in canvas.Rect, from int, stations, next []view.Station) {
	if len(stations) == 0 || len(next) == 0 {
		return
	}
	last := &stations[len(stations)-1]
	p.across(canvas.Rect{X: in.X, Y: in.Y + in.H - 1, W: in.W + 1, H: 1}, from+1, in.X+in.W+1, &next[0], last.Bad)
}

// crossing draws the wire from one machine to the next, at the bottom, and
// what is wrapped around the packet there.
func (p Pen) crossing(a, b canvas.Rect, from, to []view.Station) {
	if len(from) == 0 || len(to) == 0 {
		return
	}
	last, next := &from[len(from)-1], &to[0]
	row := canvas.Rect{X: a.X, Y: a.Y + a.H - 2, W: b.X + b.W - a.X, H: 1}
	p.across(row, a.X+a.W-1, b.X+2, next, last.Bad)
	if last.Bad {
		return
	}
	word := ""
	if last.Encap != nil {
		word = last.Encap.Kind
	} else if next.Encap != nil {
		word = next.Encap.Kind
	}
	if word != "" {
		over := canvas.Rect{X: a.X + a.W, Y: row.Y - 1, W: mapGap, H: 1}
		p.C.Put(over, over.X+max(0, (mapGap-text.Width(word))/2), over.Y, text.Cut(p.clean(word), mapGap), title)
	}
}

// onWire marks the packet between two machines.
func (p Pen) onWire(a, b canvas.Rect, v *view.PacketStage, from *view.Ground) {
	for i := range v.Grounds {
		if &v.Grounds[i] != from || i+1 >= len(v.Grounds) || !v.Grounds[i+1].Wire {
			continue
		}
		for _, t := range v.Grounds[i+1].Stations {
			mark, st := here(strconv.Itoa(t.N)), keyed.R()
			if t.N == 0 {
				continue
			}
			if t.Bad {
				mark, st = here(p.G.Bad+strconv.Itoa(t.N)), bad.R()
			}
			p.C.Put(canvas.Rect{X: a.X + a.W, Y: a.Y, W: b.X - a.X - a.W, H: a.H}, a.X+a.W+max(0, (b.X-a.X-a.W-text.Width(mark))/2), a.Y+a.H-2, mark, st)
		}
	}
}

func (p Pen) across(r canvas.Rect, from, to int, next *view.Station, dead bool) {
	sign, st := p.G.HH, good
	switch {
	case dead:
		return
	case next.Broken != nil:
		st = bad
	case next.Ahead:
		sign, st = p.G.Empty, dim
	}
	for x := from; x < to; x++ {
		p.C.Put(r, x, r.Y, sign, st)
	}
	if next.Broken != nil {
		p.C.Put(r, (from+to)/2, r.Y, p.G.Bad, bad)
	}
}

// passage draws a machine that the packet only passes: its stations in one
// row, at the bottom, with the mark over them.
func (p Pen) passage(r canvas.Rect, list []view.Station) {
	ties := p.ties(&view.PacketStage{Grounds: []view.Ground{{Stations: list}}}, r.W)
	x := r.X
	row := r.Row(r.H - 1)
	for i := range ties {
		t := &ties[i]
		label := p.stationLabel(&t.Station)
		w := text.Width(label)
		if t.N > 0 && r.H > 1 {
			p.C.Put(r, max(r.X, x+(w-5)/2), row.Y-1, here(strconv.Itoa(t.N)), keyed)
		}
		x = p.C.Put(row, x, row.Y, label, p.stationStyle(&t.Station))
		if i+1 < len(ties) {
			p.across(row, x, min(x+wireCells, r.X+r.W), &ties[i+1].Station, t.Bad)
			x += wireCells
		}
	}
	if x < r.X+r.W && len(ties) > 0 {
		p.across(row, x, r.X+r.W, &ties[len(ties)-1].Station, ties[len(ties)-1].Bad)
	}
}
