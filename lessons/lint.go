package lessons

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
)

// Term is a word of the glossary: how lessons say it in Chinese, and how they
// do not.
type Term struct {
	EN  string   `yaml:"en"`
	ZH  string   `yaml:"zh"`
	Not []string `yaml:"not"` // Chinese words for it that lessons do not use
}

// Glossary reads _glossary.yaml.
func Glossary(fsys fs.FS) ([]Term, error) {
	source, err := fs.ReadFile(fsys, "_glossary.yaml")
	if err != nil {
		return nil, err
	}
	var terms []Term
	dec := yaml.NewDecoder(bytes.NewReader(source))
	dec.KnownFields(true)
	if err := dec.Decode(&terms); err != nil {
		return nil, fmt.Errorf("_glossary.yaml: %w", err)
	}
	return terms, nil
}

// Lint reviews a lesson that parses: what would confuse its learners or give
// its answers away. It returns one *Error for each finding.
func Lint(l *Lesson, terms []Term) []*Error {
	r := &review{lesson: l, terms: terms}
	r.translated(1, "title", l.Title)
	if len(l.Goals.EN) != len(l.Goals.ZH) {
		r.found(1, "goals: %d in English and %d in Chinese", len(l.Goals.EN), len(l.Goals.ZH))
	}
	for i := range min(len(l.Goals.EN), len(l.Goals.ZH)) {
		r.translated(1, "goals", Text{l.Goals.EN[i], l.Goals.ZH[i]})
	}
	for _, s := range l.Steps {
		r.step(s)
	}
	r.files()
	r.mends()
	return r.list
}

type review struct {
	lesson *Lesson
	terms  []Term
	list   []*Error
}

func (r *review) found(line int, format string, args ...any) {
	r.list = append(r.list, &Error{r.lesson.Path, line, fmt.Sprintf(format, args...)})
}

func (r *review) step(s *Step) {
	r.prose(s)
	if s.prompt() == nil && len(s.Do) == 0 && len(s.Checks) == 0 {
		r.found(s.Line, "the step %q has nothing to do: ask, check, or let something happen", s.ID)
	}
	if q := s.prompt(); q != nil {
		r.translated(q.line, "question", q.question)
		r.translated(q.line, "why", q.why)
		for _, k := range q.keys {
			c := q.choices[k]
			r.translated(q.line, "choice "+k, c.Text)
			if c.Misconception != (Text{}) {
				r.translated(q.line, "misconception "+k, c.Misconception)
			}
		}
	}
	if s.Predict != nil {
		r.hides(s.Predict)
	}
	for _, c := range s.Checks {
		if s.acts() && len(c.Wrong) == 0 {
			r.found(c.Line, "the check %q names no wrong state that it does not pass in: add wrong, a list of do and undo", c.ID)
		}
		r.translated(c.Line, "text", c.Text)
		r.translated(c.Line, "notyet", c.NotYet)
	}
	for _, h := range s.Hints {
		r.translated(s.Line, "hint", h.Text)
		r.noSolution(s.Line, h.Text)
	}
}

func (r *review) prose(s *Step) {
	en, zh := s.Prose["en"], s.Prose["zh"]
	switch {
	case len(en) == 0 || len(zh) == 0:
		r.found(s.Line, "the step %q is not in both languages", s.ID)
		return
	case len(en) != len(zh):
		r.found(s.Line, "the step %q has %d paragraphs in English and %d in Chinese", s.ID, len(en), len(zh))
		return
	}
	for i := range en {
		if en[i].Kind != zh[i].Kind {
			r.found(s.Line, "paragraph %d of the step %q is %q in English and %q in Chinese", i+1, s.ID, en[i].Kind, zh[i].Kind)
		}
		r.translated(s.Line, "prose", Text{en[i].Text, zh[i].Text})
	}
}

// hides checks that a prediction hides the field that its answer is in.
func (r *review) hides(p *Predict) {
	need := map[string][]string{
		"actor": {"actor/", "pane/pending"}, "verb": {"actor/", "verb/"}, "node": {"field/", "actor/"},
		"resource": {"pane/objects", "field/"}, "others-pending": {"pane/pending"},
		"name": {"actor/", "verb/"}, "detail": {"actor/", "verb/", "hop/"}, "field": {"field/"},
		"distinct-bound-nodes": {"field/pods/spec.nodeName"}, "count": {"pane/", "actor/"},
		"": {"pane/", "actor/", "verb/", "field/"}, "output": {"pane/", "actor/", "verb/", "field/"}, "members": {"verb/pod-seen", "pane/pod"},
	}[p.Answer.By]
	if !slices.ContainsFunc(p.Hide, func(h string) bool {
		return slices.ContainsFunc(need, func(n string) bool { return strings.HasPrefix(h, n) })
	}) {
		r.found(p.Line, "the prediction %q does not hide what its answer is taken from: hide one of %s", p.ID, strings.Join(need, ", "))
	}
	if p.Answer.By == "actor" {
		for who := range p.Answer.Map {
			if p.Answer.Map[who] != "" && !slices.Contains(p.Hide, "actor/"+who) && !slices.Contains(p.Hide, "pane/pending") {
				r.found(p.Line, "the prediction %q shows what %s does: hide actor/%s", p.ID, who, who)
			}
		}
	}
	if v := p.Event.Verb; v == step.HopSeen || v == step.Packet {
		r.hidesHops(p)
	}
	for _, h := range p.Hide {
		kind, rest, _ := strings.Cut(h, "/")
		if !slices.Contains([]string{"pane", "actor", "verb", "field", "hop"}, kind) || rest == "" {
			r.found(p.Line, "hide %q: it is pane/, actor/, verb/, hop/ or field/RESOURCE/PATH", h)
		}
	}
}

