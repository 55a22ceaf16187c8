package lessons

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/lesson"
)

// Plain plays a lesson as lines of text. It carries out itself what the
// lesson does.
type Plain struct {
	Session *Session
	// Next gives further events of the lab, at least one; io.EOF ends a recording.
	Next func(ctx context.Context) ([]*step.Event, error)
	Lang string
	Out  io.Writer
	JSON bool // one JSON object a line instead of text, see Line
	// Ask reads a line that answers a question, which it may put itself;
	// false: nobody answers.
	Ask func(question string) (string, bool)
	// Solve does what the learner would do; it returns the command line. Nil:
	// somebody is there to do it.
	Solve func(ctx context.Context, s *Step) (string, error)
	// Hops words a packet's way, a line for each of its hops; nil: it is not told.
	Hops func([]step.Hop) []string

	decisions *decisions
	way       *way
	doing     atomic.Bool // it carries out what a step does
}

// ErrGoals is the error of Run when not all goals were reached.
var ErrGoals = errors.New("not all goals of the lesson were reached")

const plainWidth = 78

// Run plays the lesson to its end.
func (p *Plain) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.decisions = newDecisions(p)
	p.way = &way{p, map[string][]step.Hop{}}
	s := p.Session
	live := s.host != nil
	stopped := make(chan struct{})
	if live {
		go func() {
			defer close(stopped)
			cancel(p.pump(ctx))
		}()
	} else {
		close(stopped)
	}
	err := p.lesson(ctx)
	cancel(nil)
	<-stopped
	return err
}

// pump follows a live lab.
func (p *Plain) pump(ctx context.Context) error {
	for {
		events, err := p.Next(ctx)
		p.take(events)
		if err != nil {
			return err
		}
	}
}

func (p *Plain) take(events []*step.Event) {
	for _, e := range events {
		p.decisions.see(e)
		p.way.see(e)
	}
	p.Session.Follow(nil, events)
}

// until goes on until ok, which is called with the session's lock held.
func (p *Plain) until(ctx context.Context, patience time.Duration, ok func() bool) error {
	s := p.Session
	if s.host != nil {
		return s.until(ctx, patience, ok)
	}
	for {
		s.mu.Lock()
		done := ok()
		s.mu.Unlock()
		if done {
			return nil
		}
		events, err := p.Next(ctx)
		p.take(events)
		if errors.Is(err, io.EOF) {
			return errors.New("the recording ends before this happens; it is not of this lesson, or of an older version of it")
		}
		if err != nil {
			return err
		}
	}
}

