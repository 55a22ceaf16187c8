package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// soon is what happens next with a pod: it stands above everything else.
func (p Pen) soon(v *view.PodPage, w int) [][]seg {
	if v.Hides.Plan {
		return p.veiled("podpage.next")
	}
	if v.Plan == nil {
		return nil
	}
	d := v.Plan
	var lines [][]seg
	g, st, word := p.G.Good, dim, p.L.T("loop.nothing")
	switch {
	case d.Err != "":
		g, st, word = p.G.Bad, bad, p.clean(d.Err)
	case d.Held:
		g, st, word = p.G.Held, held, p.L.T("state.held")
	case len(d.Steps) > 0:
		g, st, word = p.G.Right, plain, p.clean(strings.Join(d.Steps, ", "))
		if d.Running {
			st = busy
		}
	}
	for i, l := range text.Wrap(word, max(10, w-2)) {
		if i > 0 {
			g = " "
		}
		lines = append(lines, []seg{{g + " ", st}, {l, st}})
	}
	for _, t := range d.Waits {
		if len(lines) > 7 {
			break
		}
		if t.Timer {
			due := p.L.T("pending.now")
			if t.Due > 0 {
				due = p.L.T("pending.due", "d", view.Took(t.Due))
			}
			lines = append(lines, []seg{{p.G.Idle + " ", dim}, {due + "  ", code}, {p.L.T(t.For, "verb", p.L.Verb(t.Verb)), plain}})
			continue
		}
		lines = append(lines, []seg{{p.G.Held + " ", held}, {p.L.Verb(t.Verb) + " ", held}, {p.clean(t.Actor), plain}})
	}
	note := p.L.T("podpage.turn", "actor", p.clean(d.Actor), "n", strconv.Itoa(d.Turns), "at", clock(d.At))
	if key := "worker." + d.Worker; p.word(key) != key {
		note += "  " + p.word(key)
	}
	return p.section("podpage.next", note, lines)
}

// podLife is how a pod is doing, and how it came to that.
func (p Pen) podLife(v *view.PodPage, w int) [][]seg {
	var out [][]seg
	if v.Hides.Life {
		out = append(p.veiled("podpage.containers"), p.veiled("podpage.conditions")...)
	} else {
		out = append(p.section("podpage.containers", "", p.containerLines(v, w)), p.section("podpage.conditions", p.L.T("podpage.since"), p.conditionLines(v, w))...)
	}
	if v.Hides.Probes {
		out = append(out, p.veiled("podpage.probes")...)
	} else {
		out = append(out, p.section("podpage.probes", "", p.probeLines(v, w))...)
	}
	if !v.Hides.Life {
		out = append(out, p.section("podpage.history", p.L.T("podpage.clock"), p.historyLines(v, w))...)
	}
	return out
}

// clock is a time on the lab's clock.
func clock(s step.Seconds) string {
	return strconv.FormatFloat(s.Duration().Seconds(), 'f', 3, 64)
}

func (p Pen) containerLines(v *view.PodPage, w int) [][]seg {
	name, word := 4, 8
	for _, c := range v.Containers {
		name = min(max(name, text.Width(p.clean(c.Name))+1), 20)
		word = min(max(word, text.Width(p.word("box."+c.Word))+1), 22)
	}
	var out [][]seg
	for _, c := range v.Containers {
		g, st := p.sign(c.State)
		label := p.clean(c.Word)
		if key := "box." + c.Word; p.word(key) != key {
			label = p.word(key)
		}
		line := []seg{{g + " ", st}, {text.Fit(p.clean(c.Name), name) + " ", strong}, {text.Fit(label, word) + " ", st}}
		if c.Kind != "" {
			line = append(line, seg{p.L.T("podpage.kind."+c.Kind) + " ", dim})
		}
		if c.State == view.Good && !c.Ready {
			line = append(line, seg{p.L.T("state.notready") + " ", held})
		}
		if c.Restarts > 0 {
			line = append(line, seg{p.L.T("podpage.restarts", "n", strconv.FormatInt(c.Restarts, 10)) + " ", plain})
		}
		if c.Exit != nil {
			end := seg{p.L.T("podpage.exit", "code", strconv.FormatInt(*c.Exit, 10), "reason", p.clean(c.Reason)), dim}
			if wide(line)+text.Width(end.s) > w {
				out = append(out, line)
				line = []seg{{"  ", dim}}
			}
			line = append(line, end)
		}
		out = append(out, line)
		if c.Again != nil {
			due := p.L.T("pending.now")
			if *c.Again > 0 {
				due = p.L.T("pending.due", "d", view.Took(*c.Again))
			}
			more := []seg{{"  " + p.L.T("podpage.again") + " ", dim}, {due, held}}
			if c.Backoff != nil {
				more = append(more, seg{"  " + p.L.T("podpage.backoff", "d", view.Took(*c.Backoff)), dim})
			}
			out = append(out, more)
		}
	}
	return out
}

// wide is how many cells a line takes.
func wide(line []seg) int {
	n := 0
	for _, s := range line {
		n += text.Width(s.s)
	}
	return n
}

