package tui

import (
	"strings"
	"testing"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
)

func TestSpacePicksTheTopOne(t *testing.T) {
	d, s := paused(t, 120, 37, nil)
	d.Expect(layout.Header, "PAUSED")
	d.Expect(layout.Pending, "1 deliver", "2 deliver", "→ scheduler")
	first := d.m.state().Pending[0].ID
	d.Press("space")
	require.Equal(t, []uint64{first}, s.picked)
	d.ExpectNot(layout.Pending, "→ scheduler")
}

func TestDigitsAndFaults(t *testing.T) {
	d, s := paused(t, 120, 37, nil)
	second := d.m.state().Pending[1].ID
	d.Press("2")
	require.Equal(t, []uint64{second}, s.picked)
	d.Press("x")
	require.Equal(t, step.Drop, s.how[1].Kind)
	d.Press("f")
	d.Expect(layout.Hints, "Nothing waits")
}

func TestEachFaultHasItsKey(t *testing.T) {
	for key, kind := range map[string]step.Kind{"f": step.Fail, "x": step.Drop, "d": step.Delay, "k": step.Crash, "enter": step.Run} {
		d, s := paused(t, 80, 24, nil)
		d.Press("down", key)
		require.Equal(t, d.m.state().Pending[1].ID, s.picked[0], key)
		require.Equal(t, kind, s.how[0].Kind)
	}
}

func TestAFailedPickComesBack(t *testing.T) {
	d, s := paused(t, 120, 37, nil)
	s.fail = errGone
	d.Press("space")
	d.Expect(layout.Hints, "no such pending action: 7")
	d.Expect(layout.Pending, "→ scheduler")
}

func TestThePastCannotBeChanged(t *testing.T) {
	d, s := paused(t, 120, 37, nil)
	d.Press("b", "b")
	d.Expect(layout.Header, "PAST", "now 999")
	d.Press("enter")
	d.Expect(layout.Hints, "past")
	require.Empty(t, s.picked)
	d.Press("G")
	d.Expect(layout.Header, "PAUSED")
	d.Press("g")
	d.Expect(layout.Header, "event 1/")
}

func TestPlayTogglesTheLab(t *testing.T) {
	d, s := paused(t, 120, 37, nil)
	d.Press("p", "+")
	require.Equal(t, step.Running, s.modes[0].State)
	require.Equal(t, step.Fine, s.modes[1].Zoom)
}

func TestViews(t *testing.T) {
	d, _ := paused(t, 120, 37, nil)
	d.Press("v")
	d.Expect(layout.Stage, "want", "ReplicaSet/web", "create 3 pods")
	d.Press("v")
	d.Expect(layout.Stage, "flannel.1", "172.30.0.11/24")
	d.Press("v", "/", "w", "e", "b", "-", "enter")
	d.Expect(layout.Stage, "Pod/web-5d4f8c6b9-k9q", "4 of 9")
	d.Press("esc", "v")
	d.Expect(layout.Stage, "#89", "commit")
	d.ExpectNot(layout.Stage, "validate")
	d.Press("tab", "tab", "tab", "1")
	require.Equal(t, cluster, d.m.stage)
}

func TestWhyLeadsToKubectl(t *testing.T) {
	d, _ := paused(t, 160, 50, nil)
	d.Expect(layout.Inspect, "caused by", "kubectl: create Deployment/web", "995", "replicaset reconciles rs/web")
}

func TestObjectsShowYAML(t *testing.T) {
	s := &story{}
	d := drive(t, 160, 50, Config{Source: s}, foldtest.Deployment())
	d.Press("G", "4", "down", "down")
	d.Expect(layout.Stage, "apiVersion: v1", "nodeName: node-3")
	d.Press("pgdown")
	d.Expect(layout.Stage, "podIP: 10.244.3.2")
	d.Expect(layout.Inspect, "status.conditions[Ready]")
}

func TestReplayWalksAndStops(t *testing.T) {
	s := &story{}
	d := drive(t, 120, 37, Config{Source: s}, foldtest.Deployment())
	d.Expect(layout.Header, "REPLAY", "event 1/")
	d.Press("]")
	d.Expect(layout.Timeline, "mark: apply")
	d.Press("space")
	d.Expect(layout.Timeline, "kubectl: create Deployment/web")
	d.Press("end")
	for _, n := range []string{"10.244.1.2", "10.244.2.3", "10.244.3.2"} {
		d.Expect(layout.Stage, n)
	}
	d.Press("space")
	d.Expect(layout.Hints, "newest moment")
	d.Press("f")
	d.Expect(layout.Hints, "recording")
}

