package tui

import (
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/view"
)

func hasTimer(s *fold.State, id uint64) bool {
	for _, t := range s.Timers {
		if t.ID == id {
			return true
		}
	}
	return false
}

// eye is the event that is being looked at.
func (m *Model) eye() uint64 {
	if m.at == 0 {
		return m.history.Last()
	}
	return min(m.at, m.history.Last())
}

// now tells whether the eye follows a live lab, so that it can be acted on.
func (m *Model) now() bool { return m.live && m.at == 0 }

// state is what the panes show.
func (m *Model) state() *fold.State { return m.history.At(m.eye()) }

// mode is the word in the header.
func (m *Model) mode() string {
	switch {
	case !m.live:
		return "replay"
	case m.at != 0:
		return "past"
	case m.history.Now().Mode.State == step.Paused:
		return "paused"
	}
	return "live"
}

// grain is how fine the eye's steps are.
func (m *Model) grain() step.Zoom {
	if m.now() {
		return min(max(m.history.Now().Mode.Zoom, step.Coarse), step.Finest)
	}
	return m.zoom
}

// follow tells the lesson what happened, as far as the learner has seen it.
func (m *Model) follow() {
	if m.lesson == nil {
		return
	}
	to := m.history.Last()
	if !m.live {
		to = m.eye()
	}
	if to > m.followed {
		var list []*step.Event
		m.history.Range(m.followed+1, to, func(e *step.Event) bool {
			list = append(list, e)
			return true
		})
		if n := m.lesson.Follow(m.history.At(to), list); n < len(list) {
			to = list[n-1].Seq
			m.at = to
		}
		m.followed = to
	}
	m.look()
}

// look asks the lesson what there is to see.
func (m *Model) look() {
	if m.lesson == nil {
		return
	}
	before := m.lv
	m.lv = m.lesson.View(string(m.lang))
	m.lvAt++
	m.mask = view.NewMask(m.lv.Hide)
	opened := m.lv.Prompt.Open() && (!before.Prompt.Open() || before.Step != m.lv.Step)
	if opened {
		m.answer = pane.Answering{Choice: -1}
		m.focus = layout.Lesson
	}
	if before.Step != m.lv.Step {
		m.skip[layout.Lesson] = 0
		m.focus = layout.Lesson
	}
	if before.Step != m.lv.Step || before.Show != m.lv.Show {
		m.show(m.lv.Show)
	}
	if m.small() && (m.lv.CanNext && !before.CanNext || news(before.Prompt, m.lv.Prompt) && m.lv.Prompt.Answer >= 0) {
		m.focus = layout.Lesson // which is not to be seen otherwise
	}
	m.place()
	if news(before.Prompt, m.lv.Prompt) || before.Step != m.lv.Step {
		m.readOn()
	} else if printed(before, m.lv) {
		m.toLastRow()
	} else if moved(before.Do, m.lv.Do) {
		m.readOn()
	} else if before.Waiting != "" && m.lv.Waiting != "" && before.Waiting != m.lv.Waiting && m.lv.Prompt == nil {
		m.toLastRow() // which says what for
	}
}

// toLastRow scrolls the lesson to its end.
func (m *Model) toLastRow() {
	m.skip[layout.Lesson] = m.pen(nil).LessonRows(m.lv, m.answer, m.panes[layout.Lesson].W-4)
}

// readOn scrolls the lesson to what there is to read or to do.
func (m *Model) readOn() {
	if r := m.panes[layout.Lesson]; m.lesson != nil && !r.Empty() {
		m.skip[layout.Lesson] = m.pen(nil).LessonStart(m.lv, m.answer, r.W-4, r.H-2)
	}
}

// news tells whether there is more to read of a prompt than before.
func news(before, now *lesson.Prompt) bool {
	return now != nil && (before == nil || before.Locked != now.Locked || before.Answer != now.Answer)
}

// moved tells whether there is something else to do than before, or something
// was printed.
func moved(before, now *lesson.Command) bool {
	return before != nil && now != nil && *before != *now
}

// printed tells whether a command has printed something, after its step's
// prediction had been answered: what it explains has been read.
func printed(before, now lesson.View) bool {
	return before.Prompt != nil && !before.Prompt.Quiz && before.Prompt.Answer >= 0 && before.Do != nil && now.Do != nil &&
		now.Do.Before+now.Do.Output != "" && before.Do.Before+before.Do.Output != now.Do.Before+now.Do.Output
}

// show turns to the pane that a lesson is about.
func (m *Model) show(name string) {
	switch name {
	case "packet":
		m.way.nodes, name = false, stageNames[network]
	case stageNames[network]:
		m.way.nodes = true
	}
	for i, k := range stageNames {
		if k == name {
			m.stage = stage(i)
		}
	}
}
