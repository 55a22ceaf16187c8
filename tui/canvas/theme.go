package canvas

import "strconv"

// Role says what something drawn means; a theme says how it looks.
type Role uint8

// The roles. Those that tell things apart differ on the axis from blue to
// orange, which nearly everybody can see, and always come with a glyph and a
// word as well.
const (
	Plain  Role = iota
	Dim         // of less interest
	Frame       // the lines around panes
	Focus       // the lines around the pane that has the keys
	Title       // names of panes
	Strong      // names of things
	Key         // a key to press
	Good        // as it should be: blue
	Busy        // something is happening: yellow
	Held        // waits for you: orange
	Bad         // went wrong: red-orange
	Code        // commands and values
	Live        // the header's modes
	Paused
	Past
	Replay
	Bar // the header
	roles
)

// Style is how a cell is drawn.
type Style struct {
	Role    Role
	Bold    bool
	Reverse bool
	Under   bool
}

// As is the plain style of a role.
func As(r Role) Style { return Style{Role: r} }

// B is s in bold.
func (s Style) B() Style { s.Bold = true; return s }

// R is s with foreground and background exchanged.
func (s Style) R() Style { s.Reverse = true; return s }

// Theme is the colours of the roles, for dark or for light terminals.
type Theme struct {
	colours [roles]colour
	cache   map[Style]string
}

// colour is a pair of indexes into the 256 colours; -1 is the terminal's own.
type colour struct {
	fg, bg int
	bold   bool
}

const own = -1

// NewTheme returns the colours for a terminal with a dark or light background.
func NewTheme(light bool) *Theme {
	t := &Theme{cache: map[Style]string{}}
	pick := func(dark, bright int) int {
		if light {
			return bright
		}
		return dark
	}
	blue, sky, orange, amber, red := pick(75, 26), pick(117, 25), pick(214, 130), pick(221, 94), pick(209, 160)
	grey, faint := pick(246, 241), pick(240, 248)
	t.colours = [roles]colour{
		Plain: {own, own, false}, Dim: {grey, own, false}, Frame: {faint, own, false}, Focus: {blue, own, true},
		Title: {sky, own, true}, Strong: {own, own, true}, Key: {orange, own, true}, Good: {blue, own, false},
		Busy: {amber, own, true}, Held: {orange, own, false}, Bad: {red, own, true}, Code: {sky, own, false},
		Live: {231, 26, true}, Paused: {16, 214, true}, Past: {231, 96, true}, Replay: {231, 60, true},
		Bar: {own, pick(236, 254), false},
	}
	return t
}

func (t *Theme) sequence(s Style) string {
	if seq, ok := t.cache[s]; ok {
		return seq
	}
	seq := "\x1b[0"
	c := t.colours[s.Role%roles]
	if c.bold || s.Bold {
		seq += ";1"
	}
	if s.Under {
		seq += ";4"
	}
	if s.Reverse {
		seq += ";7"
	}
	if c.fg != own {
		seq += ";38;5;" + strconv.Itoa(c.fg)
	}
	if c.bg != own {
		seq += ";48;5;" + strconv.Itoa(c.bg)
	}
	seq += "m"
	t.cache[s] = seq
	return seq
}
