package tui

import (
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/view"
)

// Text says how to print a view outside the interface.
type Text struct {
	Width  int // in cells
	Lang   i18n.Lang
	ASCII  bool
	Colour bool
	Light  bool // with Colour: for a light background
}

// Pod is a pod's page as lines of text, as tall as it is.
func (o Text) Pod(v *view.PodPage) string {
	draw := func(rows int) (*canvas.Canvas, int) {
		c := canvas.New(max(o.Width, 40), rows)
		c.ASCII = o.ASCII
		return c, pane.Pen{C: c, G: glyphs(o.ASCII), L: o.Lang}.Pod(c.All(), v, false, 0)
	}
	_, rows := draw(1)
	c, _ := draw(rows)
	if o.Colour {
		return strings.TrimRight(c.Render(canvas.NewTheme(o.Light)), "\n ") + "\n"
	}
	lines := c.Lines()
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}
