package tui

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/view"
)

// walk opens the stage at the n-th hop of the i-th packet.
func walk(d *driver, i, n int) {
	d.m.turn(network)
	p := d.m.history.Now().Packets[i]
	seq := p.EndSeq
	if n < len(p.Walk) {
		seq = p.Walk[n].EventSeq
	}
	d.m.focus, d.m.frame = layout.Stage, ""
	d.m.turnEye(seq)
	d.m.place()
}

const atEnd = 1 << 20

// upTo is the story up to the end of a packet.
func upTo(id string) []*step.Event {
	all, s := foldtest.Packets(), fold.New()
	for i, e := range all {
		if s.Apply(e); s.Packet(id) != nil && s.Packet(id).Ended {
			return all[:i+1]
		}
	}
	return all
}

// A packet's way at three sizes, in both languages, with both sets of signs:
// while it is wrapped in another, and where a policy drops it.
func TestPacketScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 37}, {160, 50}} {
		for _, lang := range []i18n.Lang{i18n.English, i18n.Chinese} {
			for _, ascii := range []bool{false, true} {
				signs := "unicode"
				if ascii {
					signs = "ascii"
				}
				name := fmt.Sprintf("%dx%d-%s-%s", size[0], size[1], lang, signs)
				t.Run(name, func(t *testing.T) {
					d := drive(t, size[0], size[1], Config{Source: &story{}, Lang: lang, ASCII: ascii}, foldtest.RecordedPackets(t))
					walkTo(d, 0, func(h *step.Hop) bool { return h.Outer != nil && h.Iface == "eth0" && h.Layer == step.LayerLink })
					golden(t, "packet-wrapped-"+name, d)
					walk(d, 1, atEnd)
					golden(t, "packet-refused-"+name, d)
				})
			}
		}
	}
}

// Addresses of IPv6 are long, and nothing that they push aside is cut off on the
// smallest screen: the stage, its inspector, the addresses that a rule changes.
func TestPacketScreensOfIPv6(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 37}} {
		for _, lang := range []i18n.Lang{i18n.English, i18n.Chinese} {
			name := fmt.Sprintf("%dx%d-%s", size[0], size[1], lang)
			t.Run(name, func(t *testing.T) {
				d := drive(t, size[0], size[1], Config{Source: &story{}, Lang: lang}, foldtest.RecordedPackets6(t))
				walkTo(d, 0, func(h *step.Hop) bool { return h.Verdict == "dnat" })
				golden(t, "packet6-dnat-"+name, d)
				walkTo(d, 0, func(h *step.Hop) bool { return h.CT != nil })
				golden(t, "packet6-conntrack-"+name, d)
				walkTo(d, 0, func(h *step.Hop) bool { return h.Neigh != nil && h.NS == "node-1" })
				golden(t, "packet6-neighbour-"+name, d)
				walk(d, 1, atEnd)
				golden(t, "packet6-refused-"+name, d)
				walk(d, 2, atEnd)
				golden(t, "packet6-outside-"+name, d)
			})
		}
	}
}

// walkTo opens the stage at the first hop of the i-th packet that is so.
func walkTo(d *driver, i int, is func(*step.Hop) bool) {
	for n, h := range d.m.history.Now().Packets[i].Walk {
		if is(&h.Hop) {
			walk(d, i, n)
			return
		}
	}
	require.Fail(d.t, "no such hop")
}

// Recorded packets at other moments, once each.
func TestRecordedPackets(t *testing.T) {
	d := drive(t, 120, 37, Config{Source: &story{}, Lang: i18n.English}, foldtest.RecordedPackets(t))
	walkTo(d, 0, func(h *step.Hop) bool { return h.Verdict == "dnat" })
	d.Expect(layout.Stage, "DNAT", "KUBE-SEP-")
	d.Expect(layout.Inspect, "EndpointSlice/api-", "addresses[0]: 10.244.2.2")
	golden(t, "packet-recorded-nat", d)
	walkTo(d, 0, func(h *step.Hop) bool { return h.NS == "underlay" })
	golden(t, "packet-recorded-wire", d)
	walk(d, 2, atEnd)
	d.Expect(layout.Stage, "cable cut", "lost: a link is down")
	golden(t, "packet-recorded-cut", d)
	walkTo(d, 3, func(h *step.Hop) bool { return h.Pod == "default/near" })
	golden(t, "packet-recorded-same-node", d)
	walkTo(d, 4, func(h *step.Hop) bool { return h.Verdict == "dnat" })
	golden(t, "packet-recorded-outside", d)
	d = drive(t, 160, 50, Config{Source: &story{}, Lang: i18n.English}, foldtest.RecordedPackets(t))
	walkTo(d, 4, func(h *step.Hop) bool { return h.Verdict == "dnat" })
	golden(t, "packet-recorded-outside-160", d)
	walkTo(d, 4, func(h *step.Hop) bool { return h.Leg == step.LegReply && h.Verdict != "" && h.Node == "node-1" })
	d.Expect(layout.Stage, "╭─ outside", "╭──│─ gateway", "[flannel.1]")
	golden(t, "packet-recorded-back-160", d)
}

