package tui

import (
	"strconv"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/view"
)

// do carries out an action.
func (m *Model) do(a keys.Action) tea.Cmd {
	switch a {
	case keys.Quit:
		return tea.Quit
	case keys.Step, keys.Back, keys.Forward, keys.Play, keys.Speed, keys.PrevMark, keys.NextMark, keys.First, keys.Last, keys.ZoomIn, keys.ZoomOut:
		return m.travel(a)
	case keys.Fail:
		return m.pickSelected(step.How{Kind: step.Fail})
	case keys.Drop:
		return m.pickSelected(step.How{Kind: step.Drop})
	case keys.Delay:
		return m.pickSelected(step.How{Kind: step.Delay, Delay: step.Seconds(delayBy)})
	case keys.Crash:
		return m.pickSelected(step.How{Kind: step.Crash})
	case keys.Next:
		if m.onPacket() && !m.lv.CanNext {
			m.turnLeg()
			return nil
		}
		return m.act(lesson.Next)
	case keys.Hint, keys.Check, keys.Reset, keys.Prev, keys.Teach:
		return m.act(map[keys.Action]lesson.Act{keys.Hint: lesson.Hint, keys.Check: lesson.Check, keys.Reset: lesson.Reset,
			keys.Prev: lesson.Prev, keys.Teach: lesson.Reveal}[a])
	case keys.Enter:
		return m.enter()
	case keys.Mark:
		return m.command(func(c Control) error { return c.Mark(m.ctx, "#"+strconv.FormatUint(m.eye(), 10)) })
	case keys.Copy:
		return m.copy()
	case keys.Shell:
		return m.shell()
	}
	if !m.walkTo(a) {
		m.turnTo(a)
	}
	m.place()
	return nil
}

// walkTo carries out what has a meaning of its own while a packet's way or a
// pod is shown; it returns whether it was that.
func (m *Model) walkTo(a keys.Action) bool {
	switch a {
	case keys.Send:
		m.askPacket()
		return true
	case keys.Break:
		m.openCards()
		return true
	}
	if a == keys.Rules && m.stage == podPage {
		m.unfold, m.skip[layout.Stage] = !m.unfold, 0
		return true
	}
	if !m.onPacket() {
		return false
	}
	switch a {
	case keys.Up:
		m.hop(-1)
	case keys.Down:
		m.hop(1)
	case keys.PageUp:
		m.hop(-10)
	case keys.PageDown:
		m.hop(10)
	case keys.Rules:
		m.way.open = !m.way.open
	default:
		return false
	}
	return true
}

// turnTo carries out what only changes the looks.
func (m *Model) turnTo(a keys.Action) {
	switch a {
	case keys.View:
		m.turn((m.stage + 1) % stages)
	case keys.Max:
		m.max = !m.max
	case keys.Why:
		if m.focus == layout.Inspect {
			m.focus = layout.Stage
		} else {
			m.focus = layout.Inspect
		}
	case keys.Focus:
		m.nextFocus(1)
	case keys.Unfocus:
		m.nextFocus(-1)
	case keys.Up:
		m.scroll(m.focus, -1)
	case keys.Down:
		m.scroll(m.focus, 1)
	case keys.PageUp:
		m.scroll(m.focus, -max(1, m.panes[m.focus].H-3))
	case keys.PageDown:
		m.scroll(m.focus, max(1, m.panes[m.focus].H-3))
	case keys.Language:
		m.lang = m.lang.Other()
		m.look()
	case keys.Help:
		m.over = helping
		m.page.SetContentLines(nil)
		m.page.GotoTop()
	case keys.Palette:
		m.over, m.chosen = commanding, 0
		m.line.open(commanding, "")
	case keys.Filter:
		m.over = filtering
		m.line.open(filtering, m.filter)
		if m.stage != objects && m.stage != events && m.stage != reconcile {
			m.turn(objects)
		}
	case keys.Close:
		switch {
		case m.max:
			m.max = false
		case m.filter != "":
			m.filter = ""
		case m.stage == podPage && m.focus == layout.Stage:
			m.turn(m.back)
		case m.live && m.at != 0:
			m.at, m.playing = 0, false
		}
	}
}

// small tells whether panes share one place, so that the focus chooses.
func (m *Model) small() bool { return m.w < 100 || m.h < 28 }

func (m *Model) nextFocus(n int) {
	order := layout.Order(m.panes)
	if m.small() || m.max {
		order = []layout.Pane{layout.Stage, layout.Pending, layout.Inspect}
		if m.lesson != nil {
			order = append([]layout.Pane{layout.Lesson}, order...)
		}
	}
	at := 0
	for i, p := range order {
		if p == m.focus {
			at = i
		}
	}
	if len(order) > 0 {
		m.focus = order[(at+n+len(order))%len(order)]
	}
}

// scroll moves the selection or the text of a pane.
func (m *Model) scroll(p layout.Pane, n int) {
	switch {
	case p == layout.Pending:
		rows := len(m.waiting().Rows)
		m.sel[p] = min(max(0, m.sel[p]+n), max(0, rows-1))
	case p == layout.Stage && m.stage == objects && (n > 1 || n < -1):
		m.skip[p] = max(0, m.skip[p]+n)
	case p == layout.Ran, p == layout.Stage && (m.stage == objects || m.stage == reconcile):
		m.sel[p] = min(max(0, m.sel[p]+n), m.rows(p)-1)
		m.sel[p] = max(0, m.sel[p])
		if p == layout.Stage {
			m.skip[p] = 0
		}
	case p == layout.Stage && m.stage == events:
		m.skip[p] = max(0, m.skip[p]-n)
	default:
		m.skip[p] = max(0, m.skip[p]+n)
	}
}

// rows is how many rows a list has.
func (m *Model) rows(p layout.Pane) int {
	switch {
	case p == layout.Ran:
		return len(m.state().Ran)
	case m.stage == objects:
		return len(view.NewObjects(m.state(), m.mask, m.filter).Rows)
	}
	return len(view.NewLoops(m.state(), m.mask, m.filter).Rows)
}
