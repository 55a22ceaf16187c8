package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

func (p Pen) you(r canvas.Rect, v *view.Cluster) {
	st := strong
	if v.Request != nil && !v.Request.Done && v.Request.Actor == "kubectl" {
		st = busy
	}
	name := " " + p.L.T("cluster.you") + " "
	if v.Waits {
		name, st = name+p.G.Held, held
	}
	x := p.C.Text(r, 1, name, st)
	p.C.Fill(canvas.Rect{X: x, Y: r.Y + 1, W: r.X + r.W - x, H: 1}, p.G.Line, wire(v))
	p.C.Put(r, r.X+r.W-1, r.Y+1, p.G.Right, wire(v))
	words := strings.Fields(p.clean(v.Line))
	if len(words) > 1 && words[0] == "kubectl" {
		words = words[1:]
	}
	for i, w := range words {
		if i < 2 && 2+i < r.H {
			p.C.Text(r, 2+i, " "+text.Cut(w, r.W-2), dim)
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
	in := pad(p.C.Box(r, p.G, p.L.T("cluster.api"), false))
	if v.Request == nil {
		p.C.Text(in, 0, p.noRequest(v), dim)
		return
	}
	row := 0
	if in.H > 2 && p.lightsWidth(v.Request) > in.W {
		half := (len(v.Request.Stages) + 1) / 2
		p.lights(in, 0, v.Request, 0, half)
		row++
		p.lights(in, 1, v.Request, half, len(v.Request.Stages))
	} else {
		p.lights(in, 0, v.Request, 0, len(v.Request.Stages))
	}
	p.request(in, row+1, v.Request)
}

// lightsWidth is how wide the stages of a request are in one row.
func (p Pen) lightsWidth(q *view.Request) int {
	w := -1
	for _, l := range q.Stages {
		w += text.Width(p.L.T("stage."+string(l.Verb))) + 2
	}
	return w
}

// lights draws the stages from..to of a request as they are reached. Where
// there is no room for all names, only that of the last one reached is told.
func (p Pen) lights(r canvas.Rect, row int, q *view.Request, from, to int) {
	part := *q
	part.Stages = q.Stages[from:to]
	words := p.lightsWidth(&part) <= r.W
	gap := " "
	if words && p.lightsWidth(&part)+len(part.Stages) < r.W {
		gap = "  "
	}
	x, last := r.X, part.Stages[0]
	for i, l := range part.Stages {
		g, st := p.sign(l.State)
		if i > 0 && words {
			x = p.C.Put(r, x, r.Y+row, gap, dim)
		}
		x = p.C.Put(r, x, r.Y+row, g, st)
		if words {
			x = p.C.Put(r, x, r.Y+row, p.L.T("stage."+string(l.Verb)), st)
		}
		if l.State != view.Idle {
			last = l
		}
	}
	if !words {
		_, st := p.sign(last.State)
		p.C.Put(r, x, r.Y+row, " "+p.L.T("stage."+string(last.Verb)), st)
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
	in := pad(p.C.Box(r, p.G, p.L.T("cluster.etcd"), false))
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

// noRequest says why no request is shown.
func (p Pen) noRequest(v *view.Cluster) string {
	if v.Masked {
		return p.L.T("hidden.word")
	}
	return p.L.T("cluster.quietapi")
}