func TestRunAndCopy(t *testing.T) {
	d, s := paused(t, 120, 37, nil)
	d.Press("!", "g", "e", "t", "enter")
	require.Equal(t, []string{"kubectl get"}, s.ran)
	require.Contains(t, d.Screen(), "NAME")
	d.Press("esc", "y")
	d.Expect(layout.Hints, "Copied: POST /api/v1/namespaces/default/pods")
	for line, want := range map[string]string{"klab kubectl get": "kubectl get", "klab  proxy stop node-1": "klab proxy stop node-1"} {
		d.Press(":")
		d.send(tea.PasteMsg{Content: line})
		d.Press("enter", "esc")
		require.Equal(t, want, s.ran[len(s.ran)-1])
	}
	d.Press(":", "l", "a", "n", "enter")
	d.Expect(layout.Header, "已暂停")
}

func TestTheLineIsEditedAndRemembered(t *testing.T) {
	d, s := paused(t, 120, 37, nil)
	d.Press("!", "g", "t", "left", "e")
	d.send(tea.PasteMsg{Content: "\x1b你好"})
	require.Equal(t, "kubectl ge你好t", strings.ReplaceAll(d.m.line.Value(), "·", ""))
	v := d.m.View()
	require.NotNil(t, v.Cursor)
	require.Contains(t, []rune(d.m.draw().Lines()[v.Cursor.Y]), 't')
	require.Equal(t, 't', cellAt(d.m.draw().Lines()[v.Cursor.Y], v.Cursor.X), "the cursor is counted in cells")
	d.Press("home", "end", "enter", "esc", ":", "up")
	require.Equal(t, "kubectl ge你好t", d.m.line.Value())
	d.Press("down")
	require.Empty(t, d.m.line.Value())
	d.Press("esc", "/", "w", "up", "esc")
	require.Empty(t, d.m.filter)
	require.Equal(t, []string{"kubectl ge你好t"}, s.ran)
	require.Nil(t, d.m.View().Cursor)
}

// cellAt is the character that begins at a cell.
func cellAt(line string, x int) rune {
	for _, r := range line {
		if x == 0 {
			return r
		}
		x -= ansi.StringWidth(string(r))
	}
	return 0
}

func TestHelpOpensAndCloses(t *testing.T) {
	d, _ := paused(t, 80, 24, nil)
	d.Press("?")
	require.Contains(t, d.Screen(), "let the top one happen")
	d.Press("?")
	require.NotContains(t, d.Screen(), "let the top one happen")
	d.Press("ctrl+c")
	require.Equal(t, "QUIT", d.m.said)
}

func TestPredictLockStep(t *testing.T) {
	l := &script{}
	d, _ := paused(t, 80, 24, l)
	d.Expect(layout.Lesson, "Predict:", "b) the planner", "how sure?")
	d.Press("enter")
	d.Expect(layout.Hints, "Choose an answer first")
	d.Press("b", "3", "enter")
	require.True(t, l.locked)
	require.Equal(t, 1, l.choice)
	require.Equal(t, 3, l.sure)
	require.Equal(t, layout.Pending, d.m.focus, "the next key steps")
	d.Press("shift+tab", "shift+tab")
	d.Expect(layout.Lesson, "locked: b (certain)")
	l.outcome = strings.Repeat("It is so because of that. ", 30)
	d.m.look()
	d.Expect(layout.Lesson, "locked: b (certain)", "↑ more", "↓ more")
	d.Press("down", "down")
	d.ExpectNot(layout.Lesson, "Predict:")
	d.Press("n", "h", "f1")
	require.Equal(t, []lesson.Act{lesson.Next, lesson.Hint, lesson.Hint}, l.acts)
	require.NotZero(t, l.seen)
	d.Press("left")
	d.Expect(layout.Header, "PAST")
	d.Press("n")
	d.Expect(layout.Header, "PAUSED")
}

// What is done comes into view: the eye returns from the past, and the lesson
// scrolls to what was printed once its prediction has been answered.
func TestWhatIsDoneComesIntoView(t *testing.T) {
	l := &script{locked: true, choice: 1, sure: 3, outcome: strings.Repeat("It is so because of that. ", 30), do: &lesson.Command{Line: "kubectl get pods"}}
	d, _ := paused(t, 120, 37, l)
	d.Expect(layout.Lesson, "locked: b (certain)", "↓ more")
	d.Press("left")
	d.Expect(layout.Header, "PAST")
	d.m.focus = layout.Lesson
	d.Press("enter")
	require.Equal(t, []lesson.Act{lesson.Do}, l.acts)
	d.ExpectNot(layout.Header, "PAST")
	l.do = &lesson.Command{Line: "kubectl get pods", Output: "web-0 Running", Done: true}
	d.m.look()
	d.Expect(layout.Lesson, "web-0 Running")
}