// hidesHops checks that a prediction about a packet's way hides that way: also
// that of packets which went it before.
func (r *review) hidesHops(p *Predict) {
	if !slices.ContainsFunc(p.Hide, func(h string) bool { return strings.HasPrefix(h, "hop/") || h == "verb/hop" || h == "pane/packet" }) {
		r.found(p.Line, "the prediction %q is about a packet's way: hide it from the place in question on, with hop/FIELD=PATTERN or hop/*", p.ID)
	}
}

// mends checks that what a lesson breaks is mended when it begins anew.
func (r *review) mends() {
	for _, s := range r.lesson.Steps {
		for _, d := range s.Do {
			if d.Break != "" && !slices.ContainsFunc(r.lesson.Reset, func(d Do) bool { return d.Mend != "" }) {
				r.found(d.Line, "break needs a mend in the lesson's reset: what is broken must not outlive the lesson")
			}
		}
	}
}

var placeholder = regexp.MustCompile(`\{[a-z][a-zA-Z.-]*\}|%[a-z]`)

func (r *review) translated(line int, what string, t Text) {
	switch {
	case t.EN == "" && t.ZH == "":
		r.found(line, "%s is missing", what)
		return
	case t.EN == "" || t.ZH == "":
		r.found(line, "%s is not in both languages: %q", what, t.EN+t.ZH)
		return
	}
	en, zh := placeholder.FindAllString(t.EN, -1), placeholder.FindAllString(t.ZH, -1)
	slices.Sort(en)
	slices.Sort(zh)
	if !slices.Equal(en, zh) {
		r.found(line, "%s has the placeholders %v in English and %v in Chinese", what, en, zh)
	}
	for _, term := range r.terms {
		for _, not := range term.Not {
			if strings.Contains(t.ZH, not) {
				r.found(line, "%s says %q; lessons say %q for %q", what, not, term.ZH, term.EN)
			}
		}
	}
}

// noSolution checks that a hint does not hold a command of the solution.
func (r *review) noSolution(line int, hint Text) {
	for _, cmd := range r.solution() {
		for _, part := range []string{cmd, strings.Join(strings.Fields(cmd)[:min(2, len(strings.Fields(cmd)))], " ")} {
			if strings.Contains(hint.EN, part) || strings.Contains(hint.ZH, part) {
				r.found(line, "the hint holds the solution: %q", part)
				return
			}
		}
	}
}

func (r *review) solution() (list []string) {
	if r.lesson.Files == nil {
		return nil
	}
	names, _ := fs.Glob(r.lesson.Files, "solution*.sh") // the pattern is well formed
	for _, name := range names {
		script, err := fs.ReadFile(r.lesson.Files, name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(script)) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "exec ")
			if len(strings.Fields(line)) > 1 && !strings.HasPrefix(line, "#") {
				list = append(list, line)
			}
		}
	}
	return list
}

// files checks what the lesson's folder has to hold.
func (r *review) files() {
	l := r.lesson
	if l.Files == nil {
		return
	}
	for _, s := range l.Steps {
		for _, d := range s.Do {
			if d.Apply == "" {
				continue
			}
			if _, err := fs.Stat(l.Files, d.Apply); err != nil {
				r.found(d.Line, "there is no file %s", d.Apply)
			}
		}
		if s.acts() && len(r.solution()) == 0 {
			r.found(s.Line, "the learner has to act in the step %q, and there is no solution.sh", s.ID)
		}
	}
	if slices.Contains(l.Run, "replay") {
		r.recording()
	}
}

// recording checks that the lesson's recording still plays it.
func (r *review) recording() {
	raw, err := fs.ReadFile(r.lesson.Files, "recording.klab")
	if err != nil {
		r.found(1, "there is no recording.klab: make it with \"klab lesson record %s\"", r.lesson.Number())
		return
	}
	rec, err := recording.Read(bytes.NewReader(raw))
	if err != nil {
		r.found(1, "recording.klab: %v", err)
		return
	}
	for _, stale := range Stale(r.lesson, rec) {
		r.found(1, "recording.klab is stale: %s; record it again with \"klab lesson record %s\"", stale, r.lesson.Number())
	}
}

// Stale says what a recording does not show of a lesson.
func Stale(l *Lesson, rec *recording.Recording) (list []string) {
	o := newObserver(l, "")
	for _, e := range rec.Events {
		o.observe(e)
	}
	if !o.begun {
		return []string{"it is not of this lesson"}
	}
	for i, s := range l.Steps {
		w := o.steps[i]
		switch {
		case !w.entered:
			list = append(list, fmt.Sprintf("it does not enter the step %q", s.ID))
		case w.did < len(s.Do):
			list = append(list, fmt.Sprintf("in the step %q, %s (line %d) does not happen", s.ID, s.Do[w.did].verbs()[0], s.Do[w.did].Line))
		case s.Predict != nil && w.answer == "":
			list = append(list, fmt.Sprintf("what happened (%q) answers the prediction %q by none of its choices", w.by, s.Predict.ID))
		case !o.complete(i):
			list = append(list, fmt.Sprintf("the goals of the step %q are not reached", s.ID))
		}
	}
	return list
}
