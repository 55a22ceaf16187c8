package lessons_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/lessons"
)

func builtIn(t testing.TB) *lessons.Lesson {
	t.Helper()
	list, err := lessons.Catalog(lessons.Content())
	require.NoError(t, err)
	l, err := lessons.Find(list, "01")
	require.NoError(t, err)
	return l
}

func TestBuiltInLessonsAreClean(t *testing.T) {
	list, err := lessons.Catalog(lessons.Content())
	require.NoError(t, err)
	terms, err := lessons.Glossary(lessons.Content())
	require.NoError(t, err)
	for _, l := range list {
		require.Empty(t, lessons.Lint(l, terms))
	}
}

func TestLintFinds(t *testing.T) {
	const predict = `id: p
question: {en: "q?", zh: "问？"}
choices:
  a: {en: a, zh: 甲}
  b: {en: b, zh: 乙}
event: {verb: create, phase: begin}
answer: {by: actor, map: {kubelet: a, kube-scheduler: b}}
hide: [actor/kubelet, actor/kube-scheduler]
why: {en: w, zh: 因}`
	const check = "id: c\nobject: pods/default/a\npath: status.phase\nequals: Running\ntext: {en: t, zh: 文}\nnotyet: {en: n, zh: 未}"
	engaged := block("do", "- pause: {}")
	for name, c := range map[string]struct{ source, want string }{
		"nothing to do":           {front + prose, "has nothing to do"},
		"one language":            {front + strings.ReplaceAll(prose, ":::zh", ":::en2")[:strings.Index(prose, ":::zh")] + engaged, "is not in both languages"},
		"fewer paragraphs":        {front + strings.Replace(prose, "- 一项\n", "", 1) + engaged, "3 paragraphs in English and 2 in Chinese"},
		"term":                    {front + strings.Replace(prose, "第一行", "命名空间", 1) + engaged, `says "命名空间"; lessons say "名称空间"`},
		"placeholder":             {front + strings.Replace(prose, "- 一项", "- {n} 项", 1) + engaged, "placeholders [] in English and [{n}] in Chinese"},
		"missing why":             {front + prose + block("predict", strings.Replace(predict, "why: {en: w, zh: 因}", "", 1)), "why is missing"},
		"question untranslated":   {front + prose + block("predict", strings.Replace(predict, `zh: "问？"`, `zh: ""`, 1)), "question is not in both languages"},
		"shows the answer":        {front + prose + block("predict", strings.Replace(predict, "[actor/kubelet, actor/kube-scheduler]", "[pane/ran]", 1)), "does not hide what its answer is taken from"},
		"shows one of the actors": {front + prose + block("predict", strings.Replace(predict, "[actor/kubelet, actor/kube-scheduler]", "[actor/kubelet]", 1)), "hide actor/kube-scheduler"},
		"hides nonsense":          {front + prose + block("predict", strings.Replace(predict, "[actor/kubelet,", "[kubelet, actor/kubelet,", 1)), `hide "kubelet"`},
		"hint is the solution":    {front + prose + block("check", check) + block("hint", "- {en: try kubectl scale, zh: 试试}"), "the hint holds the solution"},
		"no such file":            {front + prose + block("do", "- apply: files/none.yaml\n  held: {verb: create}"), "there is no file files/none.yaml"},
		"no recording":            {strings.Replace(front, "order: 1", "order: 1\nrun: [replay]", 1) + prose + engaged, "there is no recording.klab"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := lessons.Parse("x", []byte(c.source))
			require.NoError(t, err)
			l.Files = fstest.MapFS{"solution.sh": {Data: []byte("#!/bin/sh\nexec kubectl scale deployment/web --replicas=5\n")}}
			var all []string
			for _, f := range lessons.Lint(l, []lessons.Term{{EN: "namespace", ZH: "名称空间", Not: []string{"命名空间"}}}) {
				all = append(all, f.Error())
			}
			require.Contains(t, strings.Join(all, "\n"), c.want)
		})
	}
}
