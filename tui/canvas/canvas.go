// Package canvas is a grid of terminal cells to draw on.
//
// There are only a few nouns: a [Canvas] is the grid, a [Rect] a part of it,
// a [Style] a [Role] with attributes, a [Theme] the colours of the roles, and
// [Glyphs] the signs that go with them. Drawing outside the grid, or half a
// wide character, draws nothing: a frame is always exactly as large as asked.
package canvas

import (
	"strings"

	"github.com/klab-project/klab/tui/text"
)

// Rect is a part of a canvas.
type Rect struct{ X, Y, W, H int }

// Empty tells whether nothing fits into r.
func (r Rect) Empty() bool { return r.W <= 0 || r.H <= 0 }

// Inset is r without n cells at each side.
func (r Rect) Inset(n int) Rect { return Rect{r.X + n, r.Y + n, max(0, r.W-2*n), max(0, r.H-2*n)} }

// Has tells whether the cell x, y is in r.
func (r Rect) Has(x, y int) bool { return x >= r.X && x < r.X+r.W && y >= r.Y && y < r.Y+r.H }

// Row is the i-th row of r.
func (r Rect) Row(i int) Rect {
	if i < 0 || i >= r.H {
		return Rect{}
	}
	return Rect{r.X, r.Y + i, r.W, 1}
}

// From is r without its first n rows.
func (r Rect) From(n int) Rect {
	n = min(max(n, 0), r.H)
	return Rect{r.X, r.Y + n, r.W, r.H - n}
}

// cell is one cell; the second one of a wide character has no text.
type cell struct {
	s     string
	wide  bool
	style Style
}

// Canvas is a grid of cells.
type Canvas struct {
	W, H  int
	ASCII bool // draw the signs of running text with ASCII ones
	cells []cell

	Typing bool // whether the terminal's cursor is to be shown, at X, Y
	X, Y   int
}

// Cursor shows the terminal's cursor at x, y.
func (c *Canvas) Cursor(x, y int) { c.Typing, c.X, c.Y = true, x, y }

// New returns an empty canvas.
func New(w, h int) *Canvas {
	c := &Canvas{W: max(w, 0), H: max(h, 0)}
	c.cells = make([]cell, c.W*c.H)
	for i := range c.cells {
		c.cells[i].s = " "
	}
	return c
}

// All is the whole canvas.
func (c *Canvas) All() Rect { return Rect{0, 0, c.W, c.H} }

// Put draws s from x, y within r, which clips it; it returns the column after it.
func (c *Canvas) Put(r Rect, x, y int, s string, st Style) int {
	return c.put(r, x, y, s, st)
}

// Text draws s in r's row, from its left edge; it returns the column after it.
func (c *Canvas) Text(r Rect, row int, s string, st Style) int {
	return c.put(r, r.X, r.Y+row, s, st)
}

func (c *Canvas) put(r Rect, x, y int, s string, st Style) int {
	if y < r.Y || y >= r.Y+r.H || y < 0 || y >= c.H {
		return x + text.Width(s)
	}
	left, right := max(r.X, 0), min(r.X+r.W, c.W)
	for len(s) > 0 {
		first, rest, n := text.Next(s)
		s = rest
		if n == 0 {
			continue
		}
		if c.ASCII && first[0] >= 0x80 {
			first = plainSign(first)
		}
		if x >= left && x+n <= right {
			c.set(x, y, first, n, st)
		} else if x < right && x >= left {
			c.set(x, y, " ", 1, st) // half of a wide character
		}
		x += n
	}
	return x
}

func (c *Canvas) set(x, y int, s string, n int, st Style) {
	i := y*c.W + x
	c.free(i)
	c.cells[i] = cell{s: s, wide: n == 2, style: st}
	if n == 2 {
		c.free(i + 1)
		c.cells[i+1] = cell{style: st}
	}
}

// free blanks the other half of a wide character in cell i.
func (c *Canvas) free(i int) {
	if c.cells[i].wide {
		c.cells[i+1] = cell{s: " ", style: c.cells[i+1].style}
	}
	if c.cells[i].s == "" && i > 0 {
		c.cells[i-1] = cell{s: " ", style: c.cells[i-1].style}
	}
}

// Fill fills r with a sign one cell wide.
func (c *Canvas) Fill(r Rect, s string, st Style) {
	for y := max(r.Y, 0); y < min(r.Y+r.H, c.H); y++ {
		for x := max(r.X, 0); x < min(r.X+r.W, c.W); x++ {
			c.set(x, y, s, 1, st)
		}
	}
}

// Restyle gives the cells of r another style.
func (c *Canvas) Restyle(r Rect, change func(Style) Style) {
	for y := max(r.Y, 0); y < min(r.Y+r.H, c.H); y++ {
		for x := max(r.X, 0); x < min(r.X+r.W, c.W); x++ {
			i := y*c.W + x
			c.cells[i].style = change(c.cells[i].style)
		}
	}
}

// Copy draws the canvas o at x, y.
func (c *Canvas) Copy(x, y int, o *Canvas) {
	for row := range o.H {
		if y+row < 0 || y+row >= c.H {
			continue
		}
		n := min(o.W, c.W-x)
		if n > 0 && x >= 0 {
			copy(c.cells[(y+row)*c.W+x:(y+row)*c.W+x+n], o.cells[row*o.W:row*o.W+n])
		}
	}
}

// Lines is the text of the rows without any style.
func (c *Canvas) Lines() []string {
	lines := make([]string, c.H)
	for y := range lines {
		var b strings.Builder
		for _, cell := range c.cells[y*c.W : (y+1)*c.W] {
			b.WriteString(cell.s)
		}
		lines[y] = b.String()
	}
	return lines
}

// Render is the canvas with the escape sequences of the theme's colours.
func (c *Canvas) Render(t *Theme) string {
	var b strings.Builder
	b.Grow(c.W * c.H * 3 / 2)
	for y := range c.H {
		if y > 0 {
			b.WriteByte('\n')
		}
		var now Style
		for _, cell := range c.cells[y*c.W : (y+1)*c.W] {
			if cell.s == "" {
				continue
			}
			if cell.style != now {
				now = cell.style
				b.WriteString(t.sequence(now))
			}
			b.WriteString(cell.s)
		}
		if now != (Style{}) {
			b.WriteString("\x1b[0m")
		}
	}
	return b.String()
}

// Part is a copy of the cells of r.
func (c *Canvas) Part(r Rect) *Canvas {
	p := New(min(r.W, c.W-r.X), min(r.H, c.H-r.Y))
	for y := range p.H {
		copy(p.cells[y*p.W:(y+1)*p.W], c.cells[(r.Y+y)*c.W+r.X:])
	}
	return p
}
