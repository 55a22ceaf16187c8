package lessons

import (
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// observer is what a lesson has seen of the lab: how far each step's commands
// are, what happened where predictions were asked, which goals are reached.
// It is a pure fold over events. A lesson's beginning and the entering of each
// step are marks among them.
type observer struct {
	lesson *Lesson
	token  string // of the beginning to wait for; "" takes any
	begun  bool
	state  *fold.State
	steps  []*seen

	commands []*command
	tallies  []*tally
}

// seen is what was seen of one step.
type seen struct {
	entered bool
	did     int // entries of Do that are done
	until   []*tally
	answer  string // of the prediction, "" while it is not known
	by      string // what the answer was computed from
	event   *step.Event
	checks  []bool
	mended  []bool         // by klab, before it was reached: of the checks
	printed map[int]string // what entries of Do printed
	probes  map[*PacketMatch]probed
}

// command is an apply, kubectl, exec, klab, packet, break or mend that is waited for.
type command struct {
	step, do int
	match    *Match
	sent     bool
	id       uint64 // of its step
	over     bool   // whether it is carried out only when that is over
	ended    bool
}

// tally counts the events that match, from the moment its step was entered and
// its command was sent.
type tally struct {
	match *Match
	in    *seen    // nil: any step
	after *command // nil: the lesson's beginning
	n     int
	full  func(*step.Event) // called once
}

func newObserver(l *Lesson, token string) *observer {
	o := &observer{lesson: l, token: token, state: fold.New()}
	o.restart()
	return o
}

// restart forgets what was seen, but for the lab's state.
func (o *observer) restart() {
	o.steps, o.commands, o.tallies = nil, nil, nil
	var last *command
	for i, s := range o.lesson.Steps {
		w := &seen{until: make([]*tally, len(s.Do)), checks: make([]bool, len(s.Checks)), mended: make([]bool, len(s.Checks)), printed: map[int]string{}, probes: map[*PacketMatch]probed{}}
		o.steps = append(o.steps, w)
		for k := range s.Do {
			d := &s.Do[k]
			switch {
			case d.command():
				c := &command{step: i, do: k}
				c.match, c.over = d.sends()
				o.commands = append(o.commands, c)
				if d.Mend == "" { // which only takes back
					last = c
				}
			case d.Step != nil:
				w.until[k] = o.count(&d.Step.Until, w, last, nil)
			case d.See != nil:
				w.until[k] = o.count(d.See, w, last, nil)
			}
		}
		if p := s.Predict; p != nil && len(p.Cases) > 0 {
			o.cases(p, w, last)
		} else if p != nil {
			o.count(&p.Event, w, last, func(e *step.Event) { w.by, w.event = o.by(p, e), e; w.answer = p.choice(w.by) })
			if p.Answer.Of != nil {
				w.until = append(w.until, o.count(p.Answer.Of, w, last, nil))
			}
		}
		for k := range s.Checks {
			if c := &s.Checks[k]; c.Event != nil {
				in := w
				if c.After != "" {
					in = nil
				}
				o.count(c.Event, in, o.afterOf(c, last), func(*step.Event) { w.checks[k] = true })
			}
		}
	}
}

// afterOf is the last command of the step whose prediction the check names.
func (o *observer) afterOf(c *Check, last *command) *command {
	for i, s := range o.lesson.Steps {
		if s.Predict == nil || s.Predict.ID != c.After {
			continue
		}
		for _, cmd := range o.commands {
			if cmd.step == i {
				return cmd
			}
		}
	}
	return last
}

func (o *observer) count(m *Match, in *seen, after *command, full func(*step.Event)) *tally {
	t := &tally{match: m, in: in, after: after, full: full}
	o.tallies = append(o.tallies, t)
	return t
}

// Marks of lessons in the lab's events.
func beginMark(l *Lesson, token string) string {
	return strings.TrimSpace("lesson " + l.ID + " " + token)
}
func stepMark(l *Lesson, s *Step) string { return l.ID + "/" + s.ID }

// begunBefore is the id of the lesson that was begun last before an event, "" if none.
func (o *observer) begunBefore(seq uint64) string {
	for _, m := range slices.Backward(o.state.Marks) {
		if rest, ok := strings.CutPrefix(m.Name, "lesson "); ok && m.Seq < seq {
			id, _, _ := strings.Cut(rest, " ")
			return id
		}
	}
	return ""
}

// Start is the event of a recording at which the lesson's first step is
// entered, or 0.
func (l *Lesson) Start(events []*step.Event) uint64 {
	o := newObserver(l, "")
	for _, e := range events {
		if o.observe(e); o.steps[0].entered {
			return e.Seq
		}
	}
	return 0
}

// observe takes the next event.
func (o *observer) observe(e *step.Event) {
	o.state.Apply(e)
	if e.Verb == step.Mark && e.Phase == step.PhaseFact {
		o.mark(e)
	}
	if !o.begun {
		return
	}
	for _, c := range o.commands {
		o.sent(c, e)
	}
	for _, t := range o.tallies {
		if t.in != nil && !t.in.entered || t.after != nil && !t.after.sent || !o.matches(t.match, e) {
			continue
		}
		if t.n++; t.n == t.match.needed() && t.full != nil {
			t.full(e)
		}
	}
	for i := range o.steps {
		o.advance(i)
	}
	o.mend(e)
	o.packets(e)
}

// mend notes what klab takes back that the learner is to repair.
func (o *observer) mend(e *step.Event) {
	var d step.FaultDetail
	if e.Verb != step.Mend || e.Phase != step.PhaseBegin || e.Decode(&d) != nil {
		return
	}
	for i, s := range o.lesson.Steps {
		for k, c := range s.Checks {
			if w := o.steps[i]; c.Card != "" && c.Card == d.Card && !w.checks[k] {
				w.mended[k] = true
			}
		}
	}
}

// sent notes that a command's request has come, and its end. Of commands that
// look alike the first one that is not done is meant.
func (o *observer) sent(c *command, e *step.Event) {
	w := o.steps[c.step]
	switch {
	case c.sent:
		c.ended = c.ended || c.over && e.Step == c.id && e.Phase == step.PhaseEnd && e.Err == ""
	case !w.entered || c.over && w.did < c.do || !o.matches(c.match, e):
	case c.match.Phase != "" || e.Phase == step.PhasePending || e.Phase == step.PhaseBegin:
		c.sent, c.id = true, e.Step
	}
}

func (o *observer) mark(e *step.Event) {
	var d step.MarkDetail
	if e.Decode(&d) != nil {
		return
	}
	if rest, ok := strings.CutPrefix(d.Name, beginMark(o.lesson, "")); ok && (o.token == "" || strings.TrimSpace(rest) == o.token) {
		o.begun = true
		o.restart()
		return
	}
	for i, s := range o.lesson.Steps {
		if d.Name == stepMark(o.lesson, s) {
			o.steps[i].entered = true
		}
		if d.Name == probeMark(o.lesson, s) {
			clear(o.steps[i].probes)
		}
		for k := range s.Do {
			if (s.Do[k].Show != "" || s.Do[k].Mend != "") && d.Name == outputMark(o.lesson, s, k) {
				o.steps[i].printed[k] = d.Text
			}
		}
	}
}

// advance moves a step on as far as what has been seen allows.
func (o *observer) advance(i int) {
	s, w := o.lesson.Steps[i], o.steps[i]
	if !w.entered {
		return
	}
	for w.did < len(s.Do) && o.done(i, w.did) {
		w.did++
	}
	for k := range s.Checks {
		if c := &s.Checks[k]; c.Event == nil && len(c.Packet) == 0 && !w.checks[k] {
			w.checks[k] = w.did == len(s.Do) && o.holds(&c.Wait)
		}
	}
}

// done tells whether one entry of a step's Do is carried out.
func (o *observer) done(i, k int) bool {
	d := &o.lesson.Steps[i].Do[k]
	switch {
	case d.Pause != nil:
		return o.state.Mode.State == step.Paused
	case d.Run != nil:
		return o.state.Mode.State != step.Paused && o.breaksAt(d.Run.Until)
	case d.Step != nil:
		return o.steps[i].until[k].n >= d.Step.Until.needed()
	case d.See != nil:
		return o.steps[i].until[k].n >= d.See.needed()
	case d.Answered:
		return o.steps[i].event != nil
	case d.Speed > 0:
		return o.state.Rate == d.Speed
	case d.Wait != nil:
		return o.holds(d.Wait)
	case d.Show != "":
		_, ok := o.steps[i].printed[k]
		return ok
	case d.command():
		if _, ok := o.steps[i].printed[k]; ok { // there was nothing to mend
			return true
		}
		for _, c := range o.commands {
			if c.step == i && c.do == k {
				return c.sent && (!c.over || c.ended)
			}
		}
	}
	return true
}

// breaksAt tells whether the lab is to pause at all of these.
func (o *observer) breaksAt(list []step.Match) bool {
	for _, want := range list {
		want.Once = true
		if !slices.Contains(o.state.Mode.Breaks, want) {
			return false
		}
	}
	return true
}

// holds tells whether an object's field has the value. Where the name is a
// pattern, one such object is enough.
func (o *observer) holds(w *Wait) bool {
	want := fold.Scalar(w.Equals)
	if n, ok := w.Equals.(int); ok {
		want = strconv.Itoa(n)
	}
	for k, obj := range o.state.Objects {
		if like(w.Object, k.String()) && obj.Text(w.Path) == want {
			return true
		}
	}
	return false
}

// complete tells whether everything that the step does is done, and its goals reached.
func (o *observer) complete(i int) bool {
	w := o.steps[i]
	for _, c := range w.checks {
		if !c {
			return false
		}
	}
	return w.did == len(o.lesson.Steps[i].Do) && (o.lesson.Steps[i].Predict == nil || w.event != nil)
}
