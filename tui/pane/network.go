package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// netColumn is the least width of a node's network beside another's.
const netColumn = 34

// Network draws the nodes' links, addresses and routes, side by side where
// there is room; skip rows are scrolled away. It returns how many rows there
// are.
func (p Pen) Network(r canvas.Rect, v *view.Network, skip int) int {
	if len(v.Nodes) == 0 {
		p.say(r, 0, p.L.T("net.none"), dim)
		return 1
	}
	if r.W >= netColumn*len(v.Nodes) {
		rows := 0
		for i, col := range split(r, len(v.Nodes)) {
			in := pad(p.C.Box(col, p.G, p.clean(v.Nodes[i].Name), false))
			lines := p.netLines(v.Nodes[i], in.W)
			p.rows(in, lines, skip)
			rows = max(rows, len(lines)+2)
		}
		return rows
	}
	var lines [][]seg
	for _, n := range v.Nodes {
		lines = append(lines, []seg{{p.clean(n.Name), title}})
		for _, l := range p.netLines(n, r.W-2) {
			lines = append(lines, append([]seg{{"  ", plain}}, l...))
		}
	}
	p.rows(r, lines, skip)
	return len(lines)
}

// netLines is a node's network in lines of at most w cells.
func (p Pen) netLines(n view.NetNode, w int) [][]seg {
	var out [][]seg
	for i := range n.Faults {
		out = append(out, []seg{{p.G.Bad + " ", bad}, {p.faultShort(&n.Faults[i]), bad}})
	}
	for i, l := range n.Links {
		last := i+1 == len(n.Links) || n.Links[i+1].Lead == nil && !n.Links[i+1].Port
		out = append(out, p.link(l, last, w)...)
	}
	for _, d := range n.Pods {
		address := p.clean(d.Address)
		if address == "" {
			address = p.L.T("net.noaddress")
		}
		out = append(out, []seg{{p.G.Last + " ", dim}, {text.Middle(view.Short(p.clean(d.Name)), max(12, w-text.Width(address)-3)) + " ", plain}, {address, code}})
	}
	if n.Backend != "" {
		out = append(out, []seg{{p.L.T("net.backend", "backend", p.clean(n.Backend)), title}})
	}
	for _, d := range n.Peers {
		last := p.clean(d.Underly)
		if c := d.Carried; c != nil {
			last = p.L.T("net.carried", "out", strconv.FormatUint(c.OutPackets, 10), "in", strconv.FormatUint(c.InPackets, 10))
		}
		out = append(out, whole(w, []seg{{p.G.To + " ", held}, {p.L.T("net.peer", "subnet", p.clean(d.Subnet), "peer", p.clean(d.Peer)), plain}, {"  " + last, dim}}))
	}
	if len(n.Routes) > 0 {
		out = append(out, nil, []seg{{p.L.T("net.routes"), title}})
	}
	for _, d := range n.Routes {
		out = append(out, p.route(d, w))
	}
	return out
}

func (p Pen) link(l view.NetLink, last bool, w int) [][]seg {
	g, st := p.G.Good, good
	if !l.Up {
		g, st = p.G.None, dim
	}
	name, address := p.clean(l.Name), p.clean(strings.Join(l.Addresses, "  "))
	if l.Fault != nil {
		g, st = p.G.Bad, bad
		name += " " + p.faultShort(l.Fault)
	}
	if l.Lead == nil && !l.Port {
		kind := p.clean(l.Type)
		if l.VNI != 0 {
			kind += " " + strconv.Itoa(l.VNI)
		}
		return [][]seg{whole(w, []seg{{g + " ", st}, {text.Pad(name, 10) + " ", strong}, {text.Pad(address, 15) + " ", code}, {kind, dim}})}
	}
	branch, under := p.G.Tree, p.G.V
	if last {
		branch, under = p.G.Last, " "
	}
	head := []seg{{branch + " ", dim}, {g + " ", st}, {name, plain}}
	if l.Lead == nil {
		return [][]seg{append(head, seg{"  " + address, code})}
	}
	at := p.clean(l.Lead.Address)
	if at == "" {
		at = p.L.T("net.noaddress")
	}
	pod := view.Short(p.clean(l.Lead.Name))
	if w >= 60 {
		return [][]seg{append(head, seg{" " + p.G.To + " ", dim}, seg{pod + "  ", strong}, seg{at, code})}
	}
	return [][]seg{append(head, seg{" " + p.G.To + " ", dim}, seg{at, code}), {{under + "   ", dim}, {text.Middle(pod, max(12, w-4)), plain}}}
}

// route is a route: where there is no room the neighbour is left out.
func (p Pen) route(d step.NodeRoute, w int) []seg {
	dst, dev := p.clean(d.Dst), p.clean(d.Dev)
	line := dst
	if d.Via != "" {
		line = p.L.T("net.via", "dst", dst, "via", p.clean(d.Via))
	}
	if text.Width(line)+2+text.Width(dev) > w {
		line = dst
	}
	return []seg{{line + "  ", plain}, {dev, dim}}
}

// whole is the line without its last piece if that would be cut.
func whole(w int, line []seg) []seg {
	used := 0
	for _, s := range line {
		used += text.Width(s.s)
	}
	if used > w {
		return line[:len(line)-1]
	}
	return line
}
