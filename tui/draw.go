package tui

import (
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/view"
)

func tickMsg(time.Time) tea.Msg { return playMsg{} }

// drawn is a pane as it was drawn for a key.
type drawn struct {
	key    paneKey
	canvas *canvas.Canvas
}

// paneKey is everything that a pane's looks depend on.
type paneKey struct {
	w, h      int
	lang      i18n.Lang
	eye, last uint64
	mode      string
	focus     bool
	digits    bool
	stage     stage
	sel, skip int
	lesson    int
	answer    pane.Answering
	filter    string
	picked    int
	pending   int // selected there
	pod       fold.Key
	unfold    bool
	way       way
	zoom      step.Zoom
}

// View implements tea.Model.
func (m *Model) View() tea.View {
	if m.frame == "" {
		c := m.draw()
		m.frame, m.cursor = c.Render(m.theme), nil
		if c.Typing {
			m.cursor = tea.NewCursor(c.X, c.Y)
		}
	}
	v := tea.NewView(m.frame)
	v.Cursor = m.cursor
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "klab"
	return v
}

// draw makes a frame.
func (m *Model) draw() *canvas.Canvas {
	c := canvas.New(m.w, m.h)
	c.ASCII = m.ascii
	pen := m.pen(c)
	if r, ok := m.panes[layout.TooSmall]; ok {
		pen.TooSmall(r, m.lang.T("toosmall", "w", strconv.Itoa(m.w), "h", strconv.Itoa(m.h)))
		return c
	}
	for _, p := range []layout.Pane{layout.Stage, layout.Lesson, layout.Pending, layout.Inspect, layout.Timeline, layout.Ran} {
		if r, ok := m.panes[p]; ok && !r.Empty() {
			m.paneOnto(c, p, r)
		}
	}
	pen.Header(m.panes[layout.Header], m.header())
	if m.said != "" {
		pen.Said(m.panes[layout.Hints], m.said, m.wrong)
	} else {
		pen.Hints(m.panes[layout.Hints], m.hints())
	}
	body := m.body()
	switch m.over {
	case helping:
		m.drawHelp(pen, body)
	case commanding:
		c.Cursor(pen.Palette(body, m.line.input(), m.matching(), m.chosen))
	case filtering:
		c.Cursor(pen.Filter(m.panes[layout.Hints], m.line.input()))
	case choosingCard:
		pen.Cards(body, m.cardPage())
	case naming:
		m.drawNames(pen, body)
	case reading:
		m.drawOutput(pen, body)
	}
	return c
}

func (m *Model) paneOnto(c *canvas.Canvas, p layout.Pane, r canvas.Rect) {
	k := paneKey{
		w: r.W, h: r.H, lang: m.lang, eye: m.eye(), last: m.history.Last(), mode: m.mode(), focus: m.focus == p, digits: m.digitsPick(),
		stage: m.stage, sel: m.sel[p], skip: m.skip[p], lesson: m.lvAt, answer: m.answer, filter: m.filter, picked: len(m.picked),
		zoom: m.grain(), pending: m.sel[layout.Pending], pod: m.pod, unfold: m.unfold, way: m.way,
	}
	if p == layout.Inspect {
		k.sel = m.sel[layout.Stage]
		k.digits = m.focus == layout.Pending
	}
	old, ok := m.cached[p]
	if !ok || old.key != k {
		old = drawn{k, canvas.New(r.W, r.H)}
		old.canvas.ASCII = m.ascii
		m.drawPane(m.pen(old.canvas), p, old.canvas.All())
		m.cached[p] = old
	}
	c.Copy(r.X, r.Y, old.canvas)
}

func (m *Model) drawPane(pen pane.Pen, p layout.Pane, r canvas.Rect) {
	focus := m.focus == p
	switch p {
	case layout.Stage:
		m.drawStage(pen, r, focus)
	case layout.Lesson:
		in := pen.C.Box(r, pen.G, m.lang.T("pane.lesson"), focus)
		if m.small() && !focus {
			pen.LessonAsks(pad(in), m.lv, m.answer)
			return
		}
		m.skip[p] = min(m.skip[p], pen.Lesson(pad(in), m.lv, m.answer, m.skip[p]))
	case layout.Pending:
		name := m.lang.T("pane.pending")
		if !m.now() {
			name = m.lang.T("pane.waited")
		}
		in := pad(pen.C.Box(r, pen.G, name, focus))
		if m.mask.Pane("pending") {
			pen.Hidden(in)
			return
		}
		pen.Waiting(in, m.waiting(), m.selected(focus), m.digitsPick(), focus && m.digitsPick(), m.whyEmpty())
	case layout.Inspect:
		in := pad(pen.C.Box(r, pen.G, m.lang.T("pane.inspector"), focus))
		if m.mask.Pane("inspector") || m.mask.Pane("why") {
			pen.Hidden(in)
			return
		}
		n := pen.Inspect(in, m.inspect(), m.skip[p])
		m.skip[p] = min(m.skip[p], max(0, n-in.H))
	case layout.Timeline:
		in := r
		if r.H >= 5 {
			in = pen.C.Box(r, pen.G, m.lang.T("pane.timeline"), focus)
		}
		m.drawTimeline(pen, in)
	case layout.Ran:
		in := r
		if r.H > 1 {
			in = pad(pen.C.Box(r, pen.G, m.lang.T("pane.ran"), focus))
		} else {
			in.X, in.W = in.X+1, in.W-2
		}
		if m.mask.Pane("ran") {
			pen.Hidden(in)
			return
		}
		pen.Ran(in, view.NewRan(m.state(), m.mask, max(in.H, m.sel[p]+in.H)), m.sel[p])
	}
}

// pad leaves a column free at both sides.
func pad(r canvas.Rect) canvas.Rect {
	return canvas.Rect{X: r.X + 1, Y: r.Y, W: max(0, r.W-2), H: r.H}
}
