package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
)

// Header is the first line.
type Header struct {
	Mode    string // live, paused, past, replay
	Playing bool
	Lesson  string
	Step    int
	Steps   int
	RV, Now int64
	Seq     uint64
	Last    uint64
	At      step.Seconds
	Held    bool
	Rate    float64
	Zoom    step.Zoom
	Lost    bool
}

// Header draws the first line: where you are in the lesson and in time.
func (p Pen) Header(r canvas.Rect, h Header) {
	bar := canvas.As(canvas.Bar)
	p.C.Fill(r, " ", bar)
	modes := map[string]canvas.Role{"live": canvas.Live, "paused": canvas.Paused, "past": canvas.Past, "replay": canvas.Replay}
	var right []string
	rv := p.L.T("head.rev", "rv", strconv.FormatInt(h.RV, 10))
	if h.Mode == "past" {
		rv = p.L.T("head.pastrev", "rv", strconv.FormatInt(h.RV, 10), "now", strconv.FormatInt(h.Now, 10))
	}
	right = append(right, rv, p.L.T("head.event", "seq", strconv.FormatUint(h.Seq, 10), "last", strconv.FormatUint(h.Last, 10)))
	clock := p.L.T("head.clock", "at", strconv.FormatFloat(h.At.Duration().Seconds(), 'f', 3, 64)+" s")
	switch {
	case h.Held:
		clock += " (" + p.L.T("head.held") + ")"
	case h.Rate != 1 && h.Rate > 0:
		clock += " " + p.L.T("head.rate", "rate", strconv.FormatFloat(h.Rate, 'f', -1, 64))
	}
	right = append(right, clock, p.L.T("head.zoom."+strconv.Itoa(int(h.Zoom))))

	x := p.C.Text(r, 0, " klab ", bar.B())
	mode := " " + p.L.T("mode."+h.Mode) + " "
	if h.Playing {
		mode += p.G.Right + " "
	}
	x = p.C.Put(r, x, r.Y, mode, canvas.As(modes[h.Mode]))
	if h.Lost {
		x = p.C.Put(r, x, r.Y, " "+p.L.T("head.lost")+" ", bad.R())
	}
	count, progress := "", ""
	if h.Steps > 0 {
		count = p.L.T("head.step", "n", strconv.Itoa(h.Step), "all", strconv.Itoa(h.Steps)) + "  "
		n := min(h.Steps, 12)
		full := h.Step * n / h.Steps
		progress = strings.Repeat(p.G.Full, full) + strings.Repeat(p.G.Empty, n-full)
	}
	p.place(canvas.Rect{X: x + 1, Y: r.Y, W: r.X + r.W - x - 1, H: 1}, p.clean(h.Lesson), count, progress, right)
}

// place puts into the rest of the header what there is room for: the lesson
// and where it is, the facts at the right edge, the progress; in that order.
func (p Pen) place(r canvas.Rect, name, count, progress string, facts []string) {
	bar := canvas.As(canvas.Bar)
	need := 0
	if name != "" {
		need = min(text.Width(name), 24) + text.Width(count) + 3
	}
	tail := ""
	for _, f := range facts {
		if t := tail + f + "  "; need+text.Width(t) <= r.W {
			tail = t
		}
	}
	p.C.Put(r, r.X+r.W-text.Width(tail)+1, r.Y, tail, bar)
	r.W -= text.Width(tail)
	if name == "" {
		return
	}
	x := p.line(r, 0, seg{" " + text.Cut(name, max(0, r.W-text.Width(count)-3)) + "  ", bar.B()}, seg{count, bar})
	if x+text.Width(progress) <= r.X+r.W {
		p.C.Put(r, x, r.Y, progress, bar)
	}
}

// Hint is a key and what it does.
type Hint struct{ Key, Word string }

// Hints draws the last line: as many hints as fit. The first is never cut.
func (p Pen) Hints(r canvas.Rect, list []Hint) {
	x := r.X + 1
	for _, h := range list {
		if n := text.Width(h.Key) + text.Width(h.Word) + 1; x+n > r.X+r.W {
			continue
		}
		x = p.C.Put(r, x, r.Y, h.Key, keyed)
		x = p.C.Put(r, x, r.Y, " "+h.Word+"  ", dim)
	}
}

// Said draws a message in place of the hints, and of the lines above them if
// it is long.
func (p Pen) Said(r canvas.Rect, s string, wrong bool) {
	g, st := p.G.Good, good
	if wrong {
		g, st = p.G.Bad, bad
	}
	lines := text.Wrap(p.clean(s), r.W-4)
	lines = lines[:min(len(lines), 4)]
	r.Y, r.H = r.Y-len(lines)+1, len(lines)
	p.C.Fill(r, " ", plain)
	for i, l := range lines {
		if i > 0 {
			g = " "
		}
		p.line(r, i, seg{" " + g + " ", st}, seg{l, plain})
	}
}

// Tabs draws the names of the views into the upper side of the stage's frame.
func (p Pen) Tabs(r canvas.Rect, names []string, at int, digits bool) {
	total := 0
	for _, n := range names {
		total += text.Width(n) + 4
	}
	x := r.X
	for i, n := range names {
		if i != at && total > r.W {
			n = ""
			if !digits {
				continue
			}
		}
		st := dim
		if i == at {
			st = title.R()
		}
		label := " "
		if digits {
			label += strconv.Itoa(i+1) + " "
		}
		if n != "" {
			label += n + " "
		}
		x = p.C.Put(r, x, r.Y, label, st)
	}
}
