package tui

import (
	"os/exec"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/view"
)

// openPod shows a pod's page, from where esc leads back.
func (m *Model) openPod(key fold.Key) {
	if m.stage != podPage {
		m.back = m.stage
	}
	m.turn(podPage)
	m.pod, m.skip[layout.Stage] = key, 0
	m.focus = layout.Stage
	m.place()
}

// podKey is the pod whose page is shown: the one that was opened, or else the
// first one that there is.
func (m *Model) podKey() fold.Key {
	s := m.state()
	if m.pod.Name != "" && (s.Objects[m.pod] != nil || s.Gone[m.pod] != nil) {
		return m.pod
	}
	if list := view.PodList(s); len(list) > 0 {
		return list[0]
	}
	return m.pod
}

// nextPod turns to the next pod's page.
func (m *Model) nextPod() {
	list := view.PodList(m.state())
	if len(list) > 0 {
		m.openPod(list[(slices.Index(list, m.podKey())+1)%len(list)])
	}
}

// chosenKey is the object that is selected on the stage.
func (m *Model) chosenKey() (fold.Key, bool) {
	sel := m.sel[layout.Stage]
	switch m.stage {
	case podPage:
		return m.podKey(), m.podKey().Name != ""
	case objects:
		if rows := view.NewObjects(m.state(), m.mask, m.filter).Rows; sel < len(rows) {
			return rows[sel].Key, true
		}
	case reconcile:
		if rows := view.NewLoops(m.state(), m.mask, m.filter).Rows; sel < len(rows) {
			return rows[sel].Key, true
		}
	}
	return fold.Key{}, false
}

// look at what is selected on the stage: a pod's page, or the next pod's.
func (m *Model) enterStage() {
	if m.stage == podPage {
		m.nextPod()
		return
	}
	if key, ok := m.chosenKey(); ok && key.Resource == "pods" {
		m.openPod(key)
	}
}

// podCommand carries out ":pod" and ":pod NAME".
func (m *Model) podCommand(line string) bool {
	name, ok := strings.CutPrefix(line, "pod")
	if !ok || name != "" && name[0] != ' ' {
		return false
	}
	name = strings.TrimSpace(name)
	if name == "" {
		m.openPod(m.podKey())
		return true
	}
	key, ok := view.FindPod(m.state(), name)
	if !ok {
		m.complain("say.nopod", "name", name)
		return true
	}
	m.openPod(key)
	return true
}

// shell opens a shell in the selected pod or on the selected node, in this
// terminal; with nothing selected it opens the command line.
func (m *Model) shell() tea.Cmd {
	key, ok := m.chosenKey()
	if m.control == nil || !ok || key.Resource != "pods" && key.Resource != "nodes" || m.focus == layout.Pending {
		m.over, m.chosen = commanding, 0
		m.line.open(commanding, "kubectl ")
		return nil
	}
	cmd, err := m.control.Shell(m.ctx, key)
	if err != nil {
		m.complain("say.failed", "err", err.Error())
		return nil
	}
	return runShell(cmd)
}

func runShell(cmd *exec.Cmd) tea.Cmd {
	return tea.ExecProcess(cmd, func(err error) tea.Msg { return shellMsg{err} })
}
