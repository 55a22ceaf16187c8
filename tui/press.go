package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/layout"
)

// press handles a key.
func (m *Model) press(msg tea.KeyPressMsg) tea.Cmd {
	m.said = ""
	name := msg.String()
	if name == "ctrl+c" || name == "ctrl+q" {
		return tea.Quit
	}
	switch m.over {
	case commanding, filtering:
		return m.edit(msg)
	case helping, reading:
		return m.read(msg)
	case choosingCard:
		return m.chooseCard(msg)
	case naming:
		return m.readNames(msg)
	}
	if cmd, ok := m.answering(name); ok {
		m.place()
		return cmd
	}
	if cmd, ok := m.digit(name); ok {
		return cmd
	}
	if a, ok := keys.Find(m.keys, msg); ok {
		return m.do(a)
	}
	return nil
}

// answering takes the keys of an open prediction: letters and digits choose,
// then digits say how sure.
func (m *Model) answering(key string) (tea.Cmd, bool) {
	q := m.lv.Prompt
	if !q.Open() || m.focus != layout.Lesson || len(key) != 1 {
		return nil, false
	}
	c := key[0]
	n := len(q.Choices)
	switch {
	case c >= 'a' && c < 'a'+byte(n):
		m.answer.Choice = int(c - 'a')
	case c >= '1' && c <= '9' && m.answer.Choice < 0:
		if int(c-'1') < n {
			m.answer.Choice = int(c - '1')
		}
	case c >= '1' && c <= '3':
		m.answer.Sure = int(c - '0')
	case c >= '1' && c <= '9':
	default:
		return nil, false
	}
	return nil, true
}

// digitsPick tells whether digits pick what waits, rather than choose views.
func (m *Model) digitsPick() bool { return m.now() && m.control != nil && m.focus == layout.Pending }

func (m *Model) digit(key string) (tea.Cmd, bool) {
	alt := strings.TrimPrefix(key, "alt+")
	if len(alt) != 1 || alt[0] < '1' || alt[0] > '9' {
		return nil, false
	}
	n := int(alt[0] - '1')
	if alt == key && m.digitsPick() {
		return m.pick(n, runIt), true
	}
	switch {
	case stage(n) == network && m.stage == network:
		m.turnNetwork()
	case n < int(stages):
		m.turn(stage(n))
	}
	return nil, true
}

// turn shows another view on the stage.
func (m *Model) turn(s stage) {
	if m.stage != s {
		m.sel[layout.Stage], m.skip[layout.Stage] = 0, 0
	}
	m.stage = s
	if m.focus == layout.Inspect {
		m.focus = layout.Stage
	}
	m.place()
}

// click gives the focus to a pane.
func (m *Model) click(x, y int) {
	for p, r := range m.panes {
		if r.Has(x, y) && r.H > 1 {
			m.focus = p
		}
	}
	m.place()
}

// wheel scrolls the pane under the pointer.
func (m *Model) wheel(msg tea.MouseWheelMsg) {
	n := 3
	if msg.Button == tea.MouseWheelUp {
		n = -3
	}
	if m.over == helping || m.over == reading {
		m.page, _ = m.page.Update(msg)
		return
	}
	switch m.over {
	case choosingCard:
		m.wheelCards(n)
		return
	case naming:
		m.names.skip = max(0, min(m.names.most, m.names.skip+n))
		return
	}
	for p, r := range m.panes {
		if r.Has(msg.X, msg.Y) {
			m.scroll(p, n)
		}
	}
}
