package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// nodes draws the nodes side by side.
func (p Pen) nodes(r canvas.Rect, v *view.Cluster, framed bool) {
	if r.H < 2 {
		return
	}
	if len(v.Nodes) == 0 {
		p.say(r, 0, " "+p.L.T("cluster.nonodes"), dim)
		return
	}
	shown := min(len(v.Nodes), max(1, r.W/22))
	cols := split(r, shown)
	for i := range shown {
		more := ""
		if i == shown-1 && len(v.Nodes) > shown {
			more = p.L.T("cluster.more", "n", strconv.Itoa(len(v.Nodes)-shown))
		}
		p.node(cols[i], v.Nodes[i], framed, i > 0, more)
	}
}

func (p Pen) node(r canvas.Rect, n view.Machine, framed, line bool, more string) {
	g, st := p.sign(n.Ready)
	if framed {
		in := pad(p.C.Box(r, p.G, "", false))
		head := canvas.Rect{X: r.X + 2, Y: r.Y, W: r.W - 4, H: 1}
		p.line(head, 0, seg{" ", plain}, seg{p.clean(n.Name) + " ", strong}, seg{g + " ", st}, seg{p.L.T(n.Word) + " ", st})
		if more != "" {
			p.C.Put(r, r.X+r.W-3-text.Width(more), r.Y+r.H-1, " "+more+" ", dim)
		}
		p.inside(in, n, true)
		return
	}
	if line {
		p.C.Fill(canvas.Rect{X: r.X, Y: r.Y, W: 1, H: r.H}, p.G.V, canvas.As(canvas.Frame))
		r.X, r.W = r.X+2, r.W-2
	}
	r.W--
	x := p.line(r, 0, seg{p.clean(n.Name) + " ", strong}, seg{g + " ", st}, seg{p.L.T(n.Word) + "  ", st})
	for _, extra := range []string{more, p.clean(n.Address)} {
		if extra != "" && x+text.Width(extra) <= r.X+r.W {
			x = p.C.Put(r, x, r.Y, extra+" ", dim)
		}
	}
	p.inside(r.From(1), n, false)
}

// inside draws the kubelet and the pods of a node.
func (p Pen) inside(r canvas.Rect, n view.Machine, roomy bool) {
	k := n.Kubelet
	p.box(r, 0, k, 0)
	row := 1
	if roomy && r.H > 4+len(n.Pods) && n.Address != "" {
		x := p.line(r, row, seg{p.clean(n.Address), dim})
		if cidr := "  " + p.L.T("cluster.podcidr", "cidr", p.clean(n.CIDR)); x+text.Width(cidr) <= r.X+r.W {
			p.C.Put(r, x, r.Y+row, cidr, dim)
		}
		row++
	}
	if n.Lost && row < r.H {
		row += p.say(r, row, p.L.T("cluster.lost"), bad)
	}
	for i := range n.Faults {
		if row < r.H {
			p.line(r, row, seg{p.G.Bad + " ", bad}, seg{p.faultShort(&n.Faults[i]), bad})
			row++
		}
	}
	for _, image := range n.Pulling {
		p.line(r, row, seg{p.G.Busy + " ", busy}, seg{p.L.T("cluster.pull", "image", p.clean(image)), busy})
		row++
	}
	if len(n.Pods) == 0 {
		p.line(r, row, seg{p.L.T("cluster.empty"), dim})
		return
	}
	left := r.H - row
	each := max(1, min(3, left/len(n.Pods)))
	for i, d := range n.Pods {
		if i == left-1 && len(n.Pods) > left {
			p.line(r, row, seg{p.L.T("cluster.more", "n", strconv.Itoa(len(n.Pods)-i)), dim})
			return
		}
		row += p.pod(r, row, d, each)
	}
}

// pod draws a pod in at most rows rows; it returns how many it took.
func (p Pen) pod(r canvas.Rect, row int, d view.Pod, rows int) int {
	g, st := p.sign(d.State)
	word, waits := p.word(d.Word), ""
	if d.Held != "" {
		waits, g, st = p.G.Held+" "+strings.TrimSpace(p.verb(d.Held+" ")), p.G.Held, held
		if rows < 2 {
			word = waits
		}
	}
	if d.Restarts > 0 {
		word += " x" + strconv.FormatInt(d.Restarts, 10)
	}
	room := r.W - text.Width(word) - 4
	p.line(r, row, seg{g + " ", st}, seg{text.Middle(p.clean(d.Name), room), strong})
	p.right(r, row, word, st)
	if waits != "" && rows >= 2 {
		p.line(r, row+1, seg{"  " + waits, held})
		if rows >= 3 && d.Box != "" {
			p.line(r, row+2, append([]seg{{"  ", dim}}, p.containers(d)...)...)
			return 3
		}
		return 2
	}
	if rows < 2 || d.Box == "" && d.IP == "" {
		return 1
	}
	ip := p.clean(d.IP)
	if ip == "" {
		ip = p.L.T("net.noaddress")
	}
	segs := []seg{{"  " + ip, code}}
	if rows == 2 {
		segs = append(segs, seg{"  ", dim})
		segs = append(segs, p.containers(d)...)
		p.line(r, row+1, segs...)
		return 2
	}
	p.line(r, row+1, segs...)
	p.line(r, row+2, append([]seg{{"  ", dim}}, p.containers(d)...)...)
	return 3
}

// containers are a pod's sandbox and containers, as short as a word each.
func (p Pen) containers(d view.Pod) []seg {
	var list []seg
	if d.Box != "" {
		g, st := p.sign(boxState(d.Box))
		list = append(list, seg{g + "pause ", st})
	}
	for _, c := range d.Containers {
		g, st := p.sign(boxState(c.State))
		word := g + p.clean(c.Name)
		if c.State != "running" {
			if c.Exit != nil {
				word += " " + strconv.Itoa(*c.Exit)
			} else {
				word += " " + p.word("box."+c.State)
			}
		}
		list = append(list, seg{word + " ", st})
	}
	return list
}

func boxState(s string) view.State {
	switch s {
	case "ready", "running":
		return view.Good
	case "creating", "created", "starting", "stopping":
		return view.Busy
	case "failed":
		return view.Bad
	}
	return view.Idle
}
