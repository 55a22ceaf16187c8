package pane

import (
	"strconv"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// hopList is the list of hops around the one at which the packet is.
func (p Pen) hopList(r canvas.Rect, v *view.PacketStage, open bool) {
	ground, place, digits := 4, 10, 2
	for i := range v.Rows {
		ground = max(ground, text.Width(p.where(&v.Rows[i])))
		place = max(place, text.Width(p.clean(v.Rows[i].Place)))
		digits = max(digits, len(strconv.Itoa(v.Rows[i].N)))
	}
	ground, place = min(ground, r.W/6), min(place, max(12, r.W/4))
	flow := 0
	if r.W >= 96 {
		flow = min(45, r.W-ground-place-34)
	}
	p.C.Fill(canvas.Rect{X: r.X, Y: r.Y, W: r.W, H: 1}, p.G.H, canvas.As(canvas.Frame))
	p.C.Put(r, r.X+1, r.Y, " "+p.L.T("packet.hoplist", "leg", p.L.T("packet."+v.Leg))+" ", title)
	body := r.From(1)
	lines, at := p.hopLines(v, [4]int{digits, ground, place, flow}, open, body.W)
	skip := min(max(0, at-body.H/2), max(0, len(lines)-body.H))
	p.rows(body, lines, skip)
	p.Beyond(canvas.Rect{X: r.X, Y: r.Y, W: r.W, H: 2}.Row(0), skip, 0)
}

// where is the machine or the pod of a hop.
func (p Pen) where(h *view.HopRow) string {
	if h.Pod != "" {
		return p.clean(h.Pod)
	}
	return p.clean(h.Ground)
}

// hopLines are the rows of the list, with columns for numbers, machines, places
// and addresses, and the row at which the packet is.
func (p Pen) hopLines(v *view.PacketStage, columns [4]int, open bool, w int) (lines [][]seg, at int) {
	digits, ground, place, flow := columns[0], columns[1], columns[2], columns[3]
	before := ""
	for i := range v.Rows {
		h := &v.Rows[i]
		look, lead := plain, "  "
		switch {
		case i == v.Now:
			look, lead, at = strong, p.G.Right+" ", len(lines)
		case h.Ahead:
			look = dim
		}
		if v.Now < 0 && h.Drop != nil {
			at = len(lines)
		}
		where := p.where(h)
		if where == before && i != v.Now {
			where = ""
		} else {
			before = where
		}
		line := []seg{{lead, keyed}, {text.Left(strconv.Itoa(h.N), digits) + " ", look}, {text.Fit(where, ground) + " ", look}, {text.Pad(text.Middle(p.clean(h.Place), place), place) + " ", look}}
		if h.Ahead {
			lines = append(lines, append(line, seg{p.G.Dot, dim}))
			continue
		}
		line = append(line, p.hopCells(h, i, flow)...)
		if v.Differs != nil && v.Differs.N == h.N {
			line[0] = seg{"≠ ", held}
		}
		lines = append(lines, line)
		if open {
			for _, s := range h.Skipped {
				lines = append(lines, []seg{{"      " + p.G.Dot + " #" + strconv.Itoa(s.N) + " ", dim}, {text.Cut(p.clean(s.Text), max(10, w-12)), dim}})
			}
		}
	}
	if v.Hidden {
		lines = append(lines, []seg{{"  " + p.L.T("packet.beyond"), dim}})
	}
	return lines, at
}

// hopCells is what the list says of a hop besides its place.
func (p Pen) hopCells(h *view.HopRow, i, flow int) []seg {
	var line []seg
	changed := h.In.Src != h.Out.Src || h.In.Dst != h.Out.Dst
	if flow > 0 {
		cells := []seg{{p.flow(h.Out), dim}}
		if changed || i == 0 {
			cells = p.changedFlow(h)
		}
		line = append(line, cells...)
		line = append(line, seg{text.Pad("", flow-width(cells)) + "  ", dim})
	}
	line = append(line, p.hopNote(h)...)
	if h.Outer != nil && h.Layer != step.LayerDecap {
		src, _ := hostPort(h.Outer.Src)
		dst, _ := hostPort(h.Outer.Dst)
		line = append(line, seg{"  [" + p.clean(h.Outer.Kind+" "+src+">"+dst) + "]", title})
	}
	if flow == 0 && changed && i > 0 {
		if h.In.Src != h.Out.Src {
			line = append(line, seg{"  src " + p.G.To + " " + p.clean(h.Out.Src), held})
		}
		if h.In.Dst != h.Out.Dst {
			line = append(line, seg{"  dst " + p.G.To + " " + p.clean(h.Out.Dst), held})
		}
	}
	if h.Has("ttl") && h.In.TTL != h.Out.TTL && h.In.TTL != 0 && h.Out.TTL != 0 && h.In.Src == h.Out.Src {
		line = append(line, seg{"  ttl " + strconv.Itoa(h.Out.TTL), held})
	}
	if n := len(h.Skipped); n > 0 {
		line = append(line, seg{"  +" + strconv.Itoa(n), dim})
	}
	return line
}
