package pane

import (
	"strconv"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// Cluster draws the stage: as boxes where there is room, else as lines.
func (p Pen) Cluster(r canvas.Rect, v *view.Cluster) {
	if r.W >= 60 && r.H >= 16 {
		p.clusterBoxes(r, v)
		return
	}
	p.clusterLines(r, v)
}

func (p Pen) clusterBoxes(r canvas.Rect, v *view.Cluster) {
	you, etcd := 9, max(17, r.W/5)
	api := canvas.Rect{X: r.X + you, Y: r.Y, W: r.W - you - etcd - 3, H: 4}
	if v.Request != nil && p.lightsWidth(v.Request) > api.W-4 && r.H >= 18 {
		api.H++
	}
	p.you(canvas.Rect{X: r.X, Y: r.Y, W: you, H: api.H}, v)
	p.api(api, v)
	p.C.Put(r, api.X+api.W, r.Y+1, p.G.Line+p.G.Line+p.G.Right, wire(v))
	p.etcd(canvas.Rect{X: api.X + api.W + 3, Y: r.Y, W: etcd, H: api.H}, v)

	rest := r.From(api.H)
	rows := max(2, min(len(v.Loops), rest.H-10))
	mid := canvas.Rect{X: r.X, Y: rest.Y, W: r.W * 2 / 5, H: rows + 2}
	cols := append([]canvas.Rect{mid}, split(canvas.Rect{X: r.X + mid.W, Y: rest.Y, W: r.W - mid.W, H: rows + 2}, 2)...)
	p.boxes(pad(p.C.Box(cols[0], p.G, p.L.T("cluster.controllers"), false)), v.Loops)
	p.scheduler(pad(p.C.Box(cols[1], p.G, p.L.T("cluster.scheduler"), false)), v)
	p.watchers(pad(p.C.Box(cols[2], p.G, p.L.T("cluster.watchers"), false)), v)

	rest = rest.From(rows + 2)
	lines := 0
	if len(v.Unbound) > 0 {
		lines = min(len(v.Unbound), max(1, rest.H/4))
	}
	rest = p.clusterFaults(rest, v)
	nodes := rest
	nodes.H -= lines
	p.nodes(nodes, v, true)
	p.unbound(rest.From(rest.H-lines), v)
}

// clusterFaults says what is broken on no node in particular; it returns the
// room that is left.
func (p Pen) clusterFaults(r canvas.Rect, v *view.Cluster) canvas.Rect {
	for _, f := range v.Faults {
		if r.H < 6 {
			break
		}
		p.line(r, 0, seg{" " + p.G.Bad + " ", bad}, seg{p.L.T("fault.broken", "what", p.faultWord(f)), bad})
		r = r.From(1)
	}
	return r
}

// split divides r into n columns.
func split(r canvas.Rect, n int) []canvas.Rect {
	cols := make([]canvas.Rect, n)
	for i := range cols {
		x0, x1 := r.W*i/n, r.W*(i+1)/n
		cols[i] = canvas.Rect{X: r.X + x0, Y: r.Y, W: x1 - x0, H: r.H}
	}
	return cols
}

func (p Pen) boxes(r canvas.Rect, list []view.Box) {
	width := 0
	for _, b := range list {
		width = max(width, text.Width(b.Name))
	}
	for i, b := range list {
		p.box(r, i, b, width)
	}
}

// box draws an actor in one row: name, glyph, word, what it does.
func (p Pen) box(r canvas.Rect, row int, b view.Box, width int) {
	g, st := p.sign(b.State)
	if b.Hidden {
		g, st = " ", dim
	}
	segs := []seg{{text.Pad(p.clean(b.Name), width) + " ", plain}, {g + " ", st}}
	word := p.L.T(b.Word, "n", strconv.Itoa(b.Inbox))
	used := max(width, text.Width(p.clean(b.Name))) + 3
	if note := p.verb(b.Note); b.Note != "" && b.State == view.Busy && r.W-used >= 16 {
		segs = append(segs, seg{text.Middle(note, r.W-used), st})
	} else {
		segs = append(segs, seg{word, st})
	}
	if b.Crashes > 0 {
		segs = append(segs, seg{"  " + p.L.T("state.crashed", "n", strconv.Itoa(b.Crashes)), bad})
	}
	p.line(r, row, segs...)
}

func (p Pen) scheduler(r canvas.Rect, v *view.Cluster) {
	b := v.Scheduler
	g, st := p.sign(b.State)
	if b.Hidden {
		g, st = " ", dim
	}
	p.line(r, 0, seg{g + " ", st}, seg{p.L.T(b.Word, "n", strconv.Itoa(b.Inbox)), st})
	if b.Note != "" {
		p.line(r, 1, seg{"  " + text.Middle(p.verb(b.Note), r.W-2), plain})
	}
}

func (p Pen) watchers(r canvas.Rect, v *view.Cluster) {
	p.C.Text(r, 0, p.L.T("cluster.watching", "n", strconv.Itoa(v.Watches)), plain)
	if v.Inbox > 0 {
		p.line(r, 1, seg{p.G.Held + " ", held}, seg{p.L.T("cluster.undelivered", "n", strconv.Itoa(v.Inbox)), held})
		return
	}
	p.line(r, 1, seg{p.G.Good + " ", good}, seg{p.L.T("cluster.delivered"), dim})
}

func (p Pen) unbound(r canvas.Rect, v *view.Cluster) {
	where := func(d view.Pod) string {
		if d.Hidden {
			return p.L.T("hidden.word")
		}
		return p.L.T("cluster.unbound")
	}
	if len(v.Unbound) <= r.H {
		for i, d := range v.Unbound {
			g, st := p.sign(d.State)
			p.line(r, i, seg{" " + g + " ", st}, seg{p.clean(d.Name) + "  ", strong}, seg{p.word(d.Word) + "  ", st}, seg{where(d), dim})
		}
		return
	}
	// More than there are rows: one after another.
	row, x := 0, r.X+1
	for i, d := range v.Unbound {
		g, st := p.sign(d.State)
		name := text.Middle(p.clean(d.Name), 20)
		if x+text.Width(name)+14 > r.X+r.W {
			if row+1 >= r.H {
				p.C.Put(r, x, r.Y+row, p.L.T("cluster.more", "n", strconv.Itoa(len(v.Unbound)-i)), dim)
				return
			}
			row, x = row+1, r.X+1
		}
		x = p.C.Put(r, x, r.Y+row, g+" ", st)
		x = p.C.Put(r, x, r.Y+row, name+"  ", strong)
	}
	p.C.Put(r, x, r.Y+row, where(v.Unbound[0]), dim)
}

// clusterLines is the stage in few rows.
func (p Pen) clusterLines(r canvas.Rect, v *view.Cluster) {
	rev := p.L.T("head.rev", "rv", strconv.FormatInt(v.RV, 10))
	you, door := seg{p.L.T("cluster.you") + " ", strong}, seg{p.G.Right + " ", wire(v)}
	if v.Waits {
		you.st, door = held, seg{p.G.Held + " ", held}
	}
	x := p.line(r, 0, you, door, seg{"API ", strong})
	tail := 7
	mid := canvas.Rect{X: x, Y: r.Y, W: max(0, r.X+r.W-x-tail), H: 1}
	if v.Request == nil {
		p.C.Text(mid, 0, p.noRequest(v), dim)
	} else {
		p.lights(mid, 0, v.Request, 0, len(v.Request.Stages))
		p.request(canvas.Rect{X: r.X + 2, Y: r.Y, W: r.W - 4 - text.Width(rev), H: r.H}, 1, v.Request)
	}
	p.right(r, 1, rev, strong)
	p.C.Put(r, r.X+r.W-tail, r.Y, " "+p.G.Right+" ", wire(v))
	p.C.Put(r, r.X+r.W-tail+3, r.Y, p.L.T("cluster.etcd"), strong)
	p.actorLine(r.Row(2), v)
	rest := r.From(3)
	lines := min(len(v.Unbound), 1, rest.H)
	rest = p.clusterFaults(rest, v)
	nodes := rest
	nodes.H -= lines
	p.nodes(nodes, v, false)
	p.unbound(rest.From(rest.H-lines), v)
}

// actorLine is all actors of the control plane in one row.
func (p Pen) actorLine(r canvas.Rect, v *view.Cluster) {
	list := append(append([]view.Box{}, v.Loops[:min(2, len(v.Loops))]...), v.Scheduler)
	x := r.X
	for _, b := range list {
		g, st := p.sign(b.State)
		if b.Hidden {
			g, st = "", dim
		} else {
			g += " "
		}
		room := canvas.Rect{X: x, Y: r.Y, W: r.X + r.W - x, H: 1}
		x = p.line(room, 0, seg{p.clean(b.Name) + " ", plain}, seg{g, st}, seg{p.L.T(b.Word, "n", strconv.Itoa(b.Inbox)) + "  ", st})
	}
	g, st, word := p.G.Good, good, p.L.T("cluster.delivered")
	if v.Inbox > 0 {
		g, st, word = p.G.Held, held, p.L.T("cluster.undelivered", "n", strconv.Itoa(v.Inbox))
	}
	p.line(canvas.Rect{X: x, Y: r.Y, W: max(0, r.X+r.W-x), H: 1}, 0, seg{g + " ", st}, seg{word, st})
}
