package canvas

// Glyphs is a set of signs, each one cell wide.
type Glyphs struct {
	H, V, TL, TR, BL, BR       string // thin frame
	HH, VV, TLL, TRR, BLL, BRR string // frame of the pane with the keys

	Good, Busy, Held, Bad, None, Idle string // states
	Right, Left, Up, Down             string // arrows
	To                                string // an arrow in running text
	On, Off                           string // checks
	Full, Empty                       string // progress
	Here                              string // this moment on the timeline
	Tree, Last                        string // branches
	Cut, Dot                          string
	Line, Join                        string // wires
}

// Unicode is for terminals that draw lines and arrows one cell wide.
func Unicode() *Glyphs {
	return &Glyphs{
		H: "─", V: "│", TL: "╭", TR: "╮", BL: "╰", BR: "╯",
		HH: "━", VV: "┃", TLL: "┏", TRR: "┓", BLL: "┗", BRR: "┛",
		Good: "●", Busy: "◆", Held: "◉", Bad: "✗", None: "○", Idle: "·",
		Right: "▶", Left: "◀", Up: "▲", Down: "▼", To: "→", On: "✓", Off: "○",
		Full: "━", Empty: "┄", Here: "▼", Tree: "├", Last: "└", Cut: "…", Dot: "·", Line: "─", Join: "┬",
	}
}

// ASCII is for every other terminal, and for those that draw the signs of
// ambiguous width two cells wide.
func ASCII() *Glyphs {
	return &Glyphs{
		H: "-", V: "|", TL: "+", TR: "+", BL: "+", BR: "+",
		HH: "=", VV: "|", TLL: "#", TRR: "#", BLL: "#", BRR: "#",
		Good: "@", Busy: "*", Held: "!", Bad: "X", None: ".", Idle: ".",
		Right: ">", Left: "<", Up: "^", Down: "v", To: ">", On: "x", Off: "-",
		Full: "#", Empty: ".", Here: "v", Tree: "|", Last: "`", Cut: "~", Dot: ".", Line: "-", Join: "+",
	}
}

// Box draws a frame along the edge of r, with a title in its upper side, and
// returns what is inside.
func (c *Canvas) Box(r Rect, g *Glyphs, title string, focus bool) Rect {
	if r.W < 2 || r.H < 2 {
		return Rect{}
	}
	h, v, tl, tr, bl, br, st := g.H, g.V, g.TL, g.TR, g.BL, g.BR, As(Frame)
	if focus {
		h, v, tl, tr, bl, br, st = g.HH, g.VV, g.TLL, g.TRR, g.BLL, g.BRR, As(Focus)
	}
	c.Fill(Rect{r.X, r.Y, r.W, 1}, h, st)
	c.Fill(Rect{r.X, r.Y + r.H - 1, r.W, 1}, h, st)
	c.Fill(Rect{r.X, r.Y + 1, 1, r.H - 2}, v, st)
	c.Fill(Rect{r.X + r.W - 1, r.Y + 1, 1, r.H - 2}, v, st)
	c.Put(r, r.X, r.Y, tl, st)
	c.Put(r, r.X+r.W-1, r.Y, tr, st)
	c.Put(r, r.X, r.Y+r.H-1, bl, st)
	c.Put(r, r.X+r.W-1, r.Y+r.H-1, br, st)
	if title != "" && r.W > 6 {
		c.Put(Rect{r.X + 2, r.Y, r.W - 4, 1}, r.X+2, r.Y, " "+title+" ", As(Title))
	}
	return r.Inset(1)
}

// plainSign is the ASCII sign for one that stands in running text.
func plainSign(s string) string {
	switch s {
	case "…":
		return "~"
	case "→", "▸", "›":
		return ">"
	case "←":
		return "<"
	case "·", "•":
		return "."
	case "×":
		return "x"
	case "—", "–":
		return "-"
	case "≠":
		return "!"
	case "≥":
		return ">"
	case "↑":
		return "^"
	case "↓":
		return "v"
	}
	return s
}
