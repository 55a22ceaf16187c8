package lessons_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/tui/lesson"
)

const packetLesson = prose + "\n```predict\n" + `id: dst
question: {en: q, zh: 问}
choices: {a: {en: the Service, zh: 服务}, b: {en: a Pod, zh: 一个}, z: {en: other, zh: 其他}}
event: {hop: {layer: rule, verdict: dnat, chain: "KUBE-SEP-*", node: node-1, changed: dst}}
answer: {by: detail, path: hdr.dst, map: {"10.96.*": a, "10.1.2.*": b}, else: z}
hide: ["hop/verdict=dnat", pane/ran]
why: {en: w, zh: 因}
` + "```\n\n```do\n- break: cut-link node-2\n- packet: pod/web svc/api:80\n- packet: pod/web 10.1.2.7 icmp\n- mend: all\n- view: 3\n```\n" + `
## isolated

:::en
a
:::

:::zh
甲
:::

` + "```check\n" + `id: closed
packet:
- {from: pod/web, to: svc/api:80, outcome: lost, drop: policy*}
- {from: other/friend, to: svc/api:80, outcome: answered}
text: {en: t, zh: 文}
notyet: {en: n, zh: 未}
wrong: [{do: "true", undo: "true"}]
` + "```\n"

func packetFront() string {
	return strings.Replace(front, "order: 1", "order: 1\nreset: [{mend: all}]", 1)
}

// lab is a Host that sends packets as its rules say, and a source of what then
// happens.
type lab struct {
	lessons.Host // what is not asked for here
	stream
	mu       sync.Mutex
	session  *lessons.Session
	ran      []string
	outcomes map[string]string // by "FROM TO"
	whole    bool              // nothing is broken
	id       uint64
}

func (l *lab) SetMode(_ context.Context, m step.Mode) error {
	l.happen(func() { l.add(0, step.PhaseFact, step.ModeSet, step.Object{}, step.ModeDetail{Mode: m}) })
	return nil
}

func (l *lab) SetRate(context.Context, float64) error { return nil }

func (l *lab) Mark(_ context.Context, name string) error {
	l.happen(func() { l.mark(name) })
	return nil
}

func (l *lab) Note(_ context.Context, name, text string) error {
	l.happen(func() { l.add(0, step.PhaseFact, step.Mark, step.Object{}, step.MarkDetail{Name: name, Text: text}) })
	return nil
}

func (l *lab) happen(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.list)
	f()
	l.session.Follow(nil, l.list[n:])
}

func (l *lab) Klab(_ context.Context, args ...string) (string, error) {
	l.happen(func() { l.ran = append(l.ran, strings.Join(args, " ")) })
	l.id++
	switch args[0] {
	case "packet":
		d := step.PacketDetail{ID: args[1], Proto: "tcp", From: place(args[1]), To: place(args[2])}
		d.Outcome, _, _ = strings.Cut(l.outcomes[args[1]+" "+args[2]], " ")
		if _, reason, ok := strings.Cut(l.outcomes[args[1]+" "+args[2]], " "); ok {
			d.Drop = &step.HopDrop{Reason: reason}
		}
		if _, port, ok := strings.Cut(args[2], ":"); ok && port == "80" {
			d.Port = 80
		}
		l.happen(func() {
			l.add(l.id, step.PhaseBegin, step.Packet, step.Object{}, d)
			l.add(l.id, step.PhaseFact, step.HopSeen, step.Object{}, step.HopDetail{Packet: d.ID, Hop: step.Hop{Node: "node-1", NS: "node-1", Layer: step.LayerRule,
				Table: "nat", Chain: "KUBE-SEP-AAAA", Verdict: "dnat", Hdr: step.HopHeader{Src: "10.1.1.5:41022", Dst: "10.1.2.7:8080"}, Changed: []string{"dst"}}})
			l.add(l.id, step.PhaseEnd, step.Packet, step.Object{}, d)
		})
		if d.Outcome != "answered" {
			return "", errors.New("the packet was lost")
		}
	case "break", "mend":
		if l.whole {
			return "nothing is broken", nil
		}
		l.happen(func() {
			l.add(l.id, step.PhaseBegin, step.Verb(args[0]), step.Object{}, step.FaultDetail{Card: "cut-link"})
			l.add(l.id, step.PhaseEnd, step.Verb(args[0]), step.Object{}, step.FaultDetail{Card: "cut-link"})
		})
	}
	return "", nil
}

