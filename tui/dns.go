package tui

import (
	"errors"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/view"
)

// names is where the learner is on the page of names.
type names struct {
	row  uint64 // 0: the newest one
	mine bool   // of those that were looked up here
	skip int    // rows of its text that are scrolled away
	most int    // by which it can be
}

// dnsCommand carries out ":dns", which opens the page of names, and ":dns POD NAME
// [TYPE]", which looks one up as well.
func (m *Model) dnsCommand(line string) (tea.Cmd, bool) {
	args := strings.Fields(line)
	if len(args) == 0 || args[0] != "dns" {
		return nil, false
	}
	if len(args) == 2 {
		m.complain("say.howdns")
		return nil, true
	}
	m.over, m.names = naming, names{}
	if len(args) == 1 {
		return nil, true
	}
	if key, ok := view.FindPod(m.state(), args[1]); ok && !strings.Contains(args[1], "/") {
		args[1] = key.Namespace + "/" + key.Name
	}
	if len(args) > 3 && !strings.HasPrefix(args[3], "-") {
		args = slices.Insert(args, 3, "--type")
	}
	m.names.mine = true
	if m.live {
		m.at, m.playing = 0, false
	}
	cmd := m.run(strings.Join(args, " "))
	if cmd == nil { // a recording: what was looked up there is on the page
		return nil, true
	}
	return func() tea.Msg { return resolvedMsg(cmd().(ranMsg)) }, true
}

// resolvedMsg is what a look-up printed.
type resolvedMsg ranMsg

// resolved says why a name could not be looked up; what came of one that was is on
// the page.
func (m *Model) resolved(msg resolvedMsg) {
	var exit interface{ ExitCode() int }
	if msg.err == nil || errors.As(msg.err, &exit) && exit.ExitCode() == exitLost {
		return
	}
	if m.over == naming {
		m.over = none
	}
	m.printed(ranMsg(msg))
}

func (m *Model) namesPage() (*view.Names, int) {
	v := view.NewNames(m.history, m.mask, m.eye())
	return v, v.At(m.names.row, m.names.mine)
}

func (m *Model) drawNames(pen pane.Pen, r canvas.Rect) {
	v, at := m.namesPage()
	m.names.most = pen.Names(r, v, at, m.names.skip)
	m.names.skip = min(m.names.skip, m.names.most)
}

// readNames handles a key while the page of names is shown.
func (m *Model) readNames(msg tea.KeyPressMsg) tea.Cmd {
	page := pane.NamesRows(m.body())
	a, _ := keys.Find(m.keys, msg)
	switch a {
	case keys.Up:
		m.selectName(-1)
	case keys.Down:
		m.selectName(1)
	case keys.First:
		m.names = names{}
	case keys.Last:
		m.selectName(namesEnd)
	case keys.PageUp:
		m.names.skip = max(0, m.names.skip-page)
	case keys.PageDown:
		m.names.skip = min(m.names.most, m.names.skip+page)
	case keys.Language, keys.Help, keys.Palette:
		return m.do(a)
	case keys.Close, keys.Quit, keys.Enter, keys.Back:
		m.over = none
	}
	return nil
}

// namesEnd is more rows than a list has.
const namesEnd = 1 << 20

// selectName goes n rows down the list.
func (m *Model) selectName(n int) {
	v, at := m.namesPage()
	if len(v.Rows) == 0 {
		return
	}
	m.names = names{row: v.Rows[max(0, min(len(v.Rows)-1, at+n))].Seq}
	if m.names.row == v.Rows[0].Seq {
		m.names.row = 0
	}
}
