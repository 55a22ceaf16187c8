package lessons

import (
	"slices"
	"strconv"
)

// Hint is a hint, of a step or of one of its goals.
type Hint struct {
	Text `yaml:",inline"`
	// For is the check that it is about; when that is reached, the hint is not
	// given any more. In a lesson that is graded it costs points there.
	For string `yaml:"for"`
}

// graded tells whether goals of the lesson are worth points.
func (l *Lesson) graded() bool { return l.worth() > 0 }

// worth is how many points there are.
func (l *Lesson) worth() (n int) {
	for _, st := range l.Steps {
		for _, c := range st.Checks {
			n += c.Points
		}
	}
	return n
}

// points is what a goal is worth after the hints about it that were taken:
// nothing if klab has mended it.
func (l *Lesson) points(st *Step, c *Check, taken []int, mended []string) int {
	if slices.Contains(mended, c.ID) {
		return 0
	}
	n := c.Points
	for _, k := range taken {
		if k < len(st.Hints) && st.Hints[k].For == c.ID {
			n -= l.HintCosts
		}
	}
	return max(n, 0)
}

// earned is what a goal has brought.
func (s *Session) earned(i, k int) int {
	st := s.lesson.Steps[i]
	if !slices.Contains(s.learner[i].reached, st.Checks[k].ID) {
		return 0
	}
	return s.lesson.points(st, &st.Checks[k], s.learner[i].hints, s.learner[i].mended)
}

// score is how many points the learner has.
func (s *Session) score() (n int) {
	for i, st := range s.lesson.Steps {
		for k := range st.Checks {
			n += s.earned(i, k)
		}
	}
	return n
}

// goalText words a goal, and what it is worth or has brought.
func (s *Session) goalText(i, k int, lang string) string {
	c := &s.lesson.Steps[i].Checks[k]
	if c.Points == 0 {
		return c.Text.In(lang)
	}
	l := &s.learner[i]
	n, key := s.lesson.points(s.lesson.Steps[i], c, l.hints, l.mended), "grade.worth"
	if slices.Contains(l.mended, c.ID) {
		return word(lang, "grade.mended", "text", c.Text.In(lang), "all", strconv.Itoa(c.Points))
	}
	if slices.Contains(l.reached, c.ID) {
		key = "grade.earned"
	}
	return word(lang, key, "text", c.Text.In(lang), "n", strconv.Itoa(n), "all", strconv.Itoa(c.Points))
}

// result words the points of a lesson that is graded.
func (s *Session) result(lang string) string {
	n, all := s.score(), s.lesson.worth()
	return word(lang, "grade.result", "n", strconv.Itoa(n), "all", strconv.Itoa(all), "grade", word(lang, "grade."+Grade(n, all)))
}

// Grade is a for 90 of 100 points, b for 75, c for 60, and d for less.
func Grade(n, of int) string {
	switch {
	case 100*n >= 90*of:
		return "a"
	case 100*n >= 75*of:
		return "b"
	case 100*n >= 60*of:
		return "c"
	}
	return "d"
}

// left are the hints of a step that may still be taken.
func (s *Session) left(i int) (list []int) {
	l := &s.learner[i]
	for k, h := range s.lesson.Steps[i].Hints {
		if !slices.Contains(l.hints, k) && !slices.Contains(l.reached, h.For) {
			list = append(list, k)
		}
	}
	return list
}

// hint takes the next hint.
func (s *Session) hint() {
	if list := s.left(s.look); len(list) > 0 {
		l := &s.learner[s.look]
		l.hints = append(l.hints, list[0])
		s.progress.note(Entry{Lesson: s.lesson.ID, Step: s.lesson.Steps[s.look].ID, Kind: Hinted, N: list[0] + 1})
	}
}

// handIn is what a learner does who goes on with open goals in a lesson that
// is graded: who asks for it twice hands in what is done.
func (s *Session) handIn() (handed bool) {
	l, st := &s.learner[s.at], s.lesson.Steps[s.at]
	if s.host == nil || s.busy || !s.ready || !st.acts() || !s.lesson.graded() {
		return false
	}
	if l.asked = true; !l.handing {
		l.handing = true
		return false
	}
	l.handed = true
	s.progress.note(Entry{Lesson: s.lesson.ID, Step: st.ID, Kind: Handed})
	return true
}
