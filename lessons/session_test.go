package lessons_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/view"
)

func recorded(t testing.TB, l *lessons.Lesson) *recording.Recording {
	t.Helper()
	raw, err := fs.ReadFile(l.Files, "recording.klab")
	require.NoError(t, err)
	rec, err := recording.Read(bytes.NewReader(raw))
	require.NoError(t, err)
	return rec
}

// TestSessionOnARecording walks through the lesson as a learner does, and
// looks at each moment at what is hidden and what is said.
func TestSessionOnARecording(t *testing.T) {
	l := builtIn(t)
	rec := recorded(t, l)
	want := map[string]int{"one-object": 1, "replicaset": 0, "who-first": 2, "three-pods": 2, "where": 1, "kubelet": 2, "run": 1, "delete": 2, "end": 1}
	for _, lang := range lessons.Langs {
		s := lessons.NewSession(l, nil, nil)
		state := fold.New()
		at := 0
		for i, st := range l.Steps {
			v := s.View(lang)
			require.Equal(t, i+1, v.Step)
			require.NotEmpty(t, v.Name)
			require.NotEmpty(t, v.Blocks)
			if st.Predict != nil {
				require.True(t, v.Prompt.Open())
				require.Equal(t, -1, v.Prompt.Answer)
				require.Empty(t, v.Prompt.Why)
				require.Equal(t, st.Predict.Hide, v.Hide)
				require.Error(t, s.Act(context.Background(), lesson.Do), "first the prediction")
				require.NoError(t, s.Answer(0, 3))
			}
			require.Empty(t, s.View(lang).Hide)
			for at < len(rec.Events) && !s.View(lang).CanNext && !s.View(lang).Prompt.Open() {
				state.Apply(rec.Events[at])
				s.Follow(state, rec.Events[at:at+1])
				at++
			}
			v = s.View(lang)
			if st.Quiz != nil {
				require.True(t, v.Prompt.Open(), st.ID)
				require.NoError(t, s.Answer(1, 1))
				v = s.View(lang)
			}
			if answer, ok := want[st.ID]; ok {
				require.Equal(t, answer, v.Prompt.Answer, st.ID)
				require.NotEmpty(t, v.Prompt.Why)
			}
			for _, g := range v.Checks {
				require.True(t, g.Done, g.Text)
			}
			require.NoError(t, s.Act(context.Background(), lesson.Next))
		}
		require.True(t, s.View(lang).Done)
	}
}

// TestMasksHideWhatHappens looks whether the event that answers a prediction
// could be seen before it is locked.
func TestMasksHideWhatHappens(t *testing.T) {
	list, err := lessons.Catalog(lessons.Content())
	require.NoError(t, err)
	for _, l := range list {
		t.Run(l.Dir, func(t *testing.T) { masksHide(t, l) })
	}
}

func masksHide(t *testing.T, l *lessons.Lesson) {
	rec := recorded(t, l)
	entered := map[string]int{}
	for i, e := range rec.Events {
		var d step.MarkDetail
		if e.Verb == step.Mark && e.Decode(&d) == nil {
			entered[filepath.Base(d.Name)] = i
		}
	}
	for _, st := range l.Steps {
		if st.Predict == nil || !slices.Contains([]string{"actor", "verb", "detail", "field", "members"}, st.Predict.Answer.By) {
			continue
		}
		m := view.NewMask(st.Predict.Hide)
		for _, e := range rec.Events[entered[st.ID]:] {
			if st.Predict.Event.Matches(e) {
				require.True(t, m.Event(e), "%s: %s %s %s", st.ID, e.Actor, e.Verb, e.Object)
				break
			}
		}
	}
}

const slowStart = `
## s

:::en
a
:::

:::zh
a
:::

` + "```predict\n" + `id: p
question: {en: q, zh: q}
choices: {a: {en: one, zh: 一}, b: {en: all, zh: 全}, z: {en: other, zh: 他}}
event: {verb: create, object: "pods/*/*", phase: begin}
answer: {by: others-pending, map: {"0": a, "2": b}, else: z}
hide: [pane/pending]
why: {en: w, zh: w}
` + "```\n\n```do\n- step: {until: {verb: create, object: \"pods/*/*\", phase: end, count: 3}}\n```\n"

// stream makes events.
type stream struct{ list []*step.Event }

func (s *stream) add(id uint64, phase step.Phase, verb step.Verb, object step.Object, detail any) {
	raw, _ := json.Marshal(detail)
	s.list = append(s.list, &step.Event{Seq: uint64(len(s.list) + 1), Step: id, Phase: phase, Actor: "replicaset-controller",
		Verb: verb, Class: verb.Class(), Object: object, Detail: raw})
}

func (s *stream) mark(name string) {
	s.add(0, step.PhaseFact, step.Mark, step.Object{}, step.MarkDetail{Name: name})
}

