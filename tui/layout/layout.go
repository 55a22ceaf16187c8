// Package layout divides the screen among the panes.
//
// There are two nouns: a [Pane] is a name, an [Ask] is what decides where
// panes go. Start at [Of], which is pure: the same Ask gives the same
// rectangles, they never overlap and never leave the screen.
package layout

import "github.com/klab-project/klab/tui/canvas"

// Pane names a part of the screen.
type Pane string

const (
	Header   Pane = "header"
	Stage    Pane = "stage"
	Lesson   Pane = "lesson"
	Pending  Pane = "pending"
	Inspect  Pane = "inspector"
	Timeline Pane = "timeline"
	Ran      Pane = "ran"
	Hints    Pane = "hints"
	TooSmall Pane = "toosmall"
)

// Ask is what decides where panes go.
type Ask struct {
	W, H   int
	Lesson bool // there is one
	Prompt int  // rows that the lesson would like to have, in a strip
	Waits  bool // something waits to be picked, and the lesson asks nothing
	Focus  Pane
	Max    bool // the pane with the focus takes everything
}

// The smallest screen.
const (
	MinW = 60
	MinH = 18
)

// Of places the panes.
func Of(a Ask) map[Pane]canvas.Rect {
	if a.W < MinW || a.H < MinH {
		return map[Pane]canvas.Rect{TooSmall: {X: 0, Y: 0, W: max(a.W, 0), H: max(a.H, 0)}}
	}
	m := map[Pane]canvas.Rect{Header: {X: 0, Y: 0, W: a.W, H: 1}, Hints: {X: 0, Y: a.H - 1, W: a.W, H: 1}}
	body := canvas.Rect{X: 0, Y: 1, W: a.W, H: a.H - 2}
	switch {
	case a.Max:
		m[orStage(a)] = body
	case a.W >= 140 && a.H >= 40:
		large(m, a, body)
	case a.W >= 100 && a.H >= 28:
		medium(m, a, body)
	default:
		small(m, a, body)
	}
	return m
}

func orStage(a Ask) Pane {
	switch a.Focus {
	case Lesson, Pending, Inspect, Timeline, Ran:
		return a.Focus
	}
	return Stage
}

// bottom cuts n rows from the lower edge of r.
func bottom(r *canvas.Rect, n int) canvas.Rect {
	n = min(n, r.H)
	r.H -= n
	return canvas.Rect{X: r.X, Y: r.Y + r.H, W: r.W, H: n}
}

// right cuts n columns from the right edge of r.
func right(r *canvas.Rect, n int) canvas.Rect {
	r.W -= n
	return canvas.Rect{X: r.X + r.W, Y: r.Y, W: n, H: r.H}
}

// small is one stage over a strip, and two lines. The strip is what the lesson
// asks, unless there is something to pick.
func small(m map[Pane]canvas.Rect, a Ask, body canvas.Rect) {
	m[Ran] = bottom(&body, 1)
	m[Timeline] = bottom(&body, 1)
	rows := min(max(body.H/3, 6), 8)
	strip := Pending
	switch {
	case a.Lesson && a.Focus == Lesson:
		strip, rows = Lesson, min(max(a.Prompt+2, 6), body.H-9)
	case a.Lesson && a.Focus != Pending && !a.Waits:
		strip, rows = Lesson, min(max(a.Prompt+2, 6), 8)
	}
	m[strip] = bottom(&body, rows)
	if a.Focus == Inspect {
		m[Inspect] = body
		return
	}
	m[Stage] = body
}

// medium is the stage beside a column, over the lesson and what ran.
func medium(m map[Pane]canvas.Rect, a Ask, body canvas.Rect) {
	m[Ran] = bottom(&body, 4)
	m[Timeline] = bottom(&body, 2)
	if a.Lesson {
		rows := min(max(a.Prompt+2, 5), body.H*9/20)
		m[Lesson] = bottom(&body, rows)
	}
	column := right(&body, min(max(a.W*3/8, 40), 50))
	m[Inspect] = bottom(&column, column.H/2)
	m[Pending] = column
	m[Stage] = body
}

// large is everything at once.
func large(m map[Pane]canvas.Rect, a Ask, body canvas.Rect) {
	m[Ran] = bottom(&body, 5)
	m[Timeline] = bottom(&body, 10)
	column := right(&body, min(max(a.W*3/10, 44), 64))
	m[Inspect] = bottom(&column, column.H*3/5)
	m[Pending] = column
	if a.Lesson {
		w := min(max(a.W/4, 40), 60)
		m[Lesson] = canvas.Rect{X: body.X, Y: body.Y, W: w, H: body.H}
		body.X, body.W = body.X+w, body.W-w
	}
	m[Stage] = body
}

// Order is the order in which the focus goes through the panes that are there.
func Order(m map[Pane]canvas.Rect) []Pane {
	var list []Pane
	for _, p := range []Pane{Lesson, Stage, Pending, Inspect, Timeline, Ran} {
		if r, ok := m[p]; ok && r.H > 1 {
			list = append(list, p)
		}
	}
	return list
}
