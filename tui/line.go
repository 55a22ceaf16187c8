package tui

import (
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/pane"
)

// line is a line that is being typed, with what was typed there before.
type line struct {
	textinput.Model
	past  map[overlay][]string
	of    overlay // whose past it is
	at    int     // in the past; its length is the new line
	draft string  // the new line while an old one is shown
}

// pastKept is how many lines are remembered.
const pastKept = 100

func newLine() line {
	l := line{Model: textinput.New(), past: map[overlay][]string{}}
	l.SetVirtualCursor(false) // the terminal's own, which input methods follow
	l.KeyMap.AcceptSuggestion.Unbind()
	l.KeyMap.NextSuggestion.Unbind()
	l.KeyMap.PrevSuggestion.Unbind()
	l.KeyMap.Paste.Unbind() // the terminal pastes; the clipboard may be another machine's
	return l
}

// open begins a line.
func (l *line) open(of overlay, text string) {
	l.of, l.at = of, len(l.past[of])
	l.set(text)
	l.Focus()
}

func (l *line) set(text string) {
	l.SetValue(text)
	l.CursorEnd()
}

// keep remembers the line.
func (l *line) keep() {
	text, past := strings.TrimSpace(l.Value()), l.past[l.of]
	if text == "" || len(past) > 0 && past[len(past)-1] == text {
		return
	}
	past = append(past, text)
	l.past[l.of] = past[max(0, len(past)-pastKept):]
}

// recall shows the n-th line before this one, or after it if n is negative.
// It returns whether there is one.
func (l *line) recall(n int) bool {
	past := l.past[l.of]
	to := l.at - n
	if to < 0 || to > len(past) {
		return false
	}
	if l.at == len(past) {
		l.draft = l.Value()
	}
	if l.at = to; to == len(past) {
		l.set(l.draft)
	} else {
		l.set(past[to])
	}
	return true
}

func (l *line) input() pane.Input { return pane.Input{Text: l.Value(), At: l.Position()} }

// edit handles a key of the command line or the filter.
func (m *Model) edit(msg tea.KeyPressMsg) tea.Cmd {
	switch msg.String() {
	case "esc":
		if m.over == filtering {
			m.filter = ""
		}
		m.over = none
		return nil
	case "enter":
		return m.entered()
	case "up":
		m.upward()
	case "down":
		m.downward()
	case "tab":
		if list := m.matching(); m.over == commanding && m.chosen < len(list) {
			m.line.set(string(list[m.chosen].Action))
			m.chosen = 0
		}
	default:
		return m.typed(msg)
	}
	if m.over == filtering {
		m.filter = m.line.Value()
	}
	return nil
}

// upward goes up in the list of commands, and at its top to what was typed before.
func (m *Model) upward() {
	if m.chosen > 0 {
		m.chosen--
		return
	}
	m.line.recall(1)
}

func (m *Model) downward() {
	if m.line.at < len(m.line.past[m.line.of]) && m.line.recall(-1) {
		m.chosen = 0
		return
	}
	if m.over == commanding {
		m.chosen = min(max(0, len(m.matching())-1), m.chosen+1)
	}
}

// typed changes the line by a key or by what was pasted.
func (m *Model) typed(msg tea.Msg) tea.Cmd {
	before := m.line.Value()
	var cmd tea.Cmd
	m.line.Model, cmd = m.line.Update(msg)
	if m.line.Value() != before {
		m.chosen = 0
	}
	if m.over == filtering {
		m.filter = m.line.Value()
	}
	return cmd
}

// matching are the commands that the line is the beginning of, or a part of
// their text.
func (m *Model) matching() []keys.Binding {
	var list []keys.Binding
	in := strings.ToLower(strings.TrimSpace(m.line.Value()))
	for _, b := range m.keys {
		if in == "" || strings.HasPrefix(string(b.Action), in) || strings.Contains(strings.ToLower(m.lang.T("key."+string(b.Action))), in) {
			list = append(list, b)
		}
	}
	return list
}

func (m *Model) entered() tea.Cmd {
	over, in := m.over, strings.TrimSpace(m.line.Value())
	m.over = none
	m.line.keep()
	if over == filtering || in == "" && m.chosen == 0 {
		return nil
	}
	line, klab := strings.CutPrefix(in, "klab ") // as lessons write it
	if klab {
		in = strings.TrimSpace(line)
	}
	if in == "kubectl" || strings.HasPrefix(in, "kubectl ") {
		return m.run(in)
	}
	if m.podCommand(in) {
		return nil
	}
	if cmd, ok := m.dnsCommand(in); ok {
		return cmd
	}
	if cmd, ok := m.packetCommand(in); ok {
		return cmd
	}
	if klab {
		return m.run("klab " + in)
	}
	if list := m.matching(); m.chosen < len(list) {
		return m.do(list[m.chosen].Action)
	}
	m.complain("say.unknown", "what", in)
	return nil
}