func (p Pen) conditionLines(v *view.PodPage, w int) [][]seg {
	kind := 10
	for _, c := range v.Conditions {
		kind = min(max(kind, text.Width(p.clean(c.Type))), max(12, min(30, w-19)))
	}
	var out [][]seg
	for _, c := range v.Conditions {
		g, st := p.sign(c.State)
		out = append(out, []seg{{g + " ", st}, {text.Fit(p.clean(c.Type), kind) + " ", strong}, {text.Fit(p.clean(c.Status), 7), st}, {text.Left(clock(c.Since), 8), code}})
		switch room := w - 2 - kind - 1 - 7 - 8 - 2; {
		case c.Reason == "":
		case room >= text.Width(p.clean(c.Reason)) || room >= 12 && c.State != view.Bad:
			last := len(out) - 1
			out[last] = append(out[last], seg{"  " + p.clean(c.Reason), dim})
		case c.State == view.Bad:
			out = append(out, []seg{{"    " + p.clean(c.Reason), dim}})
		}
	}
	return out
}

func (p Pen) probeLines(v *view.PodPage, w int) [][]seg {
	var out [][]seg
	for _, d := range v.Probes {
		st, g := good, p.G.Good
		switch strings.ToLower(d.Result) {
		case "success":
		case "failure":
			st, g = bad, p.G.Bad
		default:
			st, g = held, p.G.Busy
		}
		result := p.clean(d.Result)
		if key := "probe." + strings.ToLower(d.Result); p.word(key) != key {
			result = p.word(key)
		}
		out = append(out, []seg{{g + " ", st}, {p.clean(d.Container) + " ", strong}, {p.probeKind(d) + " ", plain}, {result + " ", st}, {p.streak(d), dim}})
		more := strings.TrimSpace(p.clean(d.How) + " " + p.clean(d.Target))
		if d.Period > 0 {
			more += "  " + p.L.T("probe.every", "d", view.Took(d.Period))
		}
		out = append(out, []seg{{"  " + more, code}})
		if d.Output != "" && strings.ToLower(d.Result) != "success" {
			out = append(out, []seg{{"  " + text.Cut(p.clean(d.Output), max(8, w-2)), dim}})
		}
	}
	return out
}

func (p Pen) probeKind(d fold.Probe) string {
	if key := "probe." + strings.ToLower(d.Kind); p.word(key) != key {
		return p.word(key)
	}
	return p.clean(d.Kind)
}

// streak is since when it has been so, and how often in a row counts if it was
// not yet so often.
func (p Pen) streak(d fold.Probe) string {
	if d.Threshold > 1 && d.Streak < d.Threshold {
		return p.L.T("probe.counts", "at", clock(d.Since), "n", strconv.Itoa(d.Threshold))
	}
	return p.L.T("probe.since", "at", clock(d.Since))
}

// historyLines is what changed, the newest first. Conditions that became the
// same at the same time share a line.
func (p Pen) historyLines(v *view.PodPage, w int) [][]seg {
	var out [][]seg
	last := step.Seconds(-1)
	for i := len(v.History) - 1; i >= 0; i-- {
		t := v.History[i]
		names := p.clean(t.What)
		for ; i > 0 && t.Kind == "condition" && sameTurn(v.History[i-1], t); i-- {
			names = p.clean(v.History[i-1].What) + ", " + names
		}
		at := ""
		if t.At != last {
			at, last = clock(t.At), t.At
		}
		line := []seg{{text.Left(at, 9) + "  ", code}}
		out = append(out, append(line, p.turn(t, names, w-11)...))
	}
	if v.Cut {
		out = append(out, []seg{{text.Left("…", 9), dim}})
	}
	return out
}

func sameTurn(a, b view.Turn) bool { return a.At == b.At && a.Kind == b.Kind && a.To == b.To }

// turn words a change in at most w cells.
func (p Pen) turn(t view.Turn, names string, w int) []seg {
	to := p.clean(t.To)
	switch t.Kind {
	case "phase":
		line := []seg{{p.L.T("podpage.phase") + " ", strong}}
		if t.From != "" {
			line = append(line, seg{p.clean(t.From) + " " + p.G.To + " ", dim})
		}
		return append(line, seg{to, turnStyle(t)})
	case "node":
		return []seg{{p.L.T("podpage.bound") + " ", plain}, {to, code}}
	case "deletion":
		if t.What == "gone" {
			return []seg{{p.L.T("podpage.deletion.gone"), held}}
		}
		return []seg{{p.L.T("podpage.deletion.asked") + " ", held}, {to, held}}
	case "condition":
		return []seg{{text.Cut(names, max(12, w-6)) + " ", plain}, {to, turnStyle(t)}}
	}
	line := []seg{{names + " ", strong}}
	if from := p.clean(t.From); t.From != "" && text.Width(names+from+to)+4 <= w {
		line = append(line, seg{from + " " + p.G.To + " ", dim})
	}
	return append(line, seg{to, turnStyle(t)})
}

func turnStyle(t view.Turn) canvas.Style {
	switch {
	case t.Kind == "phase" && t.To == "Failed":
		return bad
	case t.Kind == "phase":
		return good
	case t.Kind == "condition" && strings.HasPrefix(t.To, "True"), t.Kind == "container" && strings.HasPrefix(t.To, "running"):
		return good
	case t.Kind == "condition", t.Kind == "deletion":
		return held
	}
	return plain
}
