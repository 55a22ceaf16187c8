package tui

import (
	"strings"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/viewport"
	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/text"
)

// newPage is what help and the output of commands are scrolled with.
func newPage() viewport.Model {
	p := viewport.New()
	p.KeyMap.Up.SetKeys("up")
	p.KeyMap.Down.SetKeys("down")
	p.KeyMap.Left.SetKeys("left")
	p.KeyMap.Right.SetKeys("right")
	p.KeyMap.PageUp.SetKeys("pgup", "b")
	p.KeyMap.PageDown.SetKeys("pgdown", "space")
	p.KeyMap.HalfPageUp.Unbind()
	p.KeyMap.HalfPageDown.Unbind()
	p.SetHorizontalStep(8)
	return p
}

var closes = key.NewBinding(key.WithKeys("?", "esc", "q", "enter"))

// read handles keys while help or output is shown.
func (m *Model) read(msg tea.KeyPressMsg) tea.Cmd {
	a, _ := keys.Find(m.keys, msg)
	switch {
	case a == keys.Language:
		return m.do(a)
	case a == keys.First:
		m.page.GotoTop()
	case a == keys.Last:
		m.page.GotoBottom()
	case key.Matches(msg, closes):
		m.over = none
	default:
		m.page, _ = m.page.Update(msg)
	}
	return nil
}

// drawHelp draws the help; the page only knows how many rows it has.
func (m *Model) drawHelp(pen pane.Pen, r canvas.Rect) {
	rows, shown := pen.Help(r, m.page.YOffset())
	if rows != m.page.TotalLineCount() {
		m.page.SetContentLines(make([]string, rows))
	}
	m.page.SetWidth(r.W)
	m.page.SetHeight(shown)
}

// drawOutput draws what a command printed.
func (m *Model) drawOutput(pen pane.Pen, r canvas.Rect) {
	w, h := pane.Reading(r, m.page.TotalLineCount())
	m.page.SetWidth(w)
	m.page.SetHeight(h)
	m.page.SetYOffset(m.page.YOffset()) // within what there is now
	visible := strings.Split(m.page.View(), "\n")
	above := m.page.YOffset()
	pen.Output(r, m.outName, visible, above, max(0, m.page.TotalLineCount()-above-h))
}

// open shows what a command printed.
func (m *Model) open(name string, lines []string) {
	for i, l := range lines {
		lines[i] = text.Clean(strings.ReplaceAll(l, "\t", "    "))
	}
	m.over, m.outName = reading, name
	m.page.SetContentLines(lines)
	m.page.GotoTop()
	m.page.SetXOffset(0)
}