func TestAnswersByDigits(t *testing.T) {
	l := &script{}
	d, _ := paused(t, 160, 50, l)
	d.Press("4", "1", "enter")
	require.Equal(t, 3, l.choice)
	require.Equal(t, 1, l.sure)
}

// While a prediction is open no pane, view, zoom or moment gives it away.
func TestNothingLeaksWhilePredicting(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 37}, {160, 50}} {
		for _, live := range []bool{true, false} {
			s := &story{live: live}
			c := Config{Source: s, Lesson: &script{}, Lang: i18n.English}
			if live {
				c.Control = s
			}
			d := drive(t, size[0], size[1], c, foldtest.Deployment())
			d.Press("end", "+", "+")
			for range 14 {
				screen := d.Screen()
				for _, secret := range []string{"nodeName: node-", "scheduler:", "scheduler reconcile", "kubelet@node", "kubelet:", "10.244.1.2", "10.244.2.3", "NodeResourcesFit"} {
					require.NotContains(t, screen, secret, "%v view %d focus %s\n%s", size, d.m.stage, d.m.focus, screen)
				}
				d.Press("f9", "tab", "b", "down")
			}
		}
	}
}

func TestUntrustedNamesAreCleaned(t *testing.T) {
	evil := "\x1b]0;pwned\x07\x1b[2Jx\u202e"
	s := foldtest.NewScript(0)
	o := step.Object{Resource: "pods", Namespace: "default", Name: evil}
	s.Write(evil, evil, step.Create, o, "", 0, map[string]any{"status": map[string]any{"phase": evil, "podIP": evil}, "spec": map[string]any{"nodeName": evil}})
	s.Fact(0, step.Event{Actor: evil, Node: evil, Verb: step.Ran, Object: o}, step.RanDetail{Line: evil})
	s.Fact(0, step.Event{Actor: evil, Node: evil, Verb: step.Mark}, step.MarkDetail{Name: evil})
	s.Fact(0, step.Event{Actor: evil, Node: evil, Verb: step.Links}, map[string]any{"links": []any{map[string]any{"name": evil, "addresses": []any{evil}}}})
	d := drive(t, 160, 50, Config{Source: &story{}}, s.Events)
	d.Press("end")
	for range 6 {
		check(t, d, 160, 50)
		d.Press("f9")
	}
}

// check requires a frame of exactly w×h cells without control characters.
func check(t require.TestingT, d *driver, w, h int) {
	lines := strings.Split(d.m.View().Content, "\n")
	require.Len(t, lines, h)
	for _, l := range lines {
		plain := ansi.Strip(l)
		require.Equal(t, w, ansi.StringWidth(plain), "%q", plain)
		for _, r := range plain {
			require.False(t, unicode.IsControl(r) || r == 0x202e, "%q", plain)
		}
	}
}

func TestAnySizeAndKeysGiveAWholeFrame(t *testing.T) {
	stories := [][]*step.Event{foldtest.Deployment(), foldtest.Pod(), foldtest.Packets()}
	pressable := []string{"space", "b", "right", "p", "s", "[", "]", "g", "G", "v", "+", "-", "z", "w", "up", "down", "pgup", "pgdown", "tab", "shift+tab", "/", ":", "?", "!", "y", "L", "esc", "enter", "1", "3", "5", "6", "a", "n", "h", "backspace", "f", "x", "d", "k", "o", "t", "B", "中"}
	rapid.Check(t, func(rt *rapid.T) {
		w, h := rapid.IntRange(1, 200).Draw(rt, "w"), rapid.IntRange(1, 60).Draw(rt, "h")
		s := &story{live: rapid.Bool().Draw(rt, "live")}
		c := Config{Source: s, Cards: someCards(), ASCII: rapid.Bool().Draw(rt, "ascii"), Lang: rapid.SampledFrom([]i18n.Lang{i18n.English, i18n.Chinese}).Draw(rt, "lang")}
		if s.live {
			c.Control = s
		}
		if rapid.Bool().Draw(rt, "lesson") {
			c.Lesson = &script{}
		}
		all := rapid.SampledFrom(stories).Draw(rt, "story")
		d := drive(t, w, h, c, all[:rapid.IntRange(0, len(all)).Draw(rt, "n")])
		check(rt, d, w, h)
		for _, k := range rapid.SliceOfN(rapid.SampledFrom(pressable), 0, 12).Draw(rt, "keys") {
			d.Press(k)
			d.m.playing = false
			check(rt, d, w, h)
		}
	})
}

func TestAFrameAllocatesLittle(t *testing.T) {
	d, _ := paused(t, 160, 50, &script{})
	n := testing.AllocsPerRun(10, func() {
		clear(d.m.cached)
		d.m.frame = ""
		d.m.View()
	})
	require.Less(t, n, 2000.0)
	t.Log(n, "allocations without any cache")
}
