package tui

import (
	"fmt"
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/keys"
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
	zoom      step.Zoom
}

// View implements tea.Model.
func (m *Model) View() tea.View {
	if m.frame == "" {
		m.frame = m.draw().Render(m.theme)
	}
	v := tea.NewView(m.frame)
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
	body := canvas.Rect{X: 0, Y: 1, W: m.w, H: m.h - 2}
	switch m.over {
	case helping:
		pen.Help(body, m.overSkip)
	case commanding:
		pen.Palette(body, m.input, m.matching(), m.chosen)
	case filtering:
		pen.Filter(m.panes[layout.Hints], m.input)
	case reading:
		pen.Output(body, m.outName, m.output, m.overSkip)
	}
	return c
}

func (m *Model) paneOnto(c *canvas.Canvas, p layout.Pane, r canvas.Rect) {
	k := paneKey{
		w: r.W, h: r.H, lang: m.lang, eye: m.eye(), last: m.history.Last(), mode: m.mode(), focus: m.focus == p, digits: m.digitsPick(),
		stage: m.stage, sel: m.sel[p], skip: m.skip[p], lesson: m.lvAt, answer: m.answer, filter: m.filter, picked: len(m.picked),
		zoom: m.grain(), pending: m.sel[layout.Pending],
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
		pen.Lesson(pad(in), m.lv, m.answer, m.skip[p])
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

// selected is the selected row of what waits, -1 if the list has no keys.
func (m *Model) selected(focus bool) int {
	if !focus || !m.now() {
		return -1
	}
	return m.sel[layout.Pending]
}

// pad leaves a column free at both sides.
func pad(r canvas.Rect) canvas.Rect {
	return canvas.Rect{X: r.X + 1, Y: r.Y, W: max(0, r.W-2), H: r.H}
}

// whyEmpty says why nothing waits.
func (m *Model) whyEmpty() string {
	switch m.mode() {
	case "replay":
		return m.lang.T("pending.replay")
	case "past":
		return m.lang.T("pending.none") + " " + m.lang.T("pending.past")
	case "live":
		return m.lang.T("pending.running")
	}
	if m.state().Busy() {
		return m.lang.T("pending.busy")
	}
	return m.lang.T("pending.idle")
}

func (m *Model) drawStage(pen pane.Pen, r canvas.Rect, focus bool) {
	in := pad(pen.C.Box(r, pen.G, "", focus))
	pen.Tabs(canvas.Rect{X: r.X + 2, Y: r.Y, W: r.W - 4, H: 1}, m.tabs(), int(m.stage), !m.digitsPick() && !m.choosing())
	s := m.state()
	if m.mask.Pane([stages]string{"stage", "reconcile", "network", "objects", "log"}[m.stage]) {
		pen.Hidden(in)
		return
	}
	sel, skip := m.sel[layout.Stage], m.skip[layout.Stage]
	switch m.stage {
	case cluster:
		pen.Cluster(in, view.NewCluster(s, m.mask))
	case reconcile:
		pen.Loops(in, view.NewLoops(s, m.mask, m.filter), marked(sel, focus))
	case network:
		n := pen.Network(in, view.NewNetwork(s, m.mask), skip)
		m.skip[layout.Stage] = min(skip, max(0, n-in.H))
	case objects:
		list := view.NewObjects(s, m.mask, m.filter)
		yaml := m.yaml(s, list, sel)
		m.skip[layout.Stage] = min(skip, max(0, len(yaml)-3))
		pen.Objects(in, list, sel, yaml, m.filter, m.skip[layout.Stage])
	case events:
		pen.Log(in, m.log(in.H+skip), m.filter)
	}
}

// choosing tells whether digits answer a prediction.
func (m *Model) choosing() bool { return m.focus == layout.Lesson && m.lv.Prompt.Open() }

func marked(sel int, focus bool) int {
	if !focus {
		return -1
	}
	return sel
}

func (m *Model) tabs() []string {
	list := make([]string, stages)
	for i, k := range stageKeys {
		list[i] = m.lang.T(k)
	}
	return list
}

// log is a window of events that ends skip rows before the eye.
func (m *Model) log(n int) *view.Log {
	l := view.NewLog(m.history, m.mask, m.eye(), n, m.filter, m.grain() == step.Finest)
	if skip := min(m.skip[layout.Stage], max(0, len(l.Rows)-1)); skip > 0 {
		l.Rows = l.Rows[:len(l.Rows)-skip]
	}
	return l
}

func (m *Model) yaml(s *fold.State, list *view.Objects, sel int) []string {
	if sel >= len(list.Rows) {
		return nil
	}
	o := s.Objects[list.Rows[max(sel, 0)].Key]
	if o == nil {
		return nil
	}
	return view.YAML(m.mask.Value(o.Resource, o.Value, ""))
}

// inspect chooses what to explain: the selected held action, the selected
// object, or what happened at this moment.
func (m *Model) inspect() *view.Inspect {
	s := m.state()
	seq := m.eye()
	switch {
	case m.stage == objects && m.focus != layout.Pending:
		list := view.NewObjects(s, m.mask, m.filter)
		if sel := m.sel[layout.Stage]; sel < len(list.Rows) {
			seq = s.Objects[list.Rows[sel].Key].Last.Seq
		}
	case m.now() && m.focus == layout.Pending:
		rows := m.waiting().Rows
		if sel := m.sel[layout.Pending]; sel < len(rows) && rows[sel].Seq != 0 {
			seq = rows[sel].Seq
		}
	}
	return view.NewInspect(m.history, s, m.mask, seq)
}

func (m *Model) drawTimeline(pen pane.Pen, r canvas.Rect) {
	if m.mask.Pane("timeline") {
		pen.Hidden(r)
		return
	}
	ticks, at := m.track.Window(m.grain(), m.eye(), pen.TimelineRoom(r))
	t := pane.Timeline{Ticks: ticks, At: at, Mask: m.mask, Now: m.lang.T("time.none")}
	if at >= 0 && at < len(ticks) {
		t.Now = m.moment(ticks[at].Seq)
	}
	pen.Timeline(r, t)
}

// moment says in a few words what happened at seq.
func (m *Model) moment(seq uint64) string {
	e := m.history.Event(seq)
	if e == nil {
		return ""
	}
	if m.mask.Event(e) {
		return m.lang.T("hidden.word")
	}
	what := m.lang.Verb(e.Verb)
	if e.Verb == step.Mark {
		var d step.MarkDetail
		_ = e.Decode(&d)
		return fmt.Sprintf("#%d %s: %s", e.Seq, what, d.Name)
	}
	s := fmt.Sprintf("#%d %s: %s %s", e.Seq, view.Actor(e.Actor, e.Node), what, view.Name(e.Object))
	if e.Err != "" {
		s += "  " + e.Err
	}
	return s
}

func (m *Model) header() pane.Header {
	s := m.state()
	h := pane.Header{
		Mode: m.mode(), Playing: m.playing, RV: s.RV, Now: m.history.Now().RV, Seq: m.eye(), Last: m.history.Last(),
		At: s.At, Held: s.Held, Rate: s.Rate, Zoom: m.grain(), Lost: m.lost != nil,
	}
	if m.lesson != nil {
		h.Lesson, h.Step, h.Steps = m.lv.Number+" "+m.lv.Title, m.lv.Step, m.lv.Steps
	}
	return h
}

// hints are the keys that matter now, the most important first.
func (m *Model) hints() []pane.Hint {
	t := func(key string) string { return m.lang.T("short." + key) }
	show := func(a keys.Action) string { return keys.Show(a) }
	list := []pane.Hint{{Key: show(keys.Help), Word: t("help")}}
	add := func(key, word string) {
		if name := "keyname." + key; i18n.Has(name) {
			key = m.lang.T(name)
		}
		list = append(list, pane.Hint{Key: key, Word: t(word)})
	}
	if m.choosing() {
		add("a-d", "choose")
		add("1-3", "sure")
		add("enter", "lock")
		add("tab", "focus")
	}
	if m.focus == layout.Lesson && !m.choosing() && m.lv.Do != nil && !m.lv.Do.Done {
		add("enter", "do")
	}
	if m.lv.CanNext && !m.lv.Prompt.Open() {
		add(show(keys.Next), "next")
	}
	switch m.mode() {
	case "paused":
		add("space", "step")
		if m.digitsPick() {
			add("1-9", "pick")
		}
		add(show(keys.Back), "back")
		add(show(keys.Play), "run")
	case "live":
		add("space", "pause")
		add(show(keys.Back), "back")
	case "past":
		add("space", "step")
		add(show(keys.Back), "back")
		add(show(keys.Last), "now")
	default:
		add("space", "step")
		add(show(keys.Back), "back")
		add(show(keys.Play), "play")
	}
	if !m.digitsPick() && !m.choosing() {
		add("1-5", "views")
	} else {
		add(show(keys.View), "views")
	}
	add(show(keys.Why), "why")
	if !m.choosing() {
		add("tab", "focus")
	}
	if m.lesson != nil && m.lv.Left > 0 {
		add(show(keys.Hint), "hint")
	}
	add(show(keys.Palette), "cmd")
	add("[ ]", "marks")
	add(show(keys.Filter), "filter")
	add(show(keys.Copy), "copy")
	add(show(keys.Language), "lang")
	add(show(keys.Quit), "quit")
	return list
}
