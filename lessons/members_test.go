package lessons_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/tui/lesson"
)

// TestEveryLessonPlays plays each lesson's recording as text, in both languages.
func TestEveryLessonPlays(t *testing.T) {
	list, err := lessons.Catalog(lessons.Content())
	require.NoError(t, err)
	for _, l := range list {
		for _, lang := range lessons.Langs {
			p := &lessons.Plain{Session: lessons.NewSession(l, nil, nil), Next: events(recorded(t, l)), Lang: lang, Out: io.Discard}
			require.NoError(t, p.Run(context.Background()), "%s in %s", l.Dir, lang)
		}
	}
}

func seen(namespaces ...step.SeenNamespace) *stream {
	var s stream
	s.add(1, step.PhaseFact, step.PodSeen, step.Object{Resource: "pods", Namespace: "default", Name: "duo"},
		step.PodSeenDetail{Namespaces: namespaces})
	return &s
}

func TestMatchMembersOfANamespace(t *testing.T) {
	e := seen(step.SeenNamespace{Kind: "net", Inode: 1, Node: true},
		step.SeenNamespace{Kind: "net", Inode: 2, Pause: true, Containers: []string{"web", "side"}},
		step.SeenNamespace{Kind: "pid", Inode: 3, Containers: []string{"web"}},
		step.SeenNamespace{Kind: "user", Inode: 4, Node: true, Pause: true, Containers: []string{"web", "side"}}).list[0]
	for _, c := range []struct {
		container, kind, are string
		want                 bool
	}{
		{"web", "net", "pause side web", true},
		{"", "net", "pause side web", true},
		{"web", "net", "node *", false},
		{"web", "pid", "web", true},
		{"web", "user", "node pause *", true},
		{"nobody", "net", "?*", false},
		{"side", "pid", "?*", false},
	} {
		m := lessons.Match{Members: &lessons.Members{Container: c.container, Kind: c.kind, Are: c.are}}
		require.Equal(t, c.want, m.Matches(e), "%+v", c)
	}
}

func TestMatchComparesNumbers(t *testing.T) {
	var s stream
	s.add(1, step.PhaseFact, step.Usage, step.Object{Resource: "pods", Name: "a"},
		step.UsageDetail{Containers: map[string]step.CgroupUsage{"app": {Memory: 100, Waited: step.Seconds(time.Second)}}})
	for want, ok := range map[string]bool{">99": true, ">100": false, "<101": true, "<100": false, "100": true, "1*": true, "2*": false} {
		m := lessons.Match{Detail: map[string]string{"containers.app.memory": want}}
		require.Equal(t, ok, m.Matches(s.list[0]), want)
	}
	require.False(t, (&lessons.Match{Detail: map[string]string{"containers.none.memory": "<5"}}).Matches(s.list[0]), "what is not there is not less")
}

const printing = `
## s

:::en
a
:::

:::zh
a
:::

` + "```predict\n" + `id: p
question: {en: q, zh: q}
choices: {a: {en: one, zh: 一}, b: {en: two, zh: 二}, z: {en: other, zh: 他}}
answer: {by: output, find: 'pid (\d+)', map: {"1": a, "2?": b}, else: z}
hide: [pane/pod]
why: {en: w, zh: w}
` + "```\n\n```do\n- show: echo first\n- show: ps\n```\n"

// TestOutputAnswers: what a command printed is in the events, is shown, and is the key.
func TestOutputAnswers(t *testing.T) {
	l, err := lessons.Parse("x", []byte(front+printing))
	require.NoError(t, err)
	for text, answer := range map[string]int{"pid 1 of 3": 0, "pid 27": 1, "nothing": 2} {
		var ev stream
		ev.mark("lesson x 1")
		ev.mark("x/s")
		ev.add(0, step.PhaseFact, step.Mark, step.Object{}, step.MarkDetail{Name: "x/s printed 0", Text: "first"})
		s := lessons.NewSession(l, nil, nil)
		require.NoError(t, s.Answer(0, 2))
		s.Follow(nil, ev.list)
		v := s.View("en")
		require.Equal(t, "first", v.Do.Before)
		require.Equal(t, "ps", v.Do.Line)
		require.False(t, v.Do.Done)
		ev.add(0, step.PhaseFact, step.Mark, step.Object{}, step.MarkDetail{Name: "x/s printed 1", Text: text})
		s.Follow(nil, ev.list[3:])
		v = s.View("en")
		require.Equal(t, answer, v.Prompt.Answer)
		require.Equal(t, text, v.Do.Output)
		require.True(t, v.Done)
		require.NoError(t, s.Act(context.Background(), lesson.Next))
	}
}
