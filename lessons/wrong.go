package lessons

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klab-project/klab/tui/lesson"
)

// RefuseWrong sees that a step in which the learner acts does not pass before
// anything was done, nor in any of the wrong states that its checks name. Each
// is brought about, looked at for a while, and taken back.
func (s *Session) RefuseWrong(ctx context.Context, l *Live, st *Step, while time.Duration) error {
	i := 0
	for s.lesson.Steps[i] != st {
		i++
	}
	reached := func(k int) func() bool { return func() bool { return s.see.steps[i].checks[k] } }
	refuses := func(k int, when string) error {
		if err := s.Act(ctx, lesson.Check); err != nil {
			return err
		}
		switch err := s.until(ctx, while, reached(k)); {
		case err == nil:
			return fmt.Errorf("the check %q passes %s", st.Checks[k].ID, when)
		case !errors.Is(err, errSlow):
			return err
		}
		for _, lang := range Langs {
			if said := s.View(lang).Checks[k].NotYet; said != st.Checks[k].NotYet.In(lang) {
				return fmt.Errorf("the check %q says %q in %s, not its notyet, %s", st.Checks[k].ID, said, lang, when)
			}
		}
		return nil
	}
	for k := range st.Checks {
		if err := refuses(k, "although nobody solved it"); err != nil {
			return err
		}
	}
	for k, c := range st.Checks {
		for _, w := range c.Wrong {
			if out, err := l.ShellIn(ctx, w.Do, s.lesson); err != nil {
				return fmt.Errorf("bring about the wrong state %q of the check %q: %w: %s", w.Do, c.ID, err, out)
			}
			if err := refuses(k, fmt.Sprintf("in the wrong state %q", w.Do)); err != nil {
				return err
			}
			if out, err := l.ShellIn(ctx, w.Undo, s.lesson); err != nil {
				return fmt.Errorf("take back the wrong state with %q: %w: %s", w.Undo, err, out)
			}
		}
	}
	return nil
}
