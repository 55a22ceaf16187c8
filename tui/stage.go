package tui

import (
	"fmt"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/view"
)

// selected is the selected row of what waits, -1 if the list has no keys.
func (m *Model) selected(focus bool) int {
	if !focus || !m.now() {
		return -1
	}
	return m.sel[layout.Pending]
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
	if m.mask.Pane(m.stageName()) {
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
		m.drawNetwork(pen, in)
	case objects:
		list := view.NewObjects(s, m.mask, m.filter)
		yaml := m.yaml(s, list, sel)
		m.skip[layout.Stage] = min(skip, max(0, len(yaml)-3))
		pen.Objects(in, list, sel, yaml, m.filter, m.skip[layout.Stage])
	case events:
		pen.Log(in, m.log(in.H+skip), m.filter)
	case podPage:
		n := pen.Pod(in, view.NewPodPage(s, m.mask, m.podKey()), m.unfold, skip)
		m.skip[layout.Stage] = min(skip, max(0, n-in.H))
		pen.Beyond(r, m.skip[layout.Stage], max(0, n-in.H-m.skip[layout.Stage]))
	}
}

// stageName is what lessons call what the stage shows.
func (m *Model) stageName() string {
	if m.showsPacket() {
		return "packet"
	}
	return stageNames[m.stage]
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
	if !m.way.nodes && len(m.state().Packets) > 0 {
		list[network] = m.lang.T("pane.packet")
	}
	return list
}

// log is a window of events that ends skip rows before the eye.
func (m *Model) log(n int) *view.Log {
	l := view.NewLog(m.history, m.mask, m.eye(), n, m.filter, m.grain())
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
	case m.showsPacket() && m.focus != layout.Pending:
		return m.inspectHop()
	case m.stage == podPage && m.focus != layout.Pending:
		if o := s.Objects[m.podKey()]; o != nil {
			seq = o.Last.Seq
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
		r.X++
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
	what := m.lang.Verb(view.EventVerb(e))
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
