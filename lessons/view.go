package lessons

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/lesson"
)

// View implements lesson.Lesson.
func (s *Session) View(lang string) lesson.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.look
	st, w, l := s.lesson.Steps[i], s.see.steps[i], &s.learner[i]
	v := lesson.View{
		Title: s.lesson.Title.In(lang), Number: s.lesson.Number(), Step: i + 1, Steps: len(s.lesson.Steps),
		Show: s.show(i), Left: len(s.left(i)),
	}
	for _, p := range st.Prose[lang] {
		if p.Kind == "heading" && v.Name == "" {
			v.Name = p.Text
			continue
		}
		v.Blocks = append(v.Blocks, lesson.Block{Kind: lesson.Kind(p.Kind), Text: p.Text})
	}
	if s.asks(i) && (s.ready || s.failed == nil) { // why the lab is not at the beginning comes before any question
		v.Prompt = s.prompt(i, lang)
	}
	v.Do = s.doing(i, lang)
	for k, c := range st.Checks {
		g := lesson.Goal{Text: s.goalText(i, k, lang), Done: w.checks[k]}
		if !g.Done && (l.asked || w.did == len(st.Do) && len(st.Do) > 0) {
			g.NotYet = c.NotYet.In(lang)
		}
		v.Checks = append(v.Checks, g)
	}
	for _, k := range l.hints {
		v.Hints = append(v.Hints, st.Hints[k].In(lang))
	}
	if s.lesson.graded() && s.last(i) {
		v.Checks, v.Result = s.report(lang), s.result(lang)
	}
	v.Hide = s.hide()
	v.CanNext = s.over(i) && !s.last(i) && !s.busy || i < s.at
	v.Done = s.over(i) && s.last(i)
	v.Waiting = s.waiting(i, lang)
	return v
}

// report is all goals that are worth points.
func (s *Session) report(lang string) (list []lesson.Goal) {
	for i, st := range s.lesson.Steps {
		for k, c := range st.Checks {
			if c.Points > 0 {
				list = append(list, lesson.Goal{Text: s.goalText(i, k, lang), Done: slices.Contains(s.learner[i].reached, c.ID)})
			}
		}
	}
	return list
}

// show is the last pane that the step has asked for so far.
func (s *Session) show(i int) string {
	name := ""
	for k, d := range s.lesson.Steps[i].Do {
		if d.View != "" && k < s.see.steps[i].did {
			name = d.View
		}
	}
	switch name {
	case "cluster", "1":
		return "stage"
	case "2":
		return "reconcile"
	case "3":
		return "packet"
	case "4":
		return "objects"
	case "5":
		return "log"
	case "6":
		return "pod"
	}
	return name
}

// hide is what an open prediction hides: also one that was left behind unanswered.
func (s *Session) hide() []string {
	st := s.lesson.Steps[s.at]
	if st.Predict == nil || s.learner[s.at].locked || s.reveal {
		return nil
	}
	return st.Predict.Hide
}

func (s *Session) prompt(i int, lang string) *lesson.Prompt {
	st, l := s.lesson.Steps[i], &s.learner[i]
	p := st.prompt()
	q := &lesson.Prompt{Question: p.question.In(lang), Locked: l.locked, Choice: l.choice, Sure: l.sure, Answer: -1, Quiz: st.Predict == nil}
	for _, k := range p.keys {
		q.Choices = append(q.Choices, p.choices[k].In(lang))
	}
	if !l.locked && !s.reveal {
		return q
	}
	if q.Answer = s.answered(i); q.Answer < 0 {
		return q
	}
	if st.Predict != nil {
		q.Seen = word(lang, "seen", "what", s.what(st.Predict, s.see.steps[i].event, lang))
	}
	q.Why = p.why.In(lang)
	if l.choice >= 0 && l.choice != q.Answer {
		if m := p.choices[p.keys[l.choice]].Misconception.In(lang); m != "" {
			q.Why = join(m, q.Why)
		}
	}
	return q
}

// what words the event that answered a prediction.
func (s *Session) what(p *Predict, e *step.Event, lang string) string {
	if e == nil {
		return ""
	}
	switch p.Answer.By {
	case "":
		return join(strings.TrimSpace(who(e)+": "+string(e.Verb)+" "+e.Object.String())+",", s.see.seenBy(p))
	case "others-pending":
		return word(lang, "seen.others", "who", who(e), "verb", string(e.Verb), "resource", e.Object.Resource, "n", s.see.seenBy(p))
	case "distinct-bound-nodes":
		return word(lang, "seen.nodes", "n", s.see.seenBy(p))
	case "detail":
		if at := hopWords(e); at != "" {
			return at + ", " + p.Answer.Path + " = " + s.see.seenBy(p)
		}
		if end := packetWords(e, lang); end != "" {
			return end
		}
		return who(e) + ": " + string(e.Verb) + " " + e.Object.String() + ", " + p.Answer.Path[strings.LastIndexAny(p.Answer.Path, ".]")+1:] + " = " + s.see.seenBy(p)
	case "field":
		return who(e) + ": " + string(e.Verb) + " " + e.Object.String() + ", " + p.Answer.Path[strings.LastIndexAny(p.Answer.Path, ".]")+1:] + " = " + s.see.seenBy(p)
	case "count":
		return word(lang, "seen.count", "n", s.see.seenBy(p), "what", strings.TrimSpace(string(p.Answer.Of.Verb)+" "+p.Answer.Of.Object))
	case "output":
		return word(lang, "seen.output", "what", s.see.seenBy(p))
	case "members":
		return word(lang, "seen.members", "kind", p.Answer.Kind, "what", s.see.seenBy(p))
	}
	return strings.TrimSpace(who(e) + ": " + string(e.Verb) + " " + e.Object.String())
}