// Moments of the story, once each.
func TestPacketMoments(t *testing.T) {
	d := drive(t, 120, 37, Config{Source: &story{}, Lang: i18n.English}, foldtest.Packets())
	for name, at := range map[string][2]int{"reply": {0, 28}, "differs": {1, atEnd}, "cut": {2, atEnd}} {
		walk(d, at[0], at[1])
		golden(t, "packet-"+name, d)
	}
	walk(d, 0, 3)
	d.Press("o")
	golden(t, "packet-rules", d)
	walk(d, 2, atEnd)
	d.Press("3")
	golden(t, "packet-network-cut", d)
	d.Press("1")
	golden(t, "packet-cluster-cut", d)
}

func TestWalkingHopByHop(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 120, 37, Config{Source: s, Control: s, Lang: i18n.English}, upTo("p1"))
	d.m.focus = layout.Stage
	d.Press("3")
	d.Expect(layout.Stage, "Packet", ">(33)<", "answered", "hops of the reply")
	d.Press("up", "up")
	d.Expect(layout.Stage, ">(32)<", "on its way")
	d.Expect(layout.Header, "PAST")
	d.Press("left", "b")
	d.Expect(layout.Stage, ">(30)<┄○")
	d.Press("right")
	d.Expect(layout.Stage, ">(31)<")
	d.Press("n")
	d.Expect(layout.Stage, "hops of the request")
	d.Press("n")
	d.Expect(layout.Stage, "hops of the reply")
	d.Press("pgup", "pgup")
	d.Expect(layout.Stage, ">(11)<", "hops of the request")
	d.Press("pgup", "up", "up")
	d.Expect(layout.Stage, "It is not on its way")
}

func TestAPacketIsSent(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 120, 37, Config{Source: s, Control: s, Lang: i18n.English}, foldtest.Packets())
	d.Press("t")
	require.Equal(t, commanding, d.m.over)
	d.Expect(layout.Stage, "packet pod/web-0 svc/api:80")
	d.Press("backspace", "1", "space", "u", "d", "p", "enter")
	require.Equal(t, []string{"packet pod/web-0 svc/api:81 --proto udp"}, s.ran)
	require.True(t, d.m.onPacket(), "it is looked at")
	for _, line := range []string{"packet pod/a", "packet", "break cut-link node-1", "mend --all"} {
		d.Press(":")
		d.m.line.set(line)
		d.Press("enter", "esc")
	}
	require.Equal(t, []string{"break cut-link node-1", "mend --all"}, s.ran[1:])
	d.send(sentMsg{line: "packet a b", out: "1 hop\nlost", err: exited(2)})
	require.Equal(t, none, d.m.over, "it was lost, which the stage shows")
	d.send(sentMsg{line: "packet --watch a", out: "1 hop\n2 hops", err: exited(-1)})
	require.Equal(t, none, d.m.over, "the stage shows what was watched")
	d.send(sentMsg{line: "packet a b", out: "there is no pod a", err: errGone})
	require.Equal(t, reading, d.m.over, "but this is")
}

// exited is a command's exit code.
type exited int

func (e exited) Error() string { return "it failed" }
func (e exited) ExitCode() int { return int(e) }

