// Package pane draws view models into rectangles.
//
// A [Pen] is what every drawing needs: the canvas, the glyphs, the language.
// Its methods draw one pane each, named after the view model that they take.
// Text that comes from the cluster is cleaned here, at the edge, and nowhere
// else.
package pane

import (
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// Pen draws.
type Pen struct {
	C *canvas.Canvas
	G *canvas.Glyphs
	L i18n.Lang
}

// Styles by what they are used for.
var (
	plain  = canvas.As(canvas.Plain)
	dim    = canvas.As(canvas.Dim)
	strong = canvas.As(canvas.Strong).B()
	code   = canvas.As(canvas.Code)
	keyed  = canvas.As(canvas.Key)
	title  = canvas.As(canvas.Title)
	bad    = canvas.As(canvas.Bad)
	good   = canvas.As(canvas.Good)
	held   = canvas.As(canvas.Held)
	busy   = canvas.As(canvas.Busy)
)

// sign is the glyph and the style of a state.
func (p Pen) sign(s view.State) (string, canvas.Style) {
	switch s {
	case view.Good:
		return p.G.Good, good
	case view.Busy:
		return p.G.Busy, busy
	case view.Held:
		return p.G.Held, held
	case view.Bad:
		return p.G.Bad, bad
	}
	return p.G.None, dim
}

// clean makes text of the cluster safe, and words what is hidden.
func (p Pen) clean(s string) string {
	if view.IsHidden(s) {
		return p.L.T("hidden.word")
	}
	return text.Clean(s)
}

// word is the text for a key, or the API's own word.
func (p Pen) word(key string) string {
	if i18n.Has(key) {
		return p.L.T(key)
	}
	return p.clean(key)
}

// seg is a piece of a line.
type seg struct {
	s  string
	st canvas.Style
}

// line draws pieces one after another into a row of r, cut at its right edge.
func (p Pen) line(r canvas.Rect, row int, segs ...seg) int {
	x := r.X
	for _, s := range segs {
		room := r.X + r.W - x
		if room <= 0 {
			break
		}
		x = p.C.Put(r, x, r.Y+row, text.Cut(s.s, room), s.st)
	}
	return x
}

// right draws s at the right edge of a row.
func (p Pen) right(r canvas.Rect, row int, s string, st canvas.Style) {
	p.C.Put(r, r.X+r.W-text.Width(s), r.Y+row, s, st)
}

// say draws a sentence, wrapped, and returns how many rows it took.
func (p Pen) say(r canvas.Rect, row int, s string, st canvas.Style) int {
	n := 0
	for _, l := range text.Wrap(p.clean(s), r.W) {
		if row+n >= r.H {
			break
		}
		p.C.Text(r, row+n, l, st)
		n++
	}
	return n
}

// Hidden says that a pane is hidden while a prediction is open.
func (p Pen) Hidden(r canvas.Rect) { p.say(r, 0, p.L.T("hidden"), dim) }

// verb words an action that a box is busy with: "reconcile ReplicaSet/web".
func (p Pen) verb(note string) string {
	v, rest, ok := strings.Cut(note, " ")
	if !ok {
		return p.clean(note)
	}
	return p.L.Verb(step.Verb(v)) + " " + p.clean(rest)
}

// selected gives a row the look of the selected one.
func (p Pen) selected(r canvas.Rect, row int) {
	p.C.Restyle(r.Row(row), func(s canvas.Style) canvas.Style { return canvas.Style{Reverse: true, Bold: s.Bold} })
}

// pad leaves a column free at both sides.
func pad(r canvas.Rect) canvas.Rect {
	return canvas.Rect{X: r.X + 1, Y: r.Y, W: max(0, r.W-2), H: r.H}
}