func place(s string) step.Place {
	s, _, _ = strings.Cut(s, ":")
	parts := strings.Split(s, "/")
	switch {
	case len(parts) == 1:
		return step.Place{Kind: "address", Address: s}
	case parts[0] == "svc":
		return step.Place{Kind: "service", Namespace: "default", Name: parts[1], Address: "10.96.0.12"}
	case parts[0] == "pod":
		return step.Place{Kind: "pod", Namespace: "default", Name: parts[1]}
	}
	return step.Place{Kind: "pod", Namespace: parts[0], Name: parts[1]}
}

func packetsLesson(t *testing.T) *lessons.Lesson {
	t.Helper()
	l, err := lessons.Parse("x", []byte(packetFront()+packetLesson))
	require.NoError(t, err)
	l.Files = fstest.MapFS{"solution.sh": {Data: []byte("#!/bin/sh\nexec kubectl apply -f policy.yaml\n")}}
	return l
}

// A learner may be quicker with "klab mend" than the lesson.
func TestAMendThatFindsNothingIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &lab{outcomes: map[string]string{"pod/web svc/api:80": "answered", "pod/web 10.1.2.7": "lost no-listener"}}
		s := lessons.NewSession(packetsLesson(t), h, nil)
		h.session = s
		require.NoError(t, s.Begin(t.Context()))
		require.NoError(t, s.Answer(1, 2))
		for range 3 {
			require.NoError(t, s.Act(t.Context(), lesson.Do))
		}
		require.Equal(t, "klab mend all", s.View("en").Do.Line)
		h.whole = true
		require.NoError(t, s.Act(t.Context(), lesson.Do))
		require.True(t, s.View("en").Do.Done)
		require.Equal(t, "nothing is broken", s.View("en").Do.Output)
		require.True(t, s.View("en").CanNext)
	})
}

func TestPacketsOfALesson(t *testing.T) {
	l := packetsLesson(t)
	require.Empty(t, lessons.Lint(l, nil))
	h := &lab{outcomes: map[string]string{"pod/web svc/api:80": "answered", "pod/web 10.1.2.7": "lost no-listener", "other/friend svc/api:80": "answered"}}
	s := lessons.NewSession(l, h, nil)
	h.session = s
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, s.Begin(ctx))
	require.Contains(t, h.ran, "mend all", "what an earlier run broke is mended")
	require.NoError(t, s.Answer(1, 2))
	for _, want := range []string{"break cut-link node-2", "packet pod/web svc/api:80", "packet pod/web 10.1.2.7 --proto icmp", "mend all"} {
		require.Equal(t, "klab "+want, s.View("en").Do.Line)
		require.NoError(t, s.Act(ctx, lesson.Do))
		require.Equal(t, want, h.ran[len(h.ran)-1], "a lost packet is no failure")
	}
	v := s.View("en")
	require.Equal(t, 1, v.Prompt.Answer)
	require.Contains(t, v.Prompt.Seen, "node-1 nat KUBE-SEP-AAAA dnat: 10.1.1.5:41022 → 10.1.2.7:8080, hdr.dst = 10.1.2.7:8080")
	require.Equal(t, "packet", v.Show)

	require.NoError(t, s.Act(ctx, lesson.Next))
	closed := func() bool { return s.View("en").Checks[0].Done }
	check := func() { require.NoError(t, s.Act(ctx, lesson.Check)) }
	require.Contains(t, s.View("en").Waiting, "c sends the packets")
	check()
	require.False(t, closed(), "nothing was done")
	require.Equal(t, "n", s.View("en").Checks[0].NotYet)
	h.outcomes["pod/web svc/api:80"] = "lost link-down"
	check()
	require.False(t, closed(), "it is lost, but for another reason")
	h.outcomes = map[string]string{"pod/web svc/api:80": "lost policy-drop", "other/friend svc/api:80": "lost policy-drop"}
	check()
	require.False(t, closed(), "the friend is kept out as well")
	// What was found before the lab changed counts no longer.
	h.happen(func() { h.add(99, step.PhaseEnd, step.PolicySync, step.Object{}, nil) })
	h.outcomes["other/friend svc/api:80"] = "answered"
	_, err := h.Klab(ctx, "packet", "other/friend", "svc/api:80")
	require.NoError(t, err)
	require.False(t, closed(), "only one of the two is known")
	check()
	require.True(t, closed())
	h.outcomes["other/friend svc/api:80"] = "lost policy-drop"
	check()
	require.True(t, closed(), "reached once, it stays reached")

	again := lessons.NewSession(l, nil, nil) // the same from a recording
	require.NoError(t, again.Answer(0, 1))
	n := again.Follow(nil, h.list)
	require.Less(t, n, len(h.list), "it stops where the step is over")
	require.Equal(t, 1, again.View("zh").Prompt.Answer)
	require.True(t, again.View("zh").CanNext)
	require.NoError(t, again.Act(ctx, lesson.Next))
	require.Equal(t, len(h.list)-n, again.Follow(nil, h.list[n:]))
	require.True(t, again.View("zh").Checks[0].Done)
	require.NoError(t, again.Act(ctx, lesson.Check), "which sends nothing")
}

