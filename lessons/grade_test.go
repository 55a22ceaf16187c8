package lessons_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/tui/lesson"
)

// graded is a lesson with two goals in one step, worth points, and a report.
func graded(t *testing.T) *lessons.Lesson {
	second := twoTurns[strings.Index(twoTurns, "```check\nid: two"):]
	source := strings.Replace(front, "order: 1", "order: 1\nhintCosts: 5", 1) + twoTurns[:strings.Index(twoTurns, "## second")] + second + `
` + block("hint", "- {for: one, en: h1, zh: h1}\n- {for: two, en: h2, zh: h2}\n- {for: two, en: h3, zh: h3}") + `
## end

:::en
a
:::

:::zh
a
:::
`
	return parsed(t, strings.NewReplacer("id: one\n", "id: one\npoints: 25\n", "id: two\n", "id: two\npoints: 25\n").Replace(source))
}

func TestGrade(t *testing.T) {
	l := graded(t)
	dir := t.TempDir()
	take := func(name string) (*course, *lessons.Session, *lessons.Progress) {
		p, err := lessons.OpenProgress(dir, name)
		require.NoError(t, err)
		c := &course{}
		c.session = lessons.Begin(l, c, p)
		require.NoError(t, c.session.Begin(t.Context()))
		return c, c.session, p
	}
	c, s, p := take("first")
	c.runs("two") // in any order
	v := s.View("en")
	require.Equal(t, []bool{false, true}, []bool{v.Checks[0].Done, v.Checks[1].Done})
	require.Equal(t, "t (25 of 25 points)", v.Checks[1].Text)
	require.Equal(t, 1, v.Left, "hints about what is reached are not given any more")
	require.NoError(t, s.Act(t.Context(), lesson.Hint))
	v = s.View("zh")
	require.Equal(t, []string{"h1"}, v.Hints)
	require.Equal(t, "t（20 分）", v.Checks[0].Text)
	require.NoError(t, s.Act(t.Context(), lesson.Next))
	require.Equal(t, 1, s.View("en").Step, "who goes on with open goals is asked first")
	require.Contains(t, s.View("en").Waiting, "n again hands in")
	require.NoError(t, s.Act(t.Context(), lesson.Next))
	v = s.View("en")
	require.Equal(t, 2, v.Step)
	require.Equal(t, "25 of 50 points, grade D.", v.Result)
	require.Len(t, v.Checks, 2)
	c.runs("one") // too late
	require.Equal(t, "25 of 50 points, grade D.", s.View("en").Result)

	standing := func() lessons.Standing {
		entries, err := p.Entries()
		require.NoError(t, err)
		return lessons.Standings([]*lessons.Lesson{l}, entries)[0]
	}
	got := standing()
	require.Equal(t, []lessons.Reach{{ID: "one", Of: 25}, {ID: "two", Done: true, Points: 25, Of: 25}}, got.Goals)
	require.Equal(t, "finished d", got.State+" "+got.Grade)
	require.Equal(t, []int{25, 50, 25, 1}, []int{got.Points, got.Of, got.Best, got.Hints})

	c, s, p = take("second")
	require.NoError(t, s.Act(t.Context(), lesson.Hint))
	c.runs("one")
	c.runs("two")
	require.NoError(t, s.Act(t.Context(), lesson.Next))
	require.Equal(t, "45 of 50 points, grade A.", s.View("en").Result)
	got = standing()
	require.Equal(t, []int{45, 45}, []int{got.Points, got.Best})

	c, s, p = take("third")
	c.runs("one")
	got = standing()
	require.Equal(t, "begun", got.State)
	require.Equal(t, []int{25, 45}, []int{got.Points, got.Best})
	require.Empty(t, got.Grade)
	require.NotNil(t, got.Finished)
	require.False(t, s.View("en").Done)
}

// What klab mends brings no points, but for what it mends after it was repaired,
// and when the lesson begins.
func TestMendedBringsNoPoints(t *testing.T) {
	l := graded(t)
	l.Steps[0].Checks[0].Card, l.Steps[0].Checks[1].Card = "case-1", "case-2"
	dir := t.TempDir()
	c := &course{}
	faults := func(verb step.Verb, cards ...string) {
		c.happen(func() {
			for _, card := range cards {
				c.add(7, step.PhaseBegin, verb, step.Object{Resource: "faults", Name: card}, step.FaultDetail{ID: card, Card: card})
				c.add(7, step.PhaseEnd, verb, step.Object{Resource: "faults", Name: card}, step.FaultDetail{ID: card, Card: card})
			}
		})
	}
	open := func() *lessons.Progress {
		p, err := lessons.OpenProgress(dir, "lab")
		require.NoError(t, err)
		s, _, err := lessons.Open(l, c, p)
		require.NoError(t, err)
		s.Follow(nil, c.list)
		c.session = s
		return p
	}
	open()
	faults(step.Mend, "case-1", "case-2")
	require.NoError(t, c.session.Begin(t.Context()))
	faults(step.Break, "case-1", "case-2")
	faults(step.Mend, "case-1")
	require.Equal(t, "t (25 points)", c.session.View("en").Checks[1].Text)
	require.Equal(t, "t (0 of 25 points: klab mended it)", c.session.View("en").Checks[0].Text)
	c.runs("one")
	c.runs("two")
	faults(step.Mend, "case-2") // it is repaired: this only tidies up
	p := open()
	require.Equal(t, "t（25 分得 0 分：是 klab 修好的）", c.session.View("zh").Checks[0].Text)
	require.NoError(t, c.session.Act(t.Context(), lesson.Next))
	require.Equal(t, "25 of 50 points, grade D.", c.session.View("en").Result)
	entries, err := p.Entries()
	require.NoError(t, err)
	require.Equal(t, []lessons.Reach{{ID: "one", Done: true, Of: 25}, {ID: "two", Done: true, Points: 25, Of: 25}},
		lessons.Standings([]*lessons.Lesson{l}, entries)[0].Goals)
}

// Progress goes to another machine and back, and nothing is there twice.
func TestProgressIsCarried(t *testing.T) {
	l := graded(t)
	p, err := lessons.OpenProgress(t.TempDir(), "lab")
	require.NoError(t, err)
	c := &course{}
	c.session = lessons.Begin(l, c, p)
	require.NoError(t, c.session.Begin(t.Context()))
	mine, err := p.Entries()
	require.NoError(t, err)
	require.NotEmpty(t, mine)
	dir := t.TempDir()
	other, err := lessons.OpenProgress(dir, "lab")
	require.NoError(t, err)
	for _, want := range []int{len(mine), 0} {
		n, err := other.Import(mine)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	got, err := other.Entries()
	require.NoError(t, err)
	require.Equal(t, mine, got)

	// Whoever takes a lesson has the file.
	lessons.Begin(l, &course{}, other)
	again, err := lessons.OpenProgress(dir, "lab")
	require.NoError(t, err)
	_, err = again.Import(mine)
	require.ErrorIs(t, err, lessons.ErrTaken)
	lessons.Begin(l, &course{}, again) // another one as well
	require.NoError(t, errors.Join(other.Err(), again.Err()))
}
