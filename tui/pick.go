package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/view"
)

var runIt = step.How{Kind: step.Run}

// delayBy is how long d delays, on the lab clock.
const delayBy = 5 * time.Second

func (m *Model) waiting() *view.Pending { return view.NewPending(m.state(), m.mask, m.picked) }

// pick lets the n-th of what waits go on.
func (m *Model) pick(n int, how step.How) tea.Cmd {
	switch {
	case !m.live || m.control == nil:
		m.complain("say.replay")
		return nil
	case m.at != 0:
		m.complain("say.past")
		return nil
	}
	rows := m.waiting().Rows
	if n < 0 || n >= len(rows) {
		m.complain("say.nothing")
		return nil
	}
	id := rows[n].ID
	m.picked[id] = true
	m.sel[layout.Pending] = min(m.sel[layout.Pending], max(0, len(rows)-2))
	if how.Kind == step.Delay {
		m.say("say.delayed", "d", view.Took(how.Delay))
	}
	return func() tea.Msg { return pickedMsg{id, m.control.Pick(m.ctx, id, how)} }
}

func (m *Model) pickSelected(how step.How) tea.Cmd { return m.pick(m.sel[layout.Pending], how) }

// enter runs the selected action, locks an answer, or does what the lesson asks.
func (m *Model) enter() tea.Cmd {
	if m.focus != layout.Lesson || m.lesson == nil {
		if m.focus == layout.Pending {
			return m.pickSelected(runIt)
		}
		if m.onPacket() {
			m.nextPacket()
		} else if m.focus == layout.Stage {
			m.enterStage()
		}
		return nil
	}
	switch q := m.lv.Prompt; {
	case q.Open():
		return m.lock()
	case m.lv.Do != nil && !m.lv.Do.Done && !m.lv.Do.Busy:
		return m.act(lesson.Do)
	case m.lv.CanNext:
		return m.act(lesson.Next)
	}
	return nil
}

func (m *Model) lock() tea.Cmd {
	switch {
	case m.answer.Choice < 0:
		m.complain("lesson.surefirst")
		return nil
	case m.answer.Sure == 0:
		m.complain("lesson.choose")
		return nil
	}
	if err := m.lesson.Answer(m.answer.Choice, m.answer.Sure); err != nil {
		m.complain("say.failed", "err", err.Error())
	}
	m.look()
	if q := m.lv.Prompt; q != nil && q.Locked && q.Answer < 0 && (m.lv.Do == nil || m.lv.Do.Done) {
		m.focus = layout.Pending
		if !m.live {
			m.focus = layout.Stage
		}
		m.place()
	}
	return nil
}

// act asks the lesson for something.
func (m *Model) act(what lesson.Act) tea.Cmd {
	if m.lesson == nil {
		m.complain("say.nolesson")
		return nil
	}
	if (what == lesson.Do || what == lesson.Next || what == lesson.Reset) && m.live && m.at != 0 { // what happens is to be seen
		m.at, m.playing = 0, false
		m.follow()
	}
	l, ctx := m.lesson, m.ctx
	acted := func() tea.Msg { return actedMsg{l.Act(ctx, what)} }
	if what == lesson.Do && !m.live && !m.playing { // a recording of it plays
		return tea.Batch(acted, m.play())
	}
	return acted
}

// command passes something on to the lab.
func (m *Model) command(f func(Control) error) tea.Cmd {
	if m.control == nil {
		m.complain("say.replay")
		return nil
	}
	c := m.control
	return func() tea.Msg { return doneMsg{f(c)} }
}

// run runs a kubectl line.
func (m *Model) run(line string) tea.Cmd {
	if m.control == nil {
		m.complain("say.replay")
		return nil
	}
	c, ctx := m.control, m.ctx
	return func() tea.Msg {
		out, err := c.Run(ctx, line)
		return ranMsg{line, out, err}
	}
}

func (m *Model) copy() tea.Cmd {
	rows := view.NewRan(m.state(), m.mask, m.sel[layout.Ran]+1).Rows
	if len(rows) <= m.sel[layout.Ran] || rows[m.sel[layout.Ran]].Hidden {
		m.complain("ran.none")
		return nil
	}
	line := rows[m.sel[layout.Ran]].Text
	m.say("say.copied", "line", line)
	return tea.SetClipboard(line)
}