// Who plays a lesson as text has its packets sent again until they come out
// as they should.
func TestPlainSendsPackets(t *testing.T) {
	l := packetsLesson(t)
	h := &lab{outcomes: map[string]string{"pod/web svc/api:80": "answered", "pod/web 10.1.2.7": "lost no-listener", "other/friend svc/api:80": "answered"}}
	s := lessons.NewSession(l, h, nil)
	h.session = s
	var out strings.Builder
	p := &lessons.Plain{Session: s, Lang: "en", Out: &out, Next: func(ctx context.Context) ([]*step.Event, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}, Solve: func(context.Context, *lessons.Step) (string, error) {
		h.outcomes["pod/web svc/api:80"] = "lost policy-drop"
		return "kubectl apply -f policy.yaml", nil
	}}
	require.NoError(t, p.Run(t.Context()), "%s", &out)
	require.Contains(t, out.String(), "[x] t")
	require.GreaterOrEqual(t, slices.Index(h.ran, "packet other/friend svc/api:80"), 0)
}

func TestPacketWordsThatAreWrong(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"no end":         {"packet: pod/web svc/api:80", "packet: pod/web", "packet is FROM TO[:PORT]"},
		"protocol":       {"10.1.2.7 icmp", "10.1.2.7 sctp", "tcp, udp or icmp, not sctp"},
		"view":           {"view: 3", "view: packets", "view is one of"},
		"hop word":       {"verdict: dnat", "verdikt: dnat", "unknown field verdikt"},
		"outcome":        {"outcome: answered", "outcome: arrived", "not arrived"},
		"arrives lost":   {"outcome: answered", "outcome: answered, drop: policy", "no drop"},
		"no from":        {"{from: other/friend, ", "{", "needs from and to"},
		"packet, object": {"id: closed\n", "id: closed\nobject: pods/default/a\n", "only one of them"},
		"two of a kind":  {"event: {hop: {", "event: {packet: {from: a, to: b}, hop: {", "not of both"},
	} {
		t.Run(name, func(t *testing.T) {
			source := packetFront() + packetLesson
			require.Contains(t, source, c.from)
			_, err := lessons.Parse("x", []byte(strings.Replace(source, c.from, c.to, 1)))
			require.ErrorContains(t, err, c.want)
		})
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"shows the way": {`"hop/verdict=dnat", pane/ran`, "actor/klab", "hide it from the place in question on"},
		"not mended":    {"reset: [{mend: all}]", "", "break needs a mend"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := lessons.Parse("x", []byte(strings.Replace(packetFront()+packetLesson, c.from, c.to, 1)))
			require.NoError(t, err)
			l.Files = packetsLesson(t).Files
			var all []string
			for _, f := range lessons.Lint(l, nil) {
				all = append(all, f.Error())
			}
			require.Contains(t, strings.Join(all, "\n"), c.want)
		})
	}
}
