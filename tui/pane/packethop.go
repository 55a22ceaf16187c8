package pane

import (
	"cmp"
	"net"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// hopDetail is the hop at which the packet is: where, what came in and what
// went out, and what decided. Mapped says that the map shows what is wrapped
// around it.
func (p Pen) hopDetail(v *view.PacketStage, w int, open, mapped bool) [][]seg {
	h := v.Row()
	switch {
	case h == nil && v.Hidden:
		return [][]seg{{{p.L.T("packet.beyond"), dim}}}
	case h == nil:
		return [][]seg{{{p.L.T("packet.notyet"), dim}}}
	}
	mark := seg{here(strconv.Itoa(h.N)), keyed}
	if v.Now < 0 { // the packet is in another leg
		mark = seg{"(" + strconv.Itoa(h.N) + ")", dim}
	}
	head := []seg{mark, {" " + p.clean(h.Ground) + " ", strong}}
	if h.Pod != "" {
		head = append(head, seg{p.L.T("packet.pod", "name", p.clean(h.Pod)) + " ", strong})
	}
	head = append(head, seg{p.clean(h.Place) + "  ", code})
	head = append(head, p.hopNote(h)...)
	if h.Inferred {
		head = append(head, seg{"  " + p.L.T("packet.inferred"), dim})
	}
	if h.Owner != nil {
		head = append(head, seg{"  " + view.Name(*h.Owner), title})
	}
	out := [][]seg{head}
	parts := v.Differs != nil && v.Differs.N == h.N
	if parts {
		out = append(out, p.forecast(v, w)...)
	}
	out = append(out, p.headers(h, w)...)
	out = append(out, p.decided(h, w, mapped)...)
	if len(h.Skipped) > 0 {
		out = append(out, p.passed(h, w, open)...)
	}
	if !parts {
		out = append(out, p.forecast(v, w)...)
	}
	if v.CT != nil && h.CT == nil {
		out = append(out, p.conntrack(v.CT, w)...)
	}
	if v.Hidden && v.Now == len(v.Rows)-1 {
		out = append(out, []seg{{p.L.T("packet.beyond"), dim}})
	} else if !v.Hidden {
		out = append(out, p.unseen(v, w)...)
	}
	return out
}

// unseen is what could not be seen of the packet's way.
func (p Pen) unseen(v *view.PacketStage, w int) (out [][]seg) {
	for _, n := range v.Notes {
		for _, l := range text.Wrap(p.clean(p.L.Says(n)), max(10, w-2)) {
			out = append(out, []seg{{p.G.Dot + " ", dim}, {l, dim}})
		}
	}
	return out
}

// headers is the packet before and after the hop; once if nothing changed.
func (p Pen) headers(h *view.HopRow, w int) [][]seg {
	label := func(key string) seg { return seg{text.Pad(p.L.T(key), 4) + " ", dim} }
	in := []seg{label("packet.in"), {p.flow(h.In), plain}}
	if h.In.Src == h.Out.Src && h.In.Dst == h.Out.Dst {
		line := []seg{label("packet.on"), {p.flow(h.Out), plain}}
		return [][]seg{append(line, p.fields(h)...)}
	}
	out := []seg{label("packet.out")}
	out = append(out, p.changedFlow(h)...)
	out = append(out, p.fields(h)...)
	if used := width(in) + width(out) + 4; used <= w {
		return [][]seg{append(append(in, seg{"  " + p.G.To + "  ", dim}), out...)}
	}
	return [][]seg{in, out}
}

func width(line []seg) (n int) {
	for _, s := range line {
		n += text.Width(s.s)
	}
	return n
}

// flow is source and destination. A packet without a route has got no source yet.
func (p Pen) flow(h step.HopHeader) string {
	return cmp.Or(p.clean(h.Src), "?") + " > " + p.clean(h.Dst)
}

// changedFlow is flow with what changed marked by a sign and a colour.
func (p Pen) changedFlow(h *view.HopRow) []seg {
	end := func(s string, changed bool) seg {
		if changed {
			return seg{p.G.Busy + p.clean(s), held.B()}
		}
		return seg{p.clean(s), plain}
	}
	return []seg{end(h.Out.Src, h.In.Src != h.Out.Src), {" > ", plain}, end(h.Out.Dst, h.In.Dst != h.Out.Dst)}
}

// fields are the other fields of the headers, those that changed as before →
// after.
func (p Pen) fields(h *view.HopRow) []seg {
	var out []seg
	num := func(name string, before, after int, changed bool) {
		switch {
		case changed && before != after && before != 0:
			out = append(out, seg{"  " + name + " " + strconv.Itoa(before) + p.G.To + strconv.Itoa(after), held})
		case after != 0:
			out = append(out, seg{"  " + name + " " + strconv.Itoa(after), dim})
		}
	}
	if h.Out.Flags != "" {
		out = append(out, seg{"  " + p.clean(h.Out.Flags), code})
	}
	num("ttl", h.In.TTL, h.Out.TTL, h.Has("ttl"))
	if h.Out.Mark != 0 || h.Has("mark") {
		st := dim
		if h.Has("mark") {
			st = held
		}
		out = append(out, seg{"  mark 0x" + strconv.FormatUint(uint64(h.Out.Mark), 16), st})
	}
	if h.Outer == nil {
		num("len", 0, h.Out.Len, false)
	}
	return out
}

// decided is the rule, the route, the entry or the connection by which the hop
// went as it did, and what is wrapped around the packet.
func (p Pen) decided(h *view.HopRow, w int, mapped bool) [][]seg {
	var out [][]seg
	if h.Rule != nil && h.Rule.Text != "" {
		n := ""
		if h.Rule.N > 0 {
			n = " #" + strconv.Itoa(h.Rule.N)
		}
		lead := p.L.T("packet.rule") + n + " "
		said := h.Rule.Text
		if h.Verdict == "unknown" { // no rule, but why none can be named
			said = p.L.Says(said)
		}
		for i, l := range text.Wrap(p.clean(said), max(20, w-text.Width(lead))) {
			if i > 0 {
				lead = strings.Repeat(" ", text.Width(lead))
			}
			if i < 2 {
				out = append(out, []seg{{lead, dim}, {l, code}})
			}
		}
	}
	if h.Outer != nil && !mapped {
		out = append(out, p.nested(h))
	}
	if h.CT != nil {
		out = append(out, p.conntrack(h.CT, w)...)
	}
	if h.Drop != nil {
		lead := p.G.Bad + " "
		for _, l := range text.Wrap(p.clean(p.L.Says(h.Drop.Says)), max(10, w-2)) {
			out = append(out, []seg{{lead, bad}, {l, bad}})
			lead = "  "
		}
		for _, e := range h.Drop.Evidence {
			out = append(out, []seg{{"  " + p.G.Dot + " " + p.clean(p.L.Says(e)), dim}})
		}
	}
	return out
}

// nested is a packet within a packet.
func (p Pen) nested(h *view.HopRow) []seg {
	src, _ := hostPort(h.Outer.Src)
	dst, port := hostPort(h.Outer.Dst)
	kind := "UDP"
	switch {
	case port != "":
		kind = "UDP " + port
	case h.Outer.Kind == "vxlan":
		kind = "UDP 8472"
	}
	line := []seg{{"[" + p.clean(kind+" "+src+">"+dst) + " ", title}, {"[" + p.clean(h.Out.Src) + ">" + p.clean(h.Out.Dst) + "]", plain}, {"]", title}}
	if h.Outer.VNI != 0 {
		line = append(line, seg{"  VNI " + strconv.Itoa(h.Outer.VNI), dim})
	}
	return line
}

// hostPort divides "10.0.0.1:80"; an address alone has no port.
func hostPort(s string) (host, port string) {
	if host, port, err := net.SplitHostPort(s); err == nil {
		return host, port
	}
	return s, ""
}

// conntrack is a connection; on two lines if its addresses are long.
func (p Pen) conntrack(c *step.HopCT, w int) [][]seg {
	orig := []seg{{p.L.T("packet.ct") + " ", dim}, {p.clean(c.Orig), plain}}
	reply := []seg{{"  " + p.L.T("packet.ct.reply") + " ", dim}, {p.clean(c.Reply), plain}}
	if c.Status != "" {
		reply = append(reply, seg{"  " + p.clean(c.Status), code})
	}
	if width(orig)+width(reply) <= w {
		return [][]seg{append(orig, reply...)}
	}
	return [][]seg{orig, reply}
}

// passed is the rules that did not match, folded or not.
func (p Pen) passed(h *view.HopRow, w int, open bool) [][]seg {
	out := [][]seg{{{p.L.T("packet.passed", "n", strconv.Itoa(len(h.Skipped))), dim}}}
	if !open {
		out[0] = append(out[0], seg{"  " + p.L.T("packet.unfold"), dim})
		return out
	}
	for _, r := range h.Skipped {
		out = append(out, []seg{{"  #" + text.Pad(strconv.Itoa(r.N), 3), dim}, {text.Cut(p.clean(r.Text), max(10, w-6)), dim}})
	}
	return out
}

// hopNote is what happened at a hop, in a few words.
func (p Pen) hopNote(h *view.HopRow) []seg {
	again := func(list ...seg) []seg {
		if h.Attempt > 1 {
			list = append(list, seg{"  " + p.L.T("packet.again", "n", strconv.Itoa(h.Attempt)), held})
		}
		return list
	}
	switch h.Layer {
	case step.LayerDrop:
		if h.Drop != nil {
			return again(seg{p.G.Bad + " " + p.reason(h.Drop), bad})
		}
		return again(seg{p.G.Bad, bad})
	case step.LayerRule:
		return again(p.verdict(h)...)
	case step.LayerRoute:
		return again(p.routeNote(h.Route)...)
	case step.LayerConntrack:
		if h.CT != nil {
			return again(seg{p.clean(h.CT.Status), code})
		}
	case step.LayerNeighbour:
		return again(p.neighNote(h.Neigh)...)
	case step.LayerEncap:
		return again(seg{p.L.T("packet.encap"), title})
	case step.LayerDecap:
		return again(seg{p.L.T("packet.decap"), title})
	case step.LayerSocket:
		return again(seg{p.L.T("packet.socket"), good})
	case step.LayerLink:
		word := "packet.dir." + h.Dir
		if h.Dir == "" {
			return again()
		}
		list := []seg{{p.L.T(word), plain}}
		if h.Peer != "" {
			list = append(list, seg{" " + p.G.To + " " + p.clean(strings.TrimPrefix(h.Peer, "pod/")), dim})
		}
		return again(list...)
	}
	return again()
}

func (p Pen) verdict(h *view.HopRow) []seg {
	switch h.Verdict {
	case "":
		return nil
	case "jump", "goto":
		return []seg{{p.G.To + " " + p.clean(h.Jump), plain}}
	case "drop", "reject":
		return []seg{{p.G.Bad + " " + strings.ToUpper(h.Verdict), bad}}
	case "dnat", "snat", "masquerade", "mark":
		return []seg{{p.G.Busy + " " + strings.ToUpper(h.Verdict), held}}
	case "unknown":
		return []seg{{"?", held}}
	}
	return []seg{{strings.ToUpper(p.clean(h.Verdict)), good}}
}

func (p Pen) routeNote(r *step.HopRoute) []seg {
	switch {
	case r == nil:
		return nil
	case r.Type == "none" || r.Dev == "" && r.Type == "unicast":
		return []seg{{p.L.T("packet.noroute"), bad}}
	case r.Type == "local":
		return []seg{{p.L.T("packet.local"), good}}
	case r.Dev == "":
		return []seg{{p.clean(r.Type + " " + r.Dst), bad}}
	case r.Via != "":
		return []seg{{p.clean(r.Dst), plain}, {" " + p.G.To + " " + p.clean(r.Dev), strong}, {" " + p.L.T("packet.via", "via", p.clean(r.Via)), dim}}
	}
	return []seg{{p.clean(r.Dst), plain}, {" " + p.G.To + " " + p.clean(r.Dev), strong}}
}

func (p Pen) neighNote(n *step.HopNeigh) []seg {
	if n == nil {
		return nil
	}
	if n.Found == "" {
		return []seg{{p.clean(n.Key) + " " + p.G.To + " ", plain}, {p.L.T("packet.noneigh"), bad}}
	}
	return []seg{{p.clean(n.Key) + " " + p.G.To + " ", plain}, {p.clean(n.Found), strong}}
}
