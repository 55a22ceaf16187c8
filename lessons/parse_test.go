package lessons_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/lessons"
)

const front = `---
id: x
order: 1
title: {en: X, zh: 甲}
---
`

const prose = `
## one

:::en
# Name

Two **lines**
of ` + "`prose`" + `.

- item
:::

:::zh
# 名字

第一行，
第二行 Pod
三个。

- 一项
:::
`

func block(kind, body string) string { return "\n```" + kind + "\n" + body + "\n```\n" }

func TestParse(t *testing.T) {
	l, err := lessons.Parse("x/lesson.md", []byte(front+prose+block("do", "- pause: {}\n- apply: a.yaml\n  held: {verb: create}")))
	require.NoError(t, err)
	require.Equal(t, "01", l.Number())
	s := l.Steps[0]
	require.Equal(t, []lessons.Para{{Kind: "heading", Text: "Name"}, {Text: "Two lines of prose."}, {Kind: "item", Text: "item"}}, s.Prose["en"])
	require.Equal(t, "第一行，第二行 Pod 三个。", s.Prose["zh"][1].Text)
	require.NotNil(t, s.Do[0].Pause)
	require.Equal(t, "a.yaml", s.Do[1].Apply)
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	predict := "id: p\nquestion: {en: q, zh: q}\nchoices:\n  a: {en: a, zh: a}\nevent: {verb: create, phase: begin}\nanswer: {by: actor, map: {k: a}}"
	for name, c := range map[string]struct{ source, want string }{
		"no front matter":       {"# hello", `x:1: a lesson begins with its front matter`},
		"front matter is open":  {"---\nid: x\n", `x:1: the block that begins here is never ended`},
		"unknown front field":   {"---\nid: x\norder: 1\ncolour: red\n---\n" + prose, `x:4: unknown field colour`},
		"prose without a fence": {front + "\n## one\n\nhello\n", `x:9: prose stands between`},
		"before the first step": {front + "\n:::en\n:::\n", `x:7: this is before the first step`},
		"bad step id":           {front + "\n## One Two\n", `x:7: a step begins with`},
		"unknown language":      {front + "\n## one\n\n:::fr\n:::\n", `x:9: prose is in en or zh, not "fr"`},
		"unknown block":         {front + prose + block("shell", "ls"), `a block is do, predict, check, hint or quiz, not "shell"`},
		"unknown verb":          {front + prose + block("do", "- dance: {}"), `x:29: unknown field dance`},
		"two verbs":             {front + prose + block("do", "- pause: {}\n  view: objects"), `has pause and view`},
		"command without held":  {front + prose + block("do", "- apply: a.yaml"), `apply needs held`},
		"step without a phase":  {front + prose + block("do", "- step: {until: {verb: bind}}"), `step needs until, with a phase`},
		"unknown phase":         {front + prose + block("do", "- step: {until: {phase: middle}}"), `a phase is pending, begin, end or fact, not middle`},
		"malformed pattern":     {front + prose + block("do", "- step: {until: {phase: end, object: \"[\"}}"), `the pattern [ is malformed`},
		"see without a phase":   {front + prose + block("do", "- see: {verb: exited}"), `see needs a phase`},
		"malformed in a detail": {front + prose + block("do", "- see: {phase: end, detail: {a: \"[\"}}"), `the pattern [ is malformed`},
		"klab without held":     {front + prose + block("do", "- klab: [node, drain, node-1]"), `klab needs held`},
		"negative speed":        {front + prose + block("do", "- speed: -1"), `speed is how many times`},
		"answer by no path":     {front + prose + block("predict", strings.Replace(predict, "by: actor", "by: detail", 1)), `answer.path belongs to`},
		"reset by a manifest":   {strings.Replace(front, "order: 1", "order: 1\nreset: [{apply: a.yaml}]", 1) + prose, `each entry of reset is one of`},
		"answer by nothing":     {front + prose + block("predict", strings.Replace(predict, "by: actor", "by: luck", 1)), `answer.by is one of`},
		"map to no choice":      {front + prose + block("predict", strings.Replace(predict, "{k: a}", "{k: z}", 1)), `which is none of the choices`},
		"two questions":         {front + prose + block("predict", predict) + block("predict", predict), `has two questions`},
		"id taken":              {front + prose + prose, `the id "one" is taken, in line 7`},
		"check of nothing":      {front + prose + block("check", "id: c"), `this needs object`},
		"check without id":      {front + prose + block("check", "object: a/b\npath: c\nequals: 1"), `this needs an id`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := lessons.Parse("x", []byte(c.source))
			var where *lessons.Error
			require.ErrorAs(t, err, &where)
			require.Contains(t, err.Error(), c.want)
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(front + prose)
	f.Fuzz(func(_ *testing.T, source string) { _, _ = lessons.Parse("x", []byte(source)) })
}