// TestAnswerIsWhatHappens: the same lesson has another answer when something
// else happens.
func TestAnswerIsWhatHappens(t *testing.T) {
	l, err := lessons.Parse("x", []byte(front+slowStart))
	require.NoError(t, err)
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "web-"}
	for waiting, answer := range map[int]int{1: 0, 2: 2, 3: 1} {
		var ev stream
		ev.add(90, step.PhaseBegin, step.Create, pod, nil) // before the lesson: it does not count
		ev.add(90, step.PhaseEnd, step.Create, pod, nil)
		ev.mark("lesson x 1")
		ev.mark("x/s")
		for i := range uint64(waiting) {
			ev.add(i+1, step.PhasePending, step.Create, pod, step.PendingDetail{ID: i + 1})
		}
		for i := range uint64(3) {
			ev.add(i+1, step.PhaseBegin, step.Create, pod, nil)
			ev.add(i+1, step.PhaseEnd, step.Create, pod, nil)
		}
		s := lessons.NewSession(l, nil, nil)
		require.NoError(t, s.Answer(1, 2))
		n := 0
		for ; n < len(ev.list) && !s.View("zh").Done; n++ {
			s.Follow(nil, ev.list[n:n+1])
		}
		require.Equal(t, len(ev.list), n, "done with the third pod, not before")
		require.Equal(t, answer, s.View("zh").Prompt.Answer)
	}
}

// TestAnswerFromWhatAnEventSays: an answer is taken from an event's detail, of
// those events that say what was asked for, after the step was entered.
func TestAnswerFromWhatAnEventSays(t *testing.T) {
	source := strings.NewReplacer(`event: {verb: create, object: "pods/*/*", phase: begin}`, `event: {verb: exited, phase: fact, detail: {container: "a*"}}`,
		`answer: {by: others-pending, map: {"0": a, "2": b}, else: z}`, `answer: {by: detail, path: exitCode, map: {"13?": a, "1": b}, else: z}`,
		`- step: {until: {verb: create, object: "pods/*/*", phase: end, count: 3}}`, `- see: {verb: exited, phase: fact, detail: {container: app}}`).Replace(slowStart)
	l, err := lessons.Parse("x", []byte(front+source))
	require.NoError(t, err)
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "web"}
	for code, answer := range map[int]int{137: 0, 1: 1, 143: 2} {
		var ev stream
		other := 0
		ev.mark("lesson x 1")
		ev.add(0, step.PhaseFact, step.Exited, pod, step.RuntimeDetail{Container: "app", ExitCode: &other})
		ev.mark("x/s")
		ev.add(0, step.PhaseFact, step.Exited, pod, step.RuntimeDetail{Container: "side", ExitCode: &other})
		ev.add(0, step.PhaseFact, step.Exited, pod, step.RuntimeDetail{Container: "app", ExitCode: &code})
		s := lessons.NewSession(l, nil, nil)
		require.NoError(t, s.Answer(1, 2))
		s.Follow(nil, ev.list[:4])
		require.False(t, s.View("en").Done)
		s.Follow(nil, ev.list[4:])
		require.True(t, s.View("en").Done)
		require.Equal(t, answer, s.View("en").Prompt.Answer)
	}
}

func TestProgressResumes(t *testing.T) {
	l := builtIn(t)
	dir := t.TempDir()
	open := func(name string) (*lessons.Session, bool) {
		p, err := lessons.OpenProgress(dir, name)
		require.NoError(t, err)
		h := &lab{}
		s, fresh, err := lessons.Open(l, h, p)
		require.NoError(t, err)
		require.NoError(t, p.Err())
		if h.session = s; fresh {
			require.NoError(t, s.Begin(t.Context()))
		}
		return s, fresh
	}
	s, fresh := open("lab 1")
	require.True(t, fresh)
	for _, e := range recorded(t, l).Events {
		if s.View("en").Step == 3 {
			break
		}
		s.Follow(nil, []*step.Event{e})
		if s.View("en").Step == 2 && s.View("en").Prompt.Open() {
			require.NoError(t, s.Answer(1, 3))
		}
		require.NoError(t, s.Act(t.Context(), lesson.Next))
	}
	require.NoError(t, s.Answer(0, 2))
	again, fresh := open("lab 1")
	require.False(t, fresh)
	v := again.View("en")
	require.Equal(t, 3, v.Step)
	require.True(t, v.Prompt.Locked)
	require.Equal(t, 0, v.Prompt.Choice)
}

func TestProgressOfAFinishedLesson(t *testing.T) {
	l := builtIn(t)
	p, err := lessons.OpenProgress(t.TempDir(), "lab")
	require.NoError(t, err)
	s, _, err := lessons.Open(l, nil, p)
	require.NoError(t, err)
	for _, e := range recorded(t, l).Events {
		s.Follow(nil, []*step.Event{e})
		if s.View("en").Prompt.Open() {
			require.NoError(t, s.Answer(-1, 1))
		}
		require.NoError(t, s.Act(t.Context(), lesson.Next))
	}
	require.NoError(t, s.Answer(1, 3))
	require.True(t, s.View("en").Done)
	s, fresh, err := lessons.Open(l, nil, p)
	require.NoError(t, err)
	require.True(t, fresh, "a lesson that is finished begins anew")
	require.Equal(t, 1, s.View("en").Step)
}