func TestPacketsAreChosen(t *testing.T) {
	d := drive(t, 120, 37, Config{Source: &story{}, Lang: i18n.English}, foldtest.Packets())
	walk(d, 2, atEnd)
	d.Expect(layout.Stage, "lost: a link is down", "node-2: cable cut")
	d.Press("enter")
	d.Expect(layout.Stage, "lost: no NetworkPolicy allows it")
	d.Expect(layout.Inspect, "NetworkPolicy/deny-web", "kubectl: create")
	d.Press("enter")
	d.Expect(layout.Stage, "answered")
	d.Press("enter")
	d.Expect(layout.Stage, "lost: a link is down")
	d.Press("w")
	require.Equal(t, layout.Inspect, d.m.focus)
	d.Press("w")
	require.Equal(t, layout.Stage, d.m.focus)
	d.Press("3")
	require.False(t, d.m.showsPacket())
	d.Expect(layout.Stage, "flannel.1", "routes", "cable cut")
	d.Press("3")
	require.True(t, d.m.showsPacket())
}

// What a mask hides of packets' ways is nowhere on the screen, at any moment
// and size; what is before it stays.
func TestAPacketsWayDoesNotLeak(t *testing.T) {
	secrets := map[string]struct{ hidden, shown []string }{
		"hop/verdict=dnat":                  {[]string{"10.244.2.7", "DNAT", "KUBE-SEP", "flannel.1 ", "answered", "771", "api-1", "policy", "lost"}, []string{"KUBE-SERVICES"}},
		"hop/chain=KUBE-SEP-*":              {[]string{"10.244.2.7", "DNAT", "answered", "lost"}, []string{"KUBE-SERVICES"}},
		"hop/changed=dst":                   {[]string{"10.244.2.7", "DNAT"}, []string{"KUBE-SERVICES"}},
		"hop/12":                            {[]string{"UDP 8472", "answered", "socket", "lost", "KUBE-POD-FW"}, []string{"DNAT"}},
		"hop/*":                             {[]string{"KUBE-S", "10.244.2.7", "answered", "veth3f21ab"}, []string{"web-0"}},
		"hop/drop.reason=network-policy":    {[]string{"deny-web", "NetworkPolicy", "KUBE-POD-FW"}, []string{"DNAT"}},
		"verb/hop":                          {[]string{"KUBE-S", "10.244.2.7:", "answered", "lost"}, []string{"web-0"}},
		"verb/packet":                       {[]string{"KUBE-S", "10.244.2.7:", "answered", "lost"}, nil},
		"pane/packet":                       {[]string{"KUBE-S", "10.244.2.7:", "answered", "lost"}, nil},
		"field/pods/spec.nodeName":          {[]string{"KUBE-S", "10.244.2.7:", ">(1)<"}, nil},
		"field/pods/status.podIP":           {[]string{"10.244.2.7", ">(1)<"}, nil},
		"hop/object.resource=networkpolic*": {[]string{"deny-web", "KUBE-POD-FW"}, []string{"DNAT"}},
	}
	for hide, words := range secrets {
		for _, size := range [][2]int{{80, 24}, {160, 50}} {
			for _, live := range []bool{true, false} {
				s := &story{live: live}
				c := Config{Source: s, Lesson: &hiding{hide: []string{hide}}, Lang: i18n.English}
				d := drive(t, size[0], size[1], c, foldtest.Packets())
				shown := ""
				for i, p := range d.m.history.Now().Packets {
					for n := 1; n <= len(p.Walk); n += 3 {
						walk(d, i, n)
						screen := d.Pane(layout.Stage)
						shown += screen
						if !d.m.mask.Pane("packet") {
							screen += d.Pane(layout.Inspect)
						}
						for _, w := range words.hidden {
							require.NotContains(t, screen, w, "%s hides it\n%s", hide, screen)
						}
					}
				}
				for _, w := range words.shown {
					require.Contains(t, shown, w, "%s does not hide it", hide)
				}
			}
		}
	}
}

// In the recording of a lesson, what comes after the eye is not shown, not
// even as what is ahead.
func TestARecordedLessonShowsNothingAhead(t *testing.T) {
	c := Config{Source: &story{}, Lesson: &hiding{}, Lang: i18n.English}
	d := drive(t, 160, 50, c, foldtest.Packets())
	walk(d, 0, 4)
	d.ExpectNot(layout.Stage, "flannel.1", "node-2", "api-1")
	c.Lesson = nil
	d = drive(t, 160, 50, c, foldtest.Packets())
	walk(d, 0, 4)
	d.Expect(layout.Stage, "flannel.1", "node-2", "api-1")
	d.ExpectNot(layout.Stage, "UDP 8472", "172.30.0.12:", "conntrack 10")
}

