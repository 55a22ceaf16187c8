package tui

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/view"
)

// someCards are cards as "klab break" has them.
func someCards() []view.Card {
	heals := view.Words{EN: "Nobody repairs it.", ZH: "没有谁会修复它。"}
	list := []view.Card{
		{Name: "cut-link", On: "node or pod", Title: view.Words{EN: "Cut a cable", ZH: "剪断网线"}, Heals: heals,
			Does: view.Words{EN: "The far end of the cable of a node or of a pod is set down.", ZH: "把节点或 Pod 网线的另一端关掉。"},
			Sees: view.Words{EN: "Whoever sends learns nothing; packets end at the cable.", ZH: "发送方得不到任何消息；数据包到网线处为止。"}},
		{Name: "drop", On: "node or pod", Title: view.Words{EN: "Lose packets", ZH: "丢包"}, Heals: heals,
			Does: view.Words{EN: "One packet in so many is lost on the cable.", ZH: "网线上每若干个数据包丢掉一个。"},
			Sees: view.Words{EN: "Connections are slow: what is lost is sent again.", ZH: "连接变慢：丢了的要重传。"},
			Args: []view.CardArg{{Name: "share", Default: "30", Says: view.Words{EN: "how many of 100 are lost", ZH: "每 100 个丢几个"}}}},
		{Name: "stop-proxy", On: "node", Title: view.Words{EN: "Stop kube-proxy", ZH: "停掉 kube-proxy"}, Heals: heals,
			Does: view.Words{EN: "The node's kube-proxy is stopped; its rules stay.", ZH: "停掉该节点的 kube-proxy；它的规则还在。"},
			Sees: view.Words{EN: "Services that change later are wrong on this node.", ZH: "之后变化的 Service 在这个节点上是错的。"}},
		{Name: "dns-down", On: "cluster", Title: view.Words{EN: "No DNS server", ZH: "没有 DNS 服务器"}, Heals: heals},
		{Name: "wrong-selector", On: "service", Title: view.Words{EN: "A selector that fits nobody", ZH: "谁也选不中的选择器"}, Heals: heals},
	}
	for i := range 12 {
		list = append(list, view.Card{Name: fmt.Sprintf("card-%d", i), On: "deployment", Title: view.Words{EN: "One more card", ZH: "又一张卡"}})
	}
	return list
}

// broken is the story of packets with n more faults at its end.
func broken(n int) []*step.Event {
	s := foldtest.NewScript(0)
	s.Events = foldtest.Packets()
	for range s.Events { // its steps have other numbers
		s.Hold(step.Event{Verb: step.Break}, nil)
	}
	for i := range n {
		d := step.FaultDetail{ID: fmt.Sprintf("drop-node-%d", i+1), Card: "drop", Node: fmt.Sprintf("node-%d", i+1), Target: fmt.Sprintf("node-%d", i+1), Args: map[string]string{"share": "30"}}
		s.Do(step.Event{Actor: "fault", Verb: step.Break, Object: step.Object{Resource: "faults", Name: d.ID}}, d, nil)
	}
	return s.Events
}

// The page of cards at three sizes, in both languages, with both sets of signs.
func TestCardScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 37}, {160, 50}} {
		for _, lang := range []i18n.Lang{i18n.English, i18n.Chinese} {
			for _, ascii := range []bool{false, true} {
				signs := "unicode"
				if ascii {
					signs = "ascii"
				}
				name := fmt.Sprintf("%dx%d-%s-%s", size[0], size[1], lang, signs)
				t.Run(name, func(t *testing.T) {
					s := &story{live: true}
					d := drive(t, size[0], size[1], Config{Source: s, Control: s, Cards: someCards(), Lang: lang, ASCII: ascii}, broken(2))
					d.Press("B", "down")
					golden(t, "cards-"+name, d)
				})
			}
		}
	}
	d := drive(t, 120, 37, Config{Source: &story{}, Cards: someCards(), Lang: i18n.English}, foldtest.Packets())
	d.Press("B", "enter")
	require.Contains(t, d.Screen(), "not played")
	golden(t, "cards-replay", d)
}

