package pane

import (
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

var laneKeys = [view.Lanes]string{"time.you", "time.api", "time.bus", "time.loop", "time.sched", "time.node", "time.net"}

// Timeline is the steps around one moment.
type Timeline struct {
	Ticks []view.Tick
	At    int // index of this moment in Ticks
	Mask  view.Mask
	Now   string // what happened at this moment
}

// TimelineRoom is how many steps a timeline of that width shows.
func (p Pen) TimelineRoom(r canvas.Rect) int {
	if r.H >= 5 {
		return max(1, r.W-p.laneWidth()-2)
	}
	if r.H > 1 {
		return max(1, r.W-4)
	}
	return max(1, r.W*3/5-4)
}

func (p Pen) laneWidth() int {
	w := 0
	for _, k := range laneKeys {
		w = max(w, text.Width(p.L.T(k)))
	}
	return w
}

// Timeline draws lanes where there is room, else one line.
func (p Pen) Timeline(r canvas.Rect, t Timeline) {
	if r.H >= 5 {
		p.lanes(r, t)
		return
	}
	x := p.C.Text(r, 0, " t ", dim)
	p.ticks(canvas.Rect{X: x, Y: r.Y, W: p.TimelineRoom(r), H: 1}, t, view.Lanes)
	now := canvas.Rect{X: x + p.TimelineRoom(r) + 1, Y: r.Y, W: r.W - p.TimelineRoom(r) - 4, H: 1}
	if r.H > 1 {
		now = canvas.Rect{X: r.X + 3, Y: r.Y + 1, W: r.W - 4, H: 1}
	}
	p.line(now, 0, seg{p.G.Up + " ", keyed}, seg{p.clean(t.Now), plain})
}

func (p Pen) lanes(r canvas.Rect, t Timeline) {
	w := p.laneWidth()
	strip := canvas.Rect{X: r.X + w + 2, Y: r.Y, W: r.W - w - 2, H: r.H}
	rows := min(int(view.Lanes), r.H-1)
	for lane := range rows {
		row := canvas.Rect{X: strip.X, Y: r.Y + lane, W: strip.W, H: 1}
		p.C.Text(r, lane, " "+text.Left(p.L.T(laneKeys[lane]), w), dim)
		p.ticks(row, t, view.Lane(lane))
	}
	if t.At >= 0 {
		x := strip.X + t.At
		p.C.Put(strip, x, r.Y+rows, p.G.Up, keyed)
		now := " " + p.clean(t.Now)
		if x+1+text.Width(now) <= r.X+r.W {
			p.C.Put(strip, x+1, r.Y+rows, now, plain)
		} else {
			now = text.Cut(p.clean(t.Now), max(0, x-strip.X-1)) + " "
			p.C.Put(strip, x-text.Width(now), r.Y+rows, now, plain)
		}
	}
}

// ticks draws the steps of a lane, or of all of them for view.Lanes.
func (p Pen) ticks(r canvas.Rect, t Timeline, lane view.Lane) {
	for i, k := range t.Ticks {
		if i >= r.W {
			break
		}
		s, st := p.G.Dot, canvas.As(canvas.Frame)
		switch {
		case k.Mark:
			s, st = p.G.V, keyed
		case t.Mask.On(k.Actor, k.Node, k.Verb, k.Of):
			s = p.G.Dot
		case lane == view.Lanes || lane == k.Lane:
			s, st = string(rune(k.Letter)), laneStyle(k)
		}
		if i > t.At {
			st = canvas.As(canvas.Frame)
		}
		if i == t.At {
			st = st.R()
		}
		p.C.Put(r, r.X+i, r.Y, s, st)
	}
	for i := len(t.Ticks); i < r.W; i++ {
		p.C.Put(r, r.X+i, r.Y, p.G.Dot, canvas.As(canvas.Frame))
	}
}

func laneStyle(k view.Tick) canvas.Style {
	if k.Bad {
		return bad
	}
	switch k.Lane {
	case view.You:
		return keyed
	case view.Requests:
		return code
	case view.Bus:
		return good
	case view.Control, view.Scheduling:
		return busy
	}
	return plain
}