// Text of packets and objects never reaches the terminal as it is, and a frame
// is whole whatever the walk looks like.
func TestAnyWalkGivesAWholeFrame(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	odd := []string{"", "x", "\x1b[31m", "很长的名字", strings.Repeat("veryLong", 9), "eth0", "a\u202eb", "pod/default/b"}
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	layers := []string{step.LayerLink, step.LayerRule, step.LayerRoute, step.LayerConntrack, step.LayerNeighbour, step.LayerEncap, step.LayerDecap, step.LayerSocket, step.LayerDrop, "new-layer"}
	for range 80 {
		s := foldtest.NewScript(0)
		d := step.PacketDetail{ID: "p", From: step.Place{Kind: pick("pod", "", "outside"), Name: pick(odd...)}, To: step.Place{Name: pick(odd...), Address: pick(odd...)}, Proto: pick("tcp", odd[2])}
		s.Do(step.Event{Actor: "klab", Verb: step.Packet}, d, func(id uint64) any {
			for i := range r.IntN(50) {
				h := step.Hop{Seq: i + 1, Leg: pick("request", "request", "reply", "error", ""), NS: pick(odd...), Node: pick("", "node-1", "node-2", "node-3", odd[3]), Pod: pick(odd...), Layer: pick(layers...),
					Iface: pick(odd...), Dir: pick("in", "out", ""), Peer: pick(odd...), Hook: pick("", "forward", odd[2]), Table: pick("nat", odd[3]), Chain: pick(odd...), Verdict: pick("dnat", "drop", "jump", "", odd[2]),
					Hdr: step.HopHeader{Src: pick(odd...), Dst: pick(odd...), TTL: r.IntN(65)}, Changed: []string{pick("src", "dst", "ttl", odd[2])}}
				if r.IntN(3) == 0 {
					h.Rule, h.Outer, h.Route = &step.HopRule{Text: pick(odd...)}, &step.HopOuter{Kind: pick("vxlan", "udp", odd[2]), Src: pick(odd...)}, &step.HopRoute{Type: pick("unicast", "none"), Dev: pick(odd...)}
					h.CT, h.Neigh, h.Skipped = &step.HopCT{Orig: pick(odd...)}, &step.HopNeigh{Table: pick("arp", ""), Key: pick(odd...)}, []step.HopRule{{Text: pick(odd...)}}
				}
				if h.Layer == step.LayerDrop && r.IntN(2) == 0 {
					h.Drop = &step.HopDrop{Reason: pick(odd...), Says: pick(odd...), Evidence: odd, Object: &step.Object{Resource: "services", Name: pick(odd...)}}
				}
				s.Fact(id, step.Event{Actor: "klab", Verb: step.HopSeen}, step.HopDetail{Packet: "p", Hop: h})
			}
			d.Outcome, d.Differs = pick("lost", "answered", odd[2]), r.IntN(9)
			d.Predicted = []step.Hop{{Seq: 3, NS: pick(odd...)}}
			return d
		})
		w, h := 60+r.IntN(140), 18+r.IntN(40)
		drv := drive(t, w, h, Config{Source: &story{}, Lang: i18n.Lang(pick("en", "zh")), ASCII: r.IntN(2) == 0}, s.Events)
		drv.Press("3")
		for range 12 {
			drv.Press(pick("up", "down", "left", "right", "n", "o", "z", "3", "w", "enter", "G", "g", "pgup"))
			check(t, drv, w, h)
		}
		drv.send(tea.WindowSizeMsg{Width: 70, Height: 20})
		check(t, drv, 70, 20)
	}
}

func TestThePacketStageAllocatesLittle(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 160, 50, Config{Source: s, Control: s, Lang: i18n.English}, foldtest.Packets())
	walk(d, 0, 12)
	n := testing.AllocsPerRun(10, func() {
		clear(d.m.cached)
		d.m.frame = ""
		d.m.View()
	})
	require.Less(t, n, 2000.0)
	t.Log(n, "allocations without any cache")
}

func TestFindingsOfAPacketView(t *testing.T) {
	require.Nil(t, view.NewPacketStage(fold.New(), nil, view.Mask{}, "", "", true))
}
