package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// Cluster draws the stage: as boxes where there is room, else as lines.
func (p Pen) Cluster(r canvas.Rect, v *view.Cluster) {
	if r.W >= 70 && r.H >= 17 {
		p.clusterBoxes(r, v)
		return
	}
	p.clusterLines(r, v)
}

func (p Pen) clusterBoxes(r canvas.Rect, v *view.Cluster) {
	top := canvas.Rect{X: r.X, Y: r.Y, W: r.W, H: 4}
	you, etcd := 12, max(18, r.W/5)
	p.you(canvas.Rect{X: top.X, Y: top.Y, W: you, H: 4}, v)
	api := canvas.Rect{X: top.X + you + 1, Y: top.Y, W: top.W - you - etcd - 4, H: 4}
	p.api(api, v)
	p.C.Put(r, api.X+api.W, r.Y+1, p.G.Line+p.G.Line+p.G.Right, wire(v))
	p.etcd(canvas.Rect{X: api.X + api.W + 3, Y: top.Y, W: etcd, H: 4}, v)

	rows := max(2, min(len(v.Loops), r.H-14))
	mid := canvas.Rect{X: r.X, Y: r.Y + 4, W: r.W, H: rows + 2}
	cols := split(mid, 3)
	p.boxes(p.C.Box(cols[0], p.G, p.L.T("cluster.controllers"), false), v.Loops)
	p.scheduler(p.C.Box(cols[1], p.G, p.L.T("cluster.scheduler"), false), v)
	p.watchers(p.C.Box(cols[2], p.G, p.L.T("cluster.watchers"), false), v)

	rest := r.From(4 + mid.H)
	lines := 0
	if len(v.Unbound) > 0 {
		lines = min(len(v.Unbound), max(1, rest.H/4))
	}
	nodes := rest
	nodes.H -= lines
	p.nodes(nodes, v, true)
	p.unbound(rest.From(rest.H-lines), v)
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

func (p Pen) you(r canvas.Rect, v *view.Cluster) {
	mine := v.Request != nil && !v.Request.Done && v.Request.Actor == "kubectl"
	st := strong
	if mine {
		st = busy
	}
	name := p.L.T("cluster.you")
	x := p.C.Text(r, 1, " "+name+" ", st)
	p.C.Fill(canvas.Rect{X: x, Y: r.Y + 1, W: r.X + r.W - x, H: 1}, p.G.Line, wire(v))
	p.C.Put(canvas.Rect{X: r.X, Y: r.Y, W: r.W + 1, H: r.H}, r.X+r.W, r.Y+1, p.G.Right, wire(v))
	words := strings.Fields(p.clean(v.Line))
	for i, l := range text.Wrap(strings.Join(words[min(1, len(words)):], " "), r.W-1) {
		if i < 2 {
			p.C.Text(r, 2+i, " "+l, dim)
		}
	}
}

// wire is how the way from you to the store looks: lit while something travels.
func wire(v *view.Cluster) canvas.Style {
	if v.Request != nil && !v.Request.Done {
		return busy
	}
	return canvas.As(canvas.Frame)
}

func (p Pen) api(r canvas.Rect, v *view.Cluster) {
	in := p.C.Box(r, p.G, p.L.T("cluster.api"), false)
	if v.Request == nil {
		p.C.Text(in, 0, p.L.T("cluster.quietapi"), dim)
		return
	}
	p.lights(in, 0, v.Request)
	p.request(in, 1, v.Request)
}

// lights draws the stages of a request as they are reached.
func (p Pen) lights(r canvas.Rect, row int, q *view.Request) {
	room := r.W
	for _, l := range q.Stages {
		room -= text.Width(p.L.T("stage."+string(l.Verb))) + 2
	}
	gap := " "
	if room >= len(q.Stages) {
		gap = "  "
	}
	x := r.X
	for i, l := range q.Stages {
		name := p.L.T("stage." + string(l.Verb))
		if room < 0 { // too narrow for words: the first sign of each
			name = text.Head(name, 2)
		}
		g, st := p.sign(l.State)
		if i > 0 {
			x = p.C.Put(r, x, r.Y+row, gap, dim)
		}
		x = p.C.Put(r, x, r.Y+row, g, st)
		x = p.C.Put(r, x, r.Y+row, name, st)
	}
}

func (p Pen) request(r canvas.Rect, row int, q *view.Request) {
	object := p.clean(q.Object)
	if q.Sub != "" {
		object += "/" + q.Sub
	}
	end := ""
	if q.Code != 0 {
		end = " " + strconv.Itoa(q.Code)
	}
	if q.Err != "" && q.Code == 0 {
		end = " " + p.clean(q.Err)
	}
	g, st := p.sign(q.State)
	head := p.clean(q.Actor) + " " + p.clean(q.Method) + " "
	room := r.W - text.Width(head) - text.Width(end) - 2
	p.line(r, row, seg{g + " ", st}, seg{p.clean(q.Actor) + " ", strong}, seg{p.clean(q.Method) + " ", code}, seg{text.Middle(object, room), plain}, seg{end, st})
}

func (p Pen) etcd(r canvas.Rect, v *view.Cluster) {
	in := p.C.Box(r, p.G, p.L.T("cluster.etcd"), false)
	if v.RV == 0 {
		p.say(in, 0, p.L.T("cluster.norev"), dim)
		return
	}
	p.C.Text(in, 0, p.L.T("head.rev", "rv", strconv.FormatInt(v.RV, 10)), strong)
	if v.Commit != "" {
		sign, st := change(v.Type)
		p.line(in, 1, seg{sign + " ", st}, seg{text.Middle(p.clean(v.Commit), in.W-2), plain})
	}
}

// change is the sign of a kind of commit.
func change(kind string) (string, canvas.Style) {
	switch kind {
	case "create", "+":
		return "+", good
	case "delete", "-":
		return "-", held
	case "":
		return " ", plain
	}
	return "~", code
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
	if b.Note != "" && b.State == view.Busy {
		segs = append(segs, seg{p.verb(b.Note), st})
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
	for i, d := range v.Unbound {
		if i >= r.H {
			break
		}
		g, st := p.sign(d.State)
		if i == r.H-1 && len(v.Unbound) > r.H {
			p.line(r, i, seg{" " + p.L.T("cluster.more", "n", strconv.Itoa(len(v.Unbound)-i)), dim})
			break
		}
		where := p.L.T("cluster.unbound")
		if d.Hidden {
			where = p.L.T("hidden.word")
		}
		p.line(r, i, seg{" " + g + " ", st}, seg{p.clean(d.Name) + "  ", strong}, seg{p.word(d.Word) + "  ", st}, seg{where, dim})
	}
}

// clusterLines is the stage in few rows.
func (p Pen) clusterLines(r canvas.Rect, v *view.Cluster) {
	rev := p.L.T("cluster.etcd") + " " + p.L.T("head.rev", "rv", strconv.FormatInt(v.RV, 10))
	x := p.line(r, 0, seg{p.L.T("cluster.you") + " ", strong}, seg{p.G.Right + " ", wire(v)}, seg{"API ", strong})
	tail := text.Width(rev) + 3
	mid := canvas.Rect{X: x, Y: r.Y, W: max(0, r.X+r.W-x-tail), H: 1}
	row := 1
	if v.Request == nil {
		p.C.Text(mid, 0, p.L.T("cluster.quietapi"), dim)
	} else {
		p.lights(mid, 0, v.Request)
		p.request(canvas.Rect{X: r.X + 2, Y: r.Y, W: r.W - 2, H: r.H}, 1, v.Request)
		row = 2
	}
	p.C.Put(r, r.X+r.W-tail, r.Y, " "+p.G.Right+" ", wire(v))
	p.C.Put(r, r.X+r.W-tail+3, r.Y, rev, strong)
	p.actorLine(r.Row(row), v)
	rest := r.From(row + 1)
	lines := min(len(v.Unbound), 1, rest.H)
	nodes := rest
	nodes.H -= lines
	p.nodes(nodes, v, false)
	p.unbound(rest.From(rest.H-lines), v)
}

// actorLine is all actors of the control plane in one row, each as long as
// there is room.
func (p Pen) actorLine(r canvas.Rect, v *view.Cluster) {
	list := append(append([]view.Box{}, v.Loops[:min(2, len(v.Loops))]...), v.Scheduler)
	cols := split(r, len(list)+1)
	for i, b := range list {
		p.box(canvas.Rect{X: cols[i].X, Y: r.Y, W: cols[i].W - 1, H: 1}, 0, b, 0)
	}
	last := cols[len(list)]
	if v.Inbox > 0 {
		p.line(last, 0, seg{p.G.Held + " ", held}, seg{p.L.T("cluster.undelivered", "n", strconv.Itoa(v.Inbox)), held})
		return
	}
	p.line(last, 0, seg{p.G.Good + " ", good}, seg{p.L.T("cluster.delivered"), dim})
}