func (p *Plain) lesson(ctx context.Context) error {
	s := p.Session
	l := s.lesson
	p.print(Line{Kind: "lesson", ID: l.ID, Text: p.w("plain.lesson", "n", l.Number(), "title", l.Title.In(p.Lang))})
	goals := l.Goals.EN
	if p.Lang == "zh" {
		goals = l.Goals.ZH
	}
	p.text(p.w("plain.goals"))
	for _, g := range goals {
		p.para(Para{"item", g})
	}
	key := "plain.replaying"
	if s.host != nil {
		key = "plain.live"
	}
	p.text("", p.w(key))
	if !s.isReady() {
		err := s.Begin(ctx)
		if foreign := (*Foreign)(nil); errors.As(err, &foreign) {
			return errors.New(foreign.In(p.Lang))
		}
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	from := s.at
	s.mu.Unlock()
	if from > 0 {
		p.text("", p.w("plain.resumed", "n", strconv.Itoa(from)))
	}
	for i := from; i < len(l.Steps); i++ {
		if err := p.step(ctx, i); err != nil {
			return err
		}
		if err := s.Act(ctx, lesson.Next); err != nil {
			return err
		}
	}
	return p.end()
}

func (s *Session) isReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

func (p *Plain) step(ctx context.Context, i int) error {
	s := p.Session
	st := s.lesson.Steps[i]
	s.change(func() { s.at, s.look = i, i })
	paras := st.Prose[p.Lang]
	head := p.w("plain.step", "n", strconv.Itoa(i+1), "all", strconv.Itoa(len(s.lesson.Steps)))
	if len(paras) > 0 && paras[0].Kind == "heading" {
		head, paras = head+" - "+paras[0].Text, paras[1:]
	}
	p.text("")
	p.print(Line{Kind: "step", ID: st.ID, Text: "== " + head + " =="})
	for _, para := range paras {
		p.para(para)
	}
	if st.Predict != nil {
		p.ask(i, "plain.predict")
	}
	if err := p.do(ctx, i); err != nil {
		return err
	}
	if err := p.goals(ctx, i); err != nil {
		return err
	}
	if st.Predict != nil {
		p.outcome(i)
	}
	if st.Quiz != nil {
		p.ask(i, "plain.quiz")
		p.outcome(i)
	}
	return nil
}

// do carries out what the step does, or plays the recording of it.
func (p *Plain) do(ctx context.Context, i int) error {
	s := p.Session
	list := s.lesson.Steps[i].Do
	p.doing.Store(true)
	defer p.doing.Store(false)
	for at := 0; at < len(list); {
		_, to := chunk(list, at)
		last := to >= len(list)
		p.text("")
		for k := at; k < to; k++ {
			s.mu.Lock()
			line := list[k].line(p.Lang, s.see)
			s.mu.Unlock()
			if line != "" {
				p.print(Line{Kind: "do", Text: p.w("plain.did", "line", line)})
			}
		}
		var err error
		if s.host != nil {
			err = s.exclusively(func() error { return s.carryOut(ctx, i, to) })
		} else {
			err = p.until(ctx, 0, func() bool { return s.see.steps[i].did >= to && (!last || s.played(i)) })
		}
		if err != nil {
			return fmt.Errorf("step %q: %w", s.lesson.Steps[i].ID, err)
		}
		p.printed(i, at, to)
		at = to
	}
	return nil
}

// goals waits until the step's goals are reached. What the learner is to do
// is done for them if nobody is there.
func (p *Plain) goals(ctx context.Context, i int) error {
	s := p.Session
	st := s.lesson.Steps[i]
	complete := func() bool { return s.played(i) }
	turn := st.acts()
	patience := time.Minute
	switch {
	case turn && s.host == nil:
		p.text("", p.w("plain.recorded"))
	case turn && p.Solve == nil:
		p.text("", p.w("plain.yourturn"))
		patience = 24 * time.Hour
	case turn:
		line, err := p.Solve(ctx, st)
		p.text("", p.w("plain.solution", "line", line))
		if err != nil {
			return fmt.Errorf("step %q: the lesson's solution: %w", st.ID, err)
		}
	}
	var err error
	if s.host == nil {
		err = p.until(ctx, patience, complete)
	} else {
		err = s.reach(ctx, i, patience, complete)
	}
	if err != nil && !errors.Is(err, errSlow) {
		return fmt.Errorf("step %q: %w", st.ID, err)
	}
	v := s.View(p.Lang)
	if len(st.Checks) > 0 {
		p.text("")
	}
	for k := range st.Checks {
		g := v.Checks[k]
		done, key := g.Done, "plain.checked"
		if !done {
			key = "plain.notyet"
		}
		line := Line{Kind: "goal", ID: st.Checks[k].ID, Done: &done, Text: p.w(key, "text", g.Text, "notyet", st.Checks[k].NotYet.In(p.Lang))}
		s.mu.Lock()
		line.Points, line.Of = s.earned(i, k), st.Checks[k].Points
		s.mu.Unlock()
		p.print(line)
	}
	if err != nil {
		return fmt.Errorf("step %q: %w", st.ID, ErrGoals)
	}
	return nil
}

// ask puts the step's question.
func (p *Plain) ask(i int, key string) {
	s := p.Session
	q := s.lesson.Steps[i].prompt()
	line := Line{Kind: "question", ID: q.id, Text: p.w(key, "question", q.question.In(p.Lang))}
	for _, k := range q.keys {
		line.Choices = append(line.Choices, k+") "+q.choices[k].In(p.Lang))
	}
	p.text("")
	p.print(line)
	if !p.JSON {
		for _, c := range line.Choices {
			p.wrapped(c, "  ", "     ")
		}
	}
	s.mu.Lock()
	l := s.learner[i]
	s.mu.Unlock()
	if l.locked { // in an earlier sitting
		return
	}
	choice, sure := p.answer(q)
	_ = s.Answer(choice, sure) // the choice is one of the question's own
}

func (p *Plain) answer(q *prompt) (choice, sure int) {
	for p.Ask != nil {
		line, ok := p.Ask(p.w("plain.ask"))
		if !ok {
			break
		}
		fields := strings.Fields(strings.ToLower(line))
		if len(fields) == 0 {
			return -1, 1
		}
		sure = 2
		if len(fields) > 1 {
			sure, _ = strconv.Atoi(fields[1])
		}
		if choice = slices.Index(q.keys, strings.TrimSuffix(fields[0], ")")); choice >= 0 && sure >= 1 && sure <= 3 {
			return choice, sure
		}
		p.text(p.w("plain.again", "keys", strings.Join(q.keys, ", "), "first", q.keys[0]))
	}
	p.text(p.w("plain.skipped"))
	return -1, 1
}

// outcome says what really happened, and why.
func (p *Plain) outcome(i int) {
	s := p.Session
	q := s.lesson.Steps[i].prompt()
	v := s.View(p.Lang).Prompt
	if v == nil || v.Answer < 0 {
		return
	}
	answer := q.keys[v.Answer]
	word := "plain.other"
	if v.Choice == v.Answer {
		word = "plain.right"
	}
	line := Line{Kind: "answer", ID: q.id, Choice: key(q, v.Choice), Answer: answer}
	if v.Choice >= 0 {
		line.Sure = v.Sure
	}
	line.Text = p.w(word, "key", answer, "text", q.choices[answer].In(p.Lang))
	if p.JSON {
		line.Text = strings.TrimSpace(v.Seen + " " + v.Why)
	}
	p.text("")
	p.print(line)
	p.text(v.Seen)
	p.text(v.Why)
}

func (p *Plain) end() error {
	s := p.Session
	s.mu.Lock()
	all, n := 0, 0
	for _, w := range s.see.steps {
		for _, c := range w.checks {
			if all++; c {
				n++
			}
		}
	}
	done := n == all
	line := Line{Kind: "end", ID: s.lesson.ID, Done: &done, Points: s.score(), Of: s.lesson.worth(),
		Text: p.w("plain.done", "n", strconv.Itoa(n), "all", strconv.Itoa(all))}
	if line.Of > 0 {
		line.Grade = Grade(line.Points, line.Of)
		line.Text += " " + s.result(p.Lang)
	}
	s.mu.Unlock()
	p.text("")
	p.print(line)
	if !done {
		return ErrGoals
	}
	return nil
}
