package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/text"
)

// press handles a key. typed is the text that it makes, if any.
func (m *Model) press(key, typed string) tea.Cmd {
	m.said = ""
	if key == "ctrl+c" || key == "ctrl+q" {
		return tea.Quit
	}
	switch m.over {
	case commanding, filtering:
		return m.line(key, typed)
	case helping, reading:
		return m.page(key)
	}
	if cmd, ok := m.answering(key); ok {
		m.place()
		return cmd
	}
	if cmd, ok := m.digit(key); ok {
		return cmd
	}
	a, ok := m.keys[key]
	if !ok {
		a, ok = m.keys[typed]
	}
	if !ok {
		return nil
	}
	return m.do(a)
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
	if n < int(stages) {
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

// line edits the command line or the filter.
func (m *Model) line(key, typed string) tea.Cmd {
	switch key {
	case "esc":
		if m.over == filtering {
			m.filter = ""
		}
		m.over = none
	case "enter":
		return m.entered()
	case "backspace":
		m.input = dropLast(m.input)
		m.chosen = 0
	case "ctrl+u":
		m.input = ""
	case "up":
		m.chosen = max(0, m.chosen-1)
	case "down":
		m.chosen = min(max(0, len(m.matching())-1), m.chosen+1)
	case "tab":
		if list := m.matching(); m.over == commanding && m.chosen < len(list) {
			m.input = string(list[m.chosen].Action)
			m.chosen = 0
		}
	default:
		m.typed(typed)
	}
	if m.over == filtering {
		m.filter = m.input
	}
	return nil
}

func (m *Model) typed(s string) {
	m.input += text.Clean(s)
	m.chosen = 0
}

func dropLast(s string) string {
	end := 0
	for rest := s; rest != ""; {
		first, next, _ := text.Next(rest)
		if next == "" {
			break
		}
		end += len(first)
		rest = next
	}
	return s[:end]
}

// matching are the commands that the input is the beginning of, or a part of
// their text.
func (m *Model) matching() []keys.Binding {
	var list []keys.Binding
	in := strings.ToLower(strings.TrimSpace(m.input))
	for _, b := range keys.Table() {
		if in == "" || strings.HasPrefix(string(b.Action), in) || strings.Contains(strings.ToLower(m.lang.T("key."+string(b.Action))), in) {
			list = append(list, b)
		}
	}
	return list
}

func (m *Model) entered() tea.Cmd {
	over, in := m.over, strings.TrimSpace(m.input)
	m.over = none
	if over == filtering || in == "" && m.chosen == 0 {
		return nil
	}
	if in == "kubectl" || strings.HasPrefix(in, "kubectl ") {
		return m.run(in)
	}
	if list := m.matching(); m.chosen < len(list) {
		return m.do(list[m.chosen].Action)
	}
	m.complain("say.unknown", "what", in)
	return nil
}

// page handles keys while help or output is shown.
func (m *Model) page(key string) tea.Cmd {
	switch key {
	case "up":
		m.overSkip = max(0, m.overSkip-1)
	case "down":
		m.overSkip++
	case "pgup":
		m.overSkip = max(0, m.overSkip-m.h/2)
	case "pgdown", "space":
		m.overSkip += m.h / 2
	case "L", "f10":
		return m.do(keys.Language)
	case "?", "esc", "q", "enter":
		m.over = none
	}
	if m.over == reading {
		m.overSkip = min(m.overSkip, max(0, len(m.output)-m.h+4))
	}
	return nil
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
	if m.over != none {
		m.overSkip = max(0, m.overSkip+n)
		return
	}
	for p, r := range m.panes {
		if r.Has(msg.X, msg.Y) {
			m.scroll(p, n)
		}
	}
}
