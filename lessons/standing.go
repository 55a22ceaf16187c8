package lessons

import (
	"slices"
	"time"
)

// Standing is how a learner stands in a lesson: in its newest run, and at best.
type Standing struct {
	Lesson   string     `json:"lesson"` // its id
	Number   string     `json:"number"`
	Title    Text       `json:"title"`
	State    string     `json:"state"` // new, begun, finished
	Step     int        `json:"step,omitempty"`
	Steps    int        `json:"steps"`
	Began    *time.Time `json:"began,omitempty"`
	Finished *time.Time `json:"finished,omitempty"` // last
	Goals    []Reach    `json:"goals,omitempty"`
	Points   int        `json:"points,omitempty"` // of a lesson that is graded
	Of       int        `json:"of,omitempty"`
	Grade    string     `json:"grade,omitempty"` // a to d, when it is finished
	Best     int        `json:"best,omitempty"`  // points of the best finished run

	Asked   int `json:"asked,omitempty"`   // questions that were answered, not skipped
	Right   int `json:"right,omitempty"`   // of these, as it then came out
	Certain int `json:"certain,omitempty"` // wrong ones that the learner was certain of
	Hints   int `json:"hints,omitempty"`
}

// Reach is a goal of a lesson, and whether it is reached.
type Reach struct {
	ID     string `json:"id"`
	Done   bool   `json:"done"`
	Points int    `json:"points,omitempty"`
	Of     int    `json:"of,omitempty"`
}

// Standings is how the learner whose entries these are stands in each lesson.
func Standings(list []*Lesson, entries []Entry) []Standing {
	out := make([]Standing, 0, len(list))
	for _, l := range list {
		out = append(out, l.standing(entries))
	}
	return out
}

func (l *Lesson) standing(entries []Entry) Standing {
	t := Standing{Lesson: l.ID, Number: l.Number(), Title: l.Title, State: "new", Steps: len(l.Steps), Of: l.worth()}
	var run []Entry
	for _, e := range entries {
		switch {
		case e.Lesson != l.ID:
			continue
		case e.Kind == Began:
			run, t.State, t.Began = nil, "begun", &e.Time
		case e.Kind == Finished:
			t.State, t.Finished = "finished", &e.Time
			_, points := l.reach(run)
			t.Best = max(t.Best, points)
		}
		run = append(run, e)
	}
	t.Goals, t.Points = l.reach(run)
	if t.State == "finished" && t.Of > 0 {
		t.Grade = Grade(t.Points, t.Of)
	}
	l.answers(run, &t)
	return t
}

// reach is the goals of a run, and what they have brought.
func (l *Lesson) reach(run []Entry) (list []Reach, points int) {
	for _, st := range l.Steps {
		var taken []int
		var mended []string
		for _, e := range run {
			if e.Step == st.ID && e.Kind == Mended {
				mended = append(mended, e.Goal)
			}
			if e.Step == st.ID && e.Kind == Hinted && !slices.Contains(taken, e.N-1) {
				taken = append(taken, e.N-1)
			}
		}
		for k := range st.Checks {
			c := &st.Checks[k]
			r := Reach{ID: c.ID, Of: c.Points, Done: slices.ContainsFunc(run, func(e Entry) bool {
				return e.Kind == Reached && e.Step == st.ID && e.Goal == c.ID
			})}
			if r.Done {
				r.Points = l.points(st, c, taken, mended)
			}
			list, points = append(list, r), points+r.Points
		}
	}
	return list, points
}

// answers counts what was answered in a run.
func (l *Lesson) answers(run []Entry, t *Standing) {
	said := map[string]Entry{}
	for _, e := range run {
		switch e.Kind {
		case Entered:
			t.Step = max(t.Step, 1+slices.IndexFunc(l.Steps, func(st *Step) bool { return st.ID == e.Step }))
		case Hinted:
			t.Hints++
		case Answered:
			if said[e.Step] = e; e.Choice != "" {
				t.Asked++
			}
		case Seen:
			switch a := said[e.Step]; {
			case a.Choice == "":
			case a.Choice == e.Choice:
				t.Right++
			case a.Sure == 3:
				t.Certain++
			}
		}
	}
	if t.State != "new" {
		t.Step = max(t.Step, 1)
	}
}
