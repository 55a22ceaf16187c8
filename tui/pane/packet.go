package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// From which size on a packet's way is drawn as a map with the machines as
// boxes; smaller, it is a line of stations.
const (
	mapRows    = 24
	lanesAll   = 12 // the predicted way has a lane too
	mapColumns = 64
	detailRows = 5 // of the hop at which the packet is
	detailMost = 9
	listLeast  = 4 // of the list of hops, with its head
)

// Packet draws a packet's way: its map, its lanes, the hop at which it is, and
// the list of hops. Open shows the rules that it passed without a match.
func (p Pen) Packet(r canvas.Rect, v *view.PacketStage, open bool) {
	if v == nil {
		p.say(r, 0, p.L.T("packet.none"), dim)
		return
	}
	row := p.packetHead(r, v)
	if len(v.List) > 1 && r.H >= 14 {
		p.packetChips(r.Row(row), v)
		row++
	}
	for _, f := range v.Faults {
		if r.H >= 9 && row < 4 {
			p.line(r, row, seg{p.G.Bad + " ", bad}, seg{p.L.T("fault.broken", "what", p.faultWord(f)), bad})
			row++
		}
	}
	if r.H >= 9 {
		for _, l := range v.Lanes {
			if l.Leg == view.LegPredicted && r.H < lanesAll {
				continue
			}
			p.lane(r.Row(row), l, l.Leg == v.Leg)
			row++
		}
	}
	rest := r.From(row)
	columns, mapped := p.columns(rest.W, v)
	mapped = mapped && r.H >= mapRows
	detail := p.hopDetail(v, r.W, open, mapped)
	room := max(detailRows, min(len(detail), detailMost))
	switch {
	case mapped:
		rows := p.mapHeight(v, rest.H-detailRows-listLeast)
		p.packetMap(canvas.Rect{X: rest.X, Y: rest.Y, W: rest.W, H: rows}, v, columns)
		rest = rest.From(rows)
	case rest.H >= 5:
		p.strip(rest, v)
		rest = rest.From(4)
	}
	room = min(room, rest.H)
	p.rows(canvas.Rect{X: rest.X, Y: rest.Y, W: rest.W, H: room}, detail, 0)
	rest = rest.From(room)
	if rest.H >= 3 {
		p.hopList(rest, v, open)
	}
}

// packetHead is from where to where, and how it is doing.
func (p Pen) packetHead(r canvas.Rect, v *view.PacketStage) int {
	g, st := p.sign(v.State)
	to := p.clean(v.To)
	if v.Port > 0 {
		to += ":" + strconv.Itoa(v.Port)
	}
	word := p.word(v.Word)
	if v.Drop != nil && !v.Hidden {
		word += ": " + p.reason(v.Drop)
	}
	if v.Err != "" && !v.Hidden {
		word += ": " + p.clean(v.Err)
	}
	x := p.line(r, 0, seg{g + " ", st}, seg{p.clean(v.From), strong}, seg{" " + p.G.To + " ", dim}, seg{to, strong}, seg{"  " + p.clean(v.Proto) + "  ", code})
	tail := p.L.T("packet.hops", "n", strconv.Itoa(p.hops(v)))
	if took := view.Took(v.Took); took != "" {
		tail += "  " + took
	}
	room := r.X + r.W - x
	p.C.Put(r, x, r.Y, text.Cut(word, room), st)
	if room-text.Width(word) > text.Width(tail)+2 {
		p.right(r, 0, tail, dim)
	}
	return 1
}

// hops is the number of the last hop that has been.
func (p Pen) hops(v *view.PacketStage) (n int) {
	for _, l := range v.Lanes {
		for _, h := range l.Hops {
			if !h.Ahead && l.Leg != view.LegPredicted {
				n = max(n, h.N)
			}
		}
	}
	return n
}

// packetChips is the packets that there are to choose from.
func (p Pen) packetChips(r canvas.Rect, v *view.PacketStage) {
	x := p.line(r, 0, seg{p.L.T("packet.list") + " ", dim})
	for _, n := range v.List {
		g, st := p.sign(n.State)
		chip := p.clean(n.From) + p.G.To + p.clean(n.To)
		if n.Proto != "tcp" {
			chip += " " + p.clean(n.Proto)
		}
		if x+text.Width(chip)+5 > r.X+r.W {
			p.C.Put(r, x, r.Y, p.G.Cut, dim)
			return
		}
		look := plain
		if n.ID == v.ID {
			look = strong.R()
		}
		x = p.C.Put(r, x, r.Y, g+" ", st)
		x = p.C.Put(r, x, r.Y, chip, look)
		x += 2
	}
}

// lane is a leg as a row of hops, each one sign; where the packet is stands
// its number.
func (p Pen) lane(r canvas.Rect, l view.PacketLane, shown bool) {
	look := dim
	if shown {
		look = title
	}
	x := p.line(r, 0, seg{text.Pad(p.L.T("packet."+l.Leg), p.laneLabel()) + " ", look})
	room := canvas.Rect{X: x, Y: r.Y, W: r.X + r.W - x, H: 1}
	wire := 1
	if 2*len(l.Hops)+8 > room.W {
		wire = 0
	}
	from := 0
	if len(l.Hops)+8 > room.W { // the part around the packet
		now := 0
		for i, h := range l.Hops {
			if h.Now {
				now = i
			}
		}
		from = min(max(0, now-room.W/2), len(l.Hops)+8-room.W)
	}
	for i, h := range l.Hops[from:] {
		g, st := p.G.Good, good
		switch {
		case h.Now && h.Bad:
			g, st = here(p.G.Bad+strconv.Itoa(h.N)), bad.R()
		case h.Now:
			g, st = here(strconv.Itoa(h.N)), keyed.R()
		case h.Bad:
			g, st = p.G.Bad, bad
		case h.Differs:
			g, st = "≠", held
		case h.Ahead:
			g, st = p.G.None, dim
		case h.Changed:
			g, st = p.G.Busy, held
		}
		if i > 0 && wire > 0 {
			line := p.G.HH
			if h.Ahead {
				line = p.G.Empty
			}
			x = p.C.Put(room, x, r.Y, line, st.B())
		}
		x = p.C.Put(room, x, r.Y, g, st)
	}
}

// here marks where the packet is.
func here(n string) string { return ">(" + n + ")<" }

// laneLabel is how many cells the names of lanes take.
func (p Pen) laneLabel() int {
	w := 0
	for _, l := range []string{step.LegRequest, step.LegReply, step.LegError, view.LegPredicted} {
		w = max(w, text.Width(p.L.T("packet."+l)))
	}
	return w
}

// faultWord words something that is broken on purpose.
func (p Pen) faultWord(f view.FaultRow) string {
	word := p.clean(f.Card)
	if key := "fault." + f.Card; p.L.T(key) != key {
		word = p.L.T(key)
	}
	where := p.clean(f.Target)
	if f.Node != "" && f.Node != f.Target {
		where = strings.TrimSpace(p.clean(f.Node) + " " + where)
	}
	if where != "" {
		word = where + ": " + word
	}
	return word
}

// reason words why a packet was lost.
func (p Pen) reason(d *step.HopDrop) string {
	if key := "drop." + d.Reason; p.L.T(key) != key {
		return p.L.T(key)
	}
	return p.clean(d.Reason)
}
