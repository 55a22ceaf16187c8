package tui

import (
	"slices"

	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/pane"
)

func (m *Model) header() pane.Header {
	s := m.state()
	h := pane.Header{
		Mode: m.mode(), Playing: m.playing, RV: s.RV, Now: m.history.Now().RV, Seq: m.eye(), Last: m.history.Last(),
		At: s.At, Held: s.Held, Rate: s.Rate, Zoom: m.grain(), Lost: m.lost != nil,
	}
	if m.lesson != nil {
		h.Lesson, h.Step, h.Steps = m.lv.Number+" "+m.lv.Title, m.lv.Step, m.lv.Steps
	}
	return h
}

// timeHints are the keys by which time passes here.
func (m *Model) timeHints(add func(key, word string), show func(keys.Action) string) {
	switch m.mode() {
	case "paused":
		add("space", "step")
		if m.digitsPick() {
			add("1-9", "pick")
		}
		add(show(keys.Back), "back")
		add(show(keys.Play), "run")
	case "live":
		add("space", "pause")
		add(show(keys.Back), "back")
	case "past":
		add("space", "step")
		add(show(keys.Back), "back")
		add(show(keys.Last), "now")
	default:
		add("space", "step")
		add(show(keys.Back), "back")
		add(show(keys.Play), "play")
	}
}

// stageHints are the keys of what the stage shows.
func (m *Model) stageHints(add func(key, word string), show func(keys.Action) string) {
	if key, ok := m.chosenKey(); m.focus == layout.Stage && ok && key.Resource == "pods" {
		add("enter", map[bool]string{true: "nextpod", false: "openpod"}[m.stage == podPage])
	}
	if m.stage == podPage && m.focus == layout.Stage {
		add(show(keys.Rules), "calls")
	}
	if m.onPacket() {
		add("↑↓", "hop")
		if m.lesson == nil || !m.lv.CanNext {
			add(show(keys.Next), "leg")
		}
		add(show(keys.Rules), "rules")
		if len(m.state().Packets) > 1 {
			add("enter", "nextpacket")
		}
	}
	if m.stage == network && len(m.state().Packets) > 0 && !m.digitsPick() && !m.choosing() {
		add("3", map[bool]string{true: "way", false: "net"}[m.way.nodes])
	}
	if m.stage == network && m.control != nil && m.live {
		add(show(keys.Send), "send")
	}
}

// pageHints are the keys of a page that covers the panes; it returns whether
// there is one.
func (m *Model) pageHints(add func(key, word string), show func(keys.Action) string) bool {
	switch m.over {
	case choosingCard:
		add("1-9", "pick")
		add("↑↓", "card")
		if m.plays() {
			add("enter", "play.card")
		}
	case naming:
		add("↑↓", "choose")
		add("pgdn", "scroll")
		add(show(keys.Palette), "lookup")
	default:
		return false
	}
	add("esc", "close")
	add(show(keys.Language), "lang")
	return true
}

// hints are the keys that matter now, the most important first.
func (m *Model) hints() []pane.Hint {
	t := func(key string) string { return m.lang.T("short." + key) }
	show := func(a keys.Action) string { return keys.Show(m.keys, a) }
	list := []pane.Hint{{Key: show(keys.Help), Word: t("help")}}
	add := func(key, word string) {
		if name := "keyname." + key; i18n.Has(name) {
			key = m.lang.T(name)
		}
		list = append(list, pane.Hint{Key: key, Word: t(word)})
	}
	if m.pageHints(add, show) {
		return list
	}
	if m.choosing() {
		add("a-"+string(rune('a'+len(m.lv.Prompt.Choices)-1)), "choose")
		add("1-3", "sure")
		add("enter", "lock")
		add("tab", "focus")
	}
	if m.focus == layout.Lesson && !m.choosing() && m.lv.Do != nil && !m.lv.Do.Done {
		add("enter", "do")
	}
	if m.lv.CanNext && !m.lv.Prompt.Open() {
		add(show(keys.Next), "next")
	}
	m.timeHints(add, show)
	if !m.digitsPick() && !m.choosing() {
		add("1-6", "views")
	} else {
		add(show(keys.View), "views")
	}
	m.stageHints(add, show)
	add(show(keys.Why), "why")
	if !m.choosing() {
		add("tab", "focus")
	}
	if m.lesson != nil && !m.choosing() && slices.ContainsFunc(m.lv.Checks, func(g lesson.Goal) bool { return !g.Done }) {
		add(show(keys.Check), "check")
	}
	if m.lesson != nil && m.lv.Left > 0 {
		add(show(keys.Hint), "hint")
	}
	add(show(keys.Palette), "cmd")
	add("[ ]", "marks")
	add(show(keys.Filter), "filter")
	add(show(keys.Copy), "copy")
	add(show(keys.Language), "lang")
	add(show(keys.Quit), "quit")
	return list
}
