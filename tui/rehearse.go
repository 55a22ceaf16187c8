package tui

import (
	"context"
	"fmt"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
)

// Rehearse plays a lesson from its recording, at the sizes and in the
// languages that it is read in, as a learner would who predicts everything
// wrong. It returns what does not fit onto a screen, and where the lesson does
// not go on.
func Rehearse(ctx context.Context, l *lessons.Lesson, events []*step.Event) (list []string) {
	for _, a := range []struct {
		w, h int
		lang i18n.Lang
	}{{80, 24, i18n.English}, {80, 24, i18n.Chinese}, {120, 36, i18n.English}, {140, 40, i18n.Chinese}} {
		s := lessons.NewSession(l, nil, nil)
		m := New(ctx, Config{Source: silence{}, Lesson: s, Lang: a.lang, Start: l.Start(events)})
		m.w, m.h = a.w, a.h
		m.place()
		m.receive(events)
		list = append(list, m.rehearse(s, fmt.Sprintf("%d×%d in %s", a.w, a.h, a.lang))...)
	}
	return list
}

// silence is a source that has nothing more to give.
type silence struct{}

func (silence) Live() bool          { return false }
func (silence) Header() step.Header { return step.Header{} }
func (silence) Next(ctx context.Context, _ uint64) ([]*step.Event, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (m *Model) rehearse(s *lessons.Session, at string) (list []string) {
	for range 4 * m.lv.Steps {
		m.draw()
		for _, row := range m.pen(nil).LessonWide(m.lv, m.answer, m.panes[layout.Lesson].W-4) {
			list = append(list, fmt.Sprintf("step %d, %s: too wide: %s", m.lv.Step, at, row))
		}
		step, eye, open := m.lv.Step, m.eye(), m.lv.Prompt.Open()
		switch {
		case open:
			_ = s.Answer(s.WrongChoice(), 3) // the choice is one of the question's own
		case m.lv.Done:
			return list
		case m.lv.CanNext:
			if err := s.Act(m.ctx, lesson.Next); err != nil {
				return append(list, fmt.Sprintf("step %d, %s: %v", m.lv.Step, at, err))
			}
		default:
			m.goTo(m.history.Last())
		}
		m.follow()
		if m.lv.Step == step && m.eye() == eye && m.lv.Prompt.Open() == open {
			return append(list, fmt.Sprintf("step %d, %s: it does not go on: %s", step, at, m.lv.Waiting))
		}
	}
	return append(list, at+": it does not end")
}