func TestCardsArePlayedAndMended(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 120, 37, Config{Source: s, Control: s, Cards: someCards(), Lang: i18n.English}, broken(0))
	d.Press(":")
	d.m.line.set("break")
	d.Press("enter", "1") // a card that needs a target
	require.Contains(t, d.Screen(), "on which node or pod?")
	golden(t, "cards-target", d)
	d.Press("2")
	require.Equal(t, []string{"break cut-link node-2 --lang en"}, s.ran)
	require.Equal(t, choosingCard, d.m.over, "the page stays")
	require.Contains(t, d.Screen(), "NAME web", "what came of it")
	d.Press("4") // the whole cluster
	require.Equal(t, "break dns-down --lang en", s.ran[1])
	d.Press("2", "esc", "down", "enter", "enter") // back out of one; another
	require.Equal(t, "break stop-proxy node-1 --lang en", s.ran[2])
	d.Press("2", "1") // one with arguments: they may be changed first
	require.Equal(t, commanding, d.m.over)
	d.Press("backspace", "5", "enter")
	require.Equal(t, "break drop node-1 share=35", s.ran[3])

	d = drive(t, 120, 37, Config{Source: s, Control: s, Cards: someCards(), Lang: i18n.English}, broken(2))
	s.ran = nil
	d.Press("B", "enter")
	require.Equal(t, []string{"mend drop-node-2 --lang en"}, s.ran, "the newest is first")
	d.Press("3")
	require.Equal(t, "mend --all --lang en", s.ran[1])
	d.send(brokeMsg{out: "Error: there is nothing to break", err: errGone})
	require.Contains(t, d.Screen(), "there is nothing to break")
	d.Press("esc")
	require.Equal(t, none, d.m.over)
}

// A pod that runs in its node's network has no cable; a Service is listed with
// its namespace; a prediction hides what is broken.
func TestTargetsOfCards(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 120, 37, Config{Source: s, Control: s, Cards: someCards(), Lang: i18n.English}, broken(1))
	list := view.Targets(d.m.state(), view.Mask{}, view.Card{Name: "drop", On: "node or pod"})
	require.Equal(t, "node-1", list[0].Name)
	require.True(t, list[0].Broken)
	require.False(t, list[1].Broken)
	require.True(t, slices.ContainsFunc(list, func(t view.Target) bool { return t.Name == "default/web-0" && t.Where == "node-1" }), "%v", list)
	list = view.Targets(d.m.state(), view.Mask{}, view.Card{On: "service"})
	require.Equal(t, "default/api", list[0].Name)

	c := Config{Source: s, Control: s, Cards: someCards(), Lesson: &hiding{hide: []string{"verb/break"}}, Lang: i18n.English}
	d = drive(t, 120, 37, c, broken(1))
	d.Press("tab", "B")
	require.NotContains(t, d.Screen(), "loses packets")
	require.Contains(t, d.Screen(), "What is broken is hidden")
}

// Whatever is pressed on the page at whatever size, a frame is whole.
func TestAnyCardsGiveAWholeFrame(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	odd := []string{"", "x", "\x1b[31m", "很长的名字", strings.Repeat("veryLong", 12), "a\u202eb"}
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	words := func() view.Words { return view.Words{EN: pick(odd...), ZH: pick(odd...)} }
	for range 20 {
		var list []view.Card
		for range r.IntN(30) {
			list = append(list, view.Card{Name: pick(odd...), On: pick("cluster", "node", "pod", "node or pod", "service", "moon"), Title: words(), Does: words(), Sees: words(), Heals: words(),
				Args: []view.CardArg{{Name: pick(odd...), Default: pick(odd...), Says: words()}}})
		}
		w, h := 60+r.IntN(140), 18+r.IntN(40)
		s := &story{live: r.IntN(2) == 0}
		d := drive(t, w, h, Config{Source: s, Control: s, Cards: list, Lang: i18n.Lang(pick("en", "zh")), ASCII: r.IntN(2) == 0}, broken(r.IntN(4)))
		d.Press("B")
		for range 15 {
			d.Press(pick("up", "down", "1", "3", "9", "enter", "pgdown", "pgup", "home", "end", "L", "B"))
			check(t, d, w, h)
			if r.IntN(4) == 0 {
				w, h = 60+r.IntN(140), 18+r.IntN(40)
				d.send(tea.WindowSizeMsg{Width: w, Height: h})
				check(t, d, w, h)
			}
		}
	}
}

func TestTheNewPagesAllocateLittle(t *testing.T) {
	cards := drive(t, 160, 50, Config{Source: &story{}, Cards: someCards(), Lang: i18n.English}, broken(3))
	cards.Press("B")
	calls := drive(t, 160, 50, Config{Source: &story{}, Lang: i18n.English}, foldtest.Calls())
	calls.Press("end", "6")
	nodes := drive(t, 160, 50, Config{Source: &story{}, Lang: i18n.English}, foldtest.RecordedPackets(t))
	walkTo(nodes, 4, func(h *step.Hop) bool { return h.Verdict == "dnat" })
	for name, d := range map[string]*driver{"cards": cards, "calls": calls, "four machines": nodes} {
		n := testing.AllocsPerRun(10, func() {
			clear(d.m.cached)
			d.m.frame = ""
			d.m.View()
		})
		require.Less(t, n, 2000.0, name)
		t.Log(name, n, "allocations without any cache")
	}
}
