package tui

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
)

// story is a source whose live form goes on when something is picked.
type story struct {
	live   bool
	picked []uint64
	how    []step.How
	modes  []step.Mode
	ran    []string
	shells []fold.Key
	fail   error
}

func (s *story) Live() bool          { return s.live }
func (s *story) Header() step.Header { return step.Header{} }
func (s *story) Next(context.Context, uint64) ([]*step.Event, error) {
	return nil, io.EOF
}

func (s *story) Pick(_ context.Context, id uint64, how step.How) error {
	s.picked, s.how = append(s.picked, id), append(s.how, how)
	return s.fail
}
func (s *story) SetMode(_ context.Context, m step.Mode) error {
	s.modes = append(s.modes, m)
	return nil
}
func (s *story) SetRate(context.Context, float64) error { return nil }
func (s *story) Mark(context.Context, string) error     { return nil }
func (s *story) Run(_ context.Context, line string) (string, error) {
	s.ran = append(s.ran, line)
	return "NAME\nweb\n", nil
}

func (s *story) Shell(_ context.Context, of fold.Key) (*exec.Cmd, error) {
	s.shells = append(s.shells, of)
	return exec.Command("true"), s.fail
}

// script is a lesson with one prediction, which hides the scheduler.
type script struct {
	choice, sure int
	locked       bool
	outcome      string
	do           *lesson.Command
	acts         []lesson.Act
	seen         uint64
}

func (l *script) Follow(s *fold.State, events []*step.Event) int {
	l.seen = s.Seq
	return len(events)
}
func (l *script) Answer(choice, sure int) error {
	l.choice, l.sure, l.locked = choice, sure, true
	return nil
}
func (l *script) Act(_ context.Context, a lesson.Act) error {
	l.acts = append(l.acts, a)
	return nil
}
func (l *script) View(lang string) lesson.View {
	v := lesson.View{Number: "01", Title: "A Deployment thinks", Step: 3, Steps: 9, Name: "Who acts first?", Left: 2,
		Blocks: []lesson.Block{{Text: "Three Pods are stored. They are rows in etcd and nothing else."}, {Kind: lesson.Code, Text: "kubectl get pods"}},
		Prompt: &lesson.Prompt{Question: "Who acts first?", Choices: []string{"the kubelet", "the planner", "both", "nobody"}, Locked: l.locked, Choice: l.choice, Sure: l.sure, Answer: -1},
		Checks: []lesson.Goal{{Text: "three pods run", NotYet: "none runs"}}}
	if l.do != nil {
		do := *l.do
		v.Do = &do
	}
	if l.outcome != "" {
		v.Prompt.Answer, v.Prompt.Why = 1, l.outcome
	}
	if lang == "zh" {
		v.Title, v.Name, v.Prompt.Question = "Deployment 在想什么", "谁先行动？", "谁会先采取行动？"
		v.Blocks[0].Text = "已经存储了三个 Pod。它们只是 etcd 里的几行数据，没有别的。"
		v.Prompt.Choices = []string{"kubelet", "编排者", "两者都可能", "没有谁"}
		v.Checks[0] = lesson.Goal{Text: "三个 Pod 在运行", NotYet: "还没有一个在运行"}
	}
	if !l.locked {
		v.Hide = []string{"actor/kube-scheduler", "field/pods/spec.nodeName", "actor/kubelet"}
	}
	return v
}

// driver presses keys and reads the screen.
type driver struct {
	t *testing.T
	m *Model
}

func drive(t *testing.T, w, h int, c Config, events []*step.Event) *driver {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	d := &driver{t, New(ctx, c)}
	d.send(tea.WindowSizeMsg{Width: w, Height: h})
	d.m.receive(events)
	return d
}

// send updates the model and carries out what follows, but for timers and the
// source.
func (d *driver) send(msg tea.Msg) {
	if msg == nil {
		return
	}
	_, cmd := d.m.Update(msg)
	if cmd == nil {
		return
	}
	if _, batch := msg.(batchMsg); batch || d.m.playing {
		return
	}
	next := cmd()
	if _, quit := next.(tea.QuitMsg); quit {
		d.m.said = "QUIT"
		return
	}
	d.send(next)
}

var codes = map[string]tea.KeyPressMsg{
	"space": {Code: tea.KeySpace, Text: " "}, "enter": {Code: tea.KeyEnter}, "tab": {Code: tea.KeyTab}, "esc": {Code: tea.KeyEscape},
	"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight}, "backspace": {Code: tea.KeyBackspace},
	"home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd}, "f1": {Code: tea.KeyF1}, "f9": {Code: tea.KeyF9}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl},
	"pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "shift+tab": {Code: tea.KeyTab, Mod: tea.ModShift},
}

func (d *driver) Press(keys ...string) {
	for _, k := range keys {
		msg, ok := codes[k]
		if !ok {
			r, _ := utf8.DecodeRuneInString(k)
			msg = tea.KeyPressMsg{Code: r, Text: k}
		}
		d.send(msg)
	}
}

// Screen is the text of the whole screen.
func (d *driver) Screen() string { return strings.Join(d.m.draw().Lines(), "\n") }

// Pane is the text of a pane.
func (d *driver) Pane(p layout.Pane) string {
	r, ok := d.m.panes[p]
	if !ok {
		return ""
	}
	c := d.m.draw()
	return strings.Join(c.Part(r).Lines(), "\n")
}

func (d *driver) Expect(p layout.Pane, want ...string) {
	d.t.Helper()
	for _, w := range want {
		require.Contains(d.t, d.Pane(p), w)
	}
}

func (d *driver) ExpectNot(p layout.Pane, want ...string) {
	d.t.Helper()
	for _, w := range want {
		require.NotContains(d.t, d.Pane(p), w)
	}
}

// held is the story up to a moment at which two deliveries wait.
func held() []*step.Event {
	s := fold.New()
	all := foldtest.Deployment()
	for i, e := range all {
		s.Apply(e)
		if len(s.Pending) == 2 && len(s.List("pods")) == 3 {
			return all[:i+1]
		}
	}
	return all
}

func paused(t *testing.T, w, h int, l lesson.Lesson) (*driver, *story) {
	s := &story{live: true}
	return drive(t, w, h, Config{Source: s, Control: s, Lesson: l, Lang: i18n.English}, held()), s
}

var errGone = errors.New("no such pending action: 7")
