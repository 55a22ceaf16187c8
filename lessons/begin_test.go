package lessons_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/tui/lesson"
)

// twoTurns is a lesson in which the learner acts twice: a pod has to run, and
// then another one.
const twoTurns = `
## first

:::en
a
:::

:::zh
a
:::

` + "```check" + `
id: one
object: pods/default/one
path: status.phase
equals: Running
text: {en: t, zh: t}
notyet: {en: n, zh: n}
` + "```" + `

## second

:::en
a
:::

:::zh
a
:::

` + "```check" + `
id: two
object: pods/default/two
path: status.phase
equals: Running
text: {en: t, zh: t}
notyet: {en: n, zh: n}
` + "```\n"

// course is a lab in which solutions make pods run, and things go wrong.
type course struct {
	lab
	solved []string
	fail   error
}

func (c *course) SetMode(ctx context.Context, m step.Mode) error {
	if c.fail != nil {
		return c.fail
	}
	return c.lab.SetMode(ctx, m)
}

func (c *course) Kubectl(_ context.Context, _ string, args ...string) (string, error) {
	c.ran = append(c.ran, "kubectl "+strings.Join(args, " "))
	return "", nil
}

func (c *course) Solve(_ context.Context, _ *lessons.Lesson, st *lessons.Step) (string, error) {
	c.solved = append(c.solved, st.ID)
	c.runs(map[string]string{"first": "one", "second": "two"}[st.ID])
	return "", nil
}

func (c *course) runs(pod string) {
	c.happen(func() {
		c.add(0, step.PhaseFact, step.Commit, step.Object{Resource: "pods", Namespace: "other", Name: pod}, nil)
		c.add(0, step.PhaseFact, step.Commit, step.Object{Resource: "pods", Namespace: "default", Name: pod},
			step.CommitDetail{Type: "create", Patch: []byte(`{"kind":"Pod","status":{"phase":"Running"}}`)})
	})
}

func (c *course) gone(pod string) {
	c.happen(func() {
		c.add(0, step.PhaseFact, step.Commit, step.Object{Resource: "pods", Namespace: "default", Name: pod}, step.CommitDetail{Type: "delete"})
	})
}

func parsed(t *testing.T, source string) *lessons.Lesson {
	t.Helper()
	l, err := lessons.Parse("x", []byte(source))
	require.NoError(t, err)
	return l
}

// A learner comes back to a lesson whose beginning was never reached, which
// another lesson has taken the lab from, or whose lab is a new one: then the
// lab is brought to where they were, with what they had done.
func TestALessonIsPreparedAgain(t *testing.T) {
	l, other := parsed(t, front+twoTurns), parsed(t, strings.Replace(front, "id: x", "id: y", 1)+twoTurns)
	dir := t.TempDir()
	c := &course{}
	open := func(l *lessons.Lesson, name string) (*lessons.Session, bool) {
		p, err := lessons.OpenProgress(dir, name)
		require.NoError(t, err)
		s, fresh, err := lessons.Open(l, c, p)
		require.NoError(t, err)
		c.session = s
		return s, fresh
	}
	s, fresh := open(l, "lab")
	require.True(t, fresh)
	require.Contains(t, s.View("en").Waiting, "beginning")
	c.fail = errors.New("no lab")
	require.ErrorIs(t, s.Begin(t.Context()), c.fail)
	require.Contains(t, s.View("en").Waiting, "no lab")
	s, fresh = open(l, "lab")
	require.True(t, fresh, "it was never prepared")
	c.fail = nil
	require.NoError(t, s.Begin(t.Context()))
	c.runs("one")
	require.True(t, s.View("en").CanNext)
	require.NoError(t, s.Act(t.Context(), lesson.Next))
	require.Equal(t, 2, s.View("en").Step)

	s, fresh = open(l, "lab")
	require.False(t, fresh, "it goes on with what is there")
	s.Follow(nil, c.list)
	require.Equal(t, 2, s.View("en").Step)

	mine := func(kind string) {
		c.happen(func() {
			c.add(0, step.PhaseFact, step.Commit, step.Object{Resource: "pods", Namespace: "default", Name: "mine"},
				step.CommitDetail{Type: kind, Patch: []byte(`{"kind":"Pod","metadata":{"uid":"m"}}`)})
		})
	}
	mine("create")
	o, _ := open(other, "lab")
	o.Follow(nil, c.list)
	var foreign *lessons.Foreign
	require.ErrorAs(t, o.Begin(t.Context()), &foreign)
	_, fresh = open(l, "lab")
	require.False(t, fresh, "the other one has changed nothing")
	mine("delete")

	c.gone("one")
	o, fresh = open(other, "lab")
	require.True(t, fresh)
	o.Follow(nil, c.list)
	require.NoError(t, o.Begin(t.Context()))

	for _, name := range []string{"lab", "another lab"} {
		c.solved = nil
		s, fresh = open(l, name)
		require.True(t, fresh, "another lesson has put away what this one made")
		s.Follow(nil, c.list)
		require.NoError(t, s.Begin(t.Context()))
		require.Equal(t, []string{"first"}, c.solved, "what the learner had done is done again")
		v := s.View("en")
		require.Equal(t, 2, v.Step)
		require.Empty(t, v.Checks[0].NotYet)
		require.False(t, v.Checks[0].Done)
		c.gone("one")
	}
}