func who(e *step.Event) string {
	if e.Node != "" {
		return e.Actor + "@" + e.Node
	}
	return e.Actor
}

// doing words what the step does next.
func (s *Session) doing(i int, lang string) *lesson.Command {
	st, w := s.lesson.Steps[i], s.see.steps[i]
	if len(st.Do) == 0 {
		return nil
	}
	from, to := chunk(st.Do, w.did)
	c := &lesson.Command{Done: w.did == len(st.Do), Busy: s.busy && s.ready}
	if c.Done {
		from, to = chunk(st.Do, lastChunk(st.Do))
	}
	for k := from; k < to; k++ {
		if line := st.Do[k].line(lang, s.see); line != "" {
			c.Line = line
		}
		c.Output = cmp.Or(w.printed[k], c.Output)
	}
	for k := from - 1; (c.Done || c.Busy) && c.Line == "" && k >= 0; k-- { // what it only waits for
		c.Line = st.Do[k].line(lang, s.see)
	}
	if c.Line == "" && !c.Done {
		c.Line = word(lang, "do.wait")
	}
	if from > 0 && c.Output == "" && !c.Done {
		c.Before = w.printed[from-1] // until the next command has printed something
	}
	return c
}

// chunk is the entries of a Do list that are carried out at once, from entry i
// on: up to the next one that sends, steps or waits.
func chunk(list []Do, i int) (from, to int) {
	for to = i; to < len(list); to++ {
		if d := &list[to]; d.command() || d.Show != "" || d.Step != nil || d.waits() {
			to++
			break
		}
	}
	for to < len(list) && (list[to].View != "" || list[to].Mark != "") {
		to++
	}
	return i, to
}

func lastChunk(list []Do) int {
	at := 0
	for {
		_, to := chunk(list, at)
		if to >= len(list) {
			return at
		}
		at = to
	}
}

// line is one entry as a line to show; "" if it is not worth one.
func (d *Do) line(lang string, see *observer) string {
	switch {
	case d.Apply != "":
		return "kubectl apply -f " + d.Apply
	case len(d.Kubectl) > 0:
		return "kubectl " + strings.Join(see.args(d.Kubectl), " ")
	case len(d.Exec) > 0:
		return "kubectl exec " + strings.Join(see.args(d.Exec), " ")
	case len(d.Klab) > 0:
		return "klab " + strings.Join(see.args(d.Klab), " ")
	case d.brings():
		return "klab " + strings.Join(d.klab(see), " ")
	case d.Show != "":
		return d.Show
	case d.Step != nil:
		return word(lang, "do.step")
	case d.Speed > 1:
		return word(lang, "do.speed", "n", strconv.FormatFloat(d.Speed, 'f', -1, 64))
	case d.Speed > 0:
		return word(lang, "do.speed.one")
	case d.Run != nil:
		return word(lang, "do.run")
	case d.Pause != nil:
		return word(lang, "do.pause")
	}
	return ""
}

// waiting words what the step still waits for.
func (s *Session) waiting(i int, lang string) string {
	st, w := s.lesson.Steps[i], s.see.steps[i]
	var foreign *Foreign
	switch {
	case errors.As(s.failed, &foreign):
		return word(lang, "wait.foreign", "what", foreign.In(lang))
	case s.failed != nil:
		return word(lang, "failed", "err", s.failed.Error())
	case !s.ready:
		return word(lang, "preparing")
	case s.over(i):
		return ""
	case w.did < len(st.Do) && s.host == nil:
		return word(lang, "wait.replay")
	case w.did < len(st.Do) && st.Do[w.did].Step != nil:
		return word(lang, "wait.step")
	case st.Predict != nil && w.event == nil && (w.did == len(st.Do) || st.Do[w.did].See != nil || st.Do[w.did].Answered):
		return word(lang, "wait.see")
	case w.did < len(st.Do) && st.Do[w.did].See != nil:
		see := st.Do[w.did].See
		return strings.TrimSpace(string(see.Verb) + " " + see.Object)
	case w.did < len(st.Do) && st.Do[w.did].Wait != nil:
		d := st.Do[w.did].Wait
		return d.Object + " " + d.Path
	case w.did < len(st.Do):
		return ""
	}
	if s.learner[i].handing {
		return word(lang, "wait.handing")
	}
	for k, c := range st.Checks {
		if !w.checks[k] {
			if len(c.Packet) > 0 && s.host != nil {
				return word(lang, "wait.probe", "what", c.Text.In(lang))
			}
			return c.Text.In(lang)
		}
	}
	return ""
}
