package pane

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// callsShown is how many calls of a pod's network its page lists.
const callsShown = 4

// podCalls is how the pod's network was called: a line for each call, those of
// plugins within; unfolded with all that was said.
func (p Pen) podCalls(v *view.PodPage, open bool, w int) [][]seg {
	if v.Hides.Calls {
		return p.veiled("podpage.cni")
	}
	var out [][]seg
	for i, c := range v.Calls {
		if i == callsShown {
			out = append(out, []seg{{p.L.T("cluster.more", "n", strconv.Itoa(len(v.Calls)-i)), dim}})
			break
		}
		out = append(out, p.callLines(c, open, 0, w)...)
	}
	note := p.L.T("podpage.unfold")
	if open {
		note = p.L.T("podpage.fold")
	}
	return p.section("podpage.cni", note, out)
}

func (p Pen) callLines(c *view.CNICall, open bool, depth, w int) [][]seg {
	lead := strings.Repeat("  ", min(depth, 4))
	g, st := p.G.Good, good
	switch {
	case c.Running:
		g, st = p.G.Busy, busy
	case c.Wrong != "":
		g, st = p.G.Bad, bad
	}
	name := string(c.Verb)
	if c.Plugin != "" {
		name = p.clean(c.Plugin)
	}
	line := []seg{{lead + g + " ", st}, {name + "  ", strong}}
	if depth == 0 {
		line = append(line, seg{p.L.T("podpage.at", "at", clock(c.At)) + "  ", dim})
	}
	if took := view.Took(c.Took); took != "" {
		line = append(line, seg{took + "  ", dim})
	}
	line = append(line, seg{p.clean(strings.Join(c.Addresses, " ")), code})
	switch {
	case c.Running:
		line = append(line, seg{p.L.T("podpage.noanswer"), busy})
	case c.Wrong != "" && c.Code != 0:
		line = append(line, seg{p.L.T("podpage.code", "code", strconv.FormatUint(uint64(c.Code), 10)), bad})
	}
	out := [][]seg{line}
	say := func(s string, style canvas.Style) {
		for _, l := range text.Wrap(p.clean(s), max(12, w-len(lead)-4)) {
			out = append(out, []seg{{lead + "    " + l, style}})
		}
	}
	if c.Wrong != "" && len(c.Within) == 0 || c.Wrong != "" && open {
		say(c.Wrong, bad)
	}
	if open {
		out = append(out, p.callSaid(c, lead+"  ", true, w)...)
	}
	for _, in := range c.Within {
		out = append(out, p.callLines(in, open, depth+1, w)...)
	}
	if open {
		out = append(out, p.callSaid(c, lead+"  ", false, w)...)
	}
	return out
}

// callSaid is what a call read, or what it answered.
func (p Pen) callSaid(c *view.CNICall, lead string, read bool, w int) [][]seg {
	var out [][]seg
	text := func(key string, lines []string) {
		if len(lines) == 0 {
			return
		}
		out = append(out, []seg{{lead + p.L.T(key), title}})
		for _, l := range lines {
			out = append(out, []seg{{lead + "  " + p.clean(l), code}})
		}
	}
	pretty := func(raw json.RawMessage) []string { return view.JSONLines(raw, max(20, w-len(lead)-2)) }
	if read {
		if c.Plugin != "" {
			how := p.L.T("podpage.inprocess")
			if c.Program != "" {
				how = p.clean(c.Program)
			}
			out = append(out, []seg{{lead + how, dim}})
		}
		text("podpage.env", c.Env)
		key := "podpage.stdin"
		if c.Plugin == "" {
			key = "podpage.config"
		}
		text(key, pretty(c.Read))
		return out
	}
	text("podpage.answered", pretty(c.Answered))
	text("podpage.stdout", lines(c.Stdout))
	text("podpage.stderr", lines(c.Stderr))
	return out
}

// lines are the lines of a text; none of an empty one.
func lines(s string) []string {
	if s = strings.TrimRight(s, "\n"); s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