// What the lesson before has broken, or done beside its manifests, is taken
// back when another one begins.
func TestALessonPutsAwayTheOneBefore(t *testing.T) {
	list, err := lessons.Catalog(lessons.Content())
	require.NoError(t, err)
	before, err := lessons.Find(list, "11")
	require.NoError(t, err)
	c := &course{}
	c.session = lessons.NewSession(before, c, nil)
	require.NoError(t, c.session.Begin(t.Context()))
	c.happen(func() {
		c.add(7, step.PhaseBegin, step.Break, step.Object{}, step.FaultDetail{ID: "f1", Card: "cut-link"})
		c.add(7, step.PhaseEnd, step.Break, step.Object{}, step.FaultDetail{ID: "f1", Card: "cut-link"})
	})
	c.ran = nil
	next := parsed(t, front+twoTurns)
	c.session = lessons.NewSession(next, c, nil)
	c.session.Follow(nil, c.list)
	require.NoError(t, c.session.Begin(t.Context()))
	require.Equal(t, []string{"mend --all", "net backend vxlan"}, c.ran)
}

// What a learner has made is neither deleted nor mixed up with a lesson's
// objects: the lesson says so, changes nothing, and begins when it is gone.
func TestALessonLeavesAlonePartsOfTheLearner(t *testing.T) {
	list, err := lessons.Catalog(lessons.Content())
	require.NoError(t, err)
	l, err := lessons.Find(list, "13")
	require.NoError(t, err)
	c := &course{}
	c.session = lessons.NewSession(l, c, nil)
	put := func(resource, kind, name, notes string) {
		c.happen(func() {
			c.add(0, step.PhaseFact, step.Commit, step.Object{Resource: resource, Namespace: "default", Name: name},
				step.CommitDetail{Type: "create", Patch: []byte(`{"kind":"` + kind + `","metadata":{"annotations":{` + notes + `}}}`)})
		})
	}
	gone := func(resource, name string) {
		c.happen(func() {
			c.add(0, step.PhaseFact, step.Commit, step.Object{Resource: resource, Namespace: "default", Name: name}, step.CommitDetail{Type: "delete"})
		})
	}
	refused := func(what, del string) {
		t.Helper()
		var foreign *lessons.Foreign
		require.ErrorAs(t, c.session.Begin(t.Context()), &foreign)
		require.Equal(t, []string{what}, foreign.Objects)
		require.Empty(t, c.ran, "nothing is changed")
		for _, lang := range lessons.Langs {
			said := c.session.View(lang).Waiting
			require.Nil(t, c.session.View(lang).Prompt, "nothing is asked before that")
			require.Contains(t, said, foreign.In(lang))
			require.Contains(t, said, what)
			require.Contains(t, said, del)
		}
		require.Contains(t, c.session.View("zh").Waiting, "不是课程创建的")
	}
	put("services", "Service", "web", "")
	refused("services/default/web", "klab kubectl delete services web")
	gone("services", "web")
	put("pods", "Pod", "own", `"klab.local/lesson":"clusterip"`) // a copy of a lesson's
	refused("pods/default/own", "klab kubectl delete pods own")
	gone("pods", "own")
	c.happen(func() {
		for name, meta := range map[string]string{"pods": `{"ownerReferences":[{"uid":"d"}]}`, "deployments.apps": `{"uid":"d"}`} {
			c.add(0, step.PhaseFact, step.Commit, step.Object{Resource: name, Namespace: "default", Name: "mine"},
				step.CommitDetail{Type: "create", Patch: []byte(`{"metadata":` + meta + `}`)})
		}
	})
	refused("deployments.apps/default/mine", "klab kubectl delete deployments.apps mine") // not what it would make again
	gone("pods", "mine")
	gone("deployments.apps", "mine")
	put("services", "Service", "unrelated", "")
	put("services", "Service", "web", `"klab.local/lesson":"clusterip"`)
	require.NoError(t, c.session.Begin(t.Context()))
	require.Equal(t, []string{"kubectl delete --ignore-not-found --now --wait=true --timeout=60s --namespace=default services/web"}, c.ran)

	c.ran = nil
	gone("services", "web")
	put("services", "Service", "broken", "") // as the lesson tells the learner to
	require.NoError(t, c.session.Begin(t.Context()))
	require.Equal(t, []string{"kubectl delete --ignore-not-found --now --wait=true --timeout=60s --namespace=default services/broken"}, c.ran)
}
