package lessons

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/lesson"
)

// Session is a learner in a lesson: a state machine over the lab's events,
// which it follows, and what the learner does. It implements tui/lesson.Lesson.
type Session struct {
	lesson   *Lesson
	host     Host // nil: a recording
	progress *Progress

	mu       sync.Mutex
	see      *observer
	at       int // the step that is being worked on
	look     int // the step that is looked at; Prev turns back to it
	learner  []learner
	busy     bool // something is being carried out
	finished bool // it is noted that the lesson is finished
	failed   error
	ready    bool // the lab is at the lesson's beginning
	reveal   bool
	changed  chan struct{} // closed when something has changed
}

// learner is what the learner did in one step.
type learner struct {
	locked bool
	choice int // -1: skipped
	sure   int
	hints  []int // that were taken
	asked  bool  // for a check

	handing bool     // asked to go on with open goals
	handed  bool     // and has done so
	seen    bool     // it is noted what really happened
	reached []string // goals that are noted
	mended  []string // goals of which klab has mended what was to be repaired
}

// NewSession begins a lesson. Without a host it follows a recording. What the
// learner does is noted in progress, which may be nil.
func NewSession(l *Lesson, host Host, progress *Progress) *Session {
	token := ""
	if host != nil {
		token = progress.run()
	}
	s := &Session{
		lesson: l, host: host, progress: progress, see: newObserver(l, token),
		learner: make([]learner, len(l.Steps)), changed: make(chan struct{}), ready: host == nil,
	}
	for i := range s.learner {
		s.learner[i].choice = -1
	}
	return s
}

// Lesson is what the session is about.
func (s *Session) Lesson() *Lesson { return s.lesson }

// Follow implements lesson.Lesson.
func (s *Session) Follow(_ *fold.State, events []*step.Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.wake()
	defer s.keep()
	playing := s.host == nil && !s.played(s.at)
	for i, e := range events {
		s.see.observe(e)
		if playing && !s.last(s.at) && s.played(s.at) {
			return i + 1
		}
	}
	return len(events)
}

// keep notes what has come about since: answers, goals, the lesson's end. Goals
// count in the step in which the learner is: later ones may reach them by themselves.
func (s *Session) keep() {
	if !s.see.begun {
		return
	}
	for i, st := range s.lesson.Steps {
		l := &s.learner[i]
		if answer := s.answered(i); l.locked && answer >= 0 && !l.seen {
			l.seen = true
			s.progress.note(Entry{Lesson: s.lesson.ID, Step: st.ID, Kind: Seen, Choice: key(st.prompt(), answer)})
		}
		for k, c := range st.Checks {
			if i == s.at && s.ready && s.see.steps[i].mended[k] && !slices.Contains(l.mended, c.ID) {
				l.mended = append(l.mended, c.ID)
				s.progress.note(Entry{Lesson: s.lesson.ID, Step: st.ID, Kind: Mended, Goal: c.ID})
			}
			if i == s.at && s.see.steps[i].checks[k] && !slices.Contains(l.reached, c.ID) {
				l.reached = append(l.reached, c.ID)
				s.progress.note(Entry{Lesson: s.lesson.ID, Step: st.ID, Kind: Reached, Goal: c.ID})
			}
		}
	}
	if last := len(s.lesson.Steps) - 1; s.at == last && s.over(last) && !s.finished {
		s.finished = true
		s.progress.note(Entry{Lesson: s.lesson.ID, Kind: Finished})
	}
}

// wake tells whoever waits that something has changed.
func (s *Session) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Answer implements lesson.Lesson.
func (s *Session) Answer(choice, sure int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lesson.Steps[s.look].prompt()
	switch {
	case p == nil:
		return errors.New("this step asks nothing")
	case s.learner[s.look].locked:
		return nil
	case choice >= len(p.keys):
		return fmt.Errorf("there is no choice %d", choice+1)
	}
	l := &s.learner[s.look]
	l.locked, l.choice, l.sure = true, max(choice, -1), min(max(sure, 1), 3)
	s.progress.note(Entry{Lesson: s.lesson.ID, Step: s.lesson.Steps[s.look].ID, Kind: Answered, Choice: key(p, l.choice), Sure: l.sure})
	s.keep()
	s.wake()
	return nil
}

// WrongChoice is a choice of the open question that is not expected to be
// right: one with a misconception, if there is any.
func (s *Session) WrongChoice() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lesson.Steps[s.look].prompt()
	if p == nil {
		return -1
	}
	for k, id := range p.keys {
		if p.choices[id].Misconception != (Text{}) {
			return k
		}
	}
	return 0
}

func key(p *prompt, choice int) string {
	if choice < 0 || choice >= len(p.keys) {
		return ""
	}
	return p.keys[choice]
}

// answered is the index of what really happened, or -1.
func (s *Session) answered(i int) int {
	st := s.lesson.Steps[i]
	want := s.see.steps[i].answer
	if st.Quiz != nil {
		want = st.Quiz.Answer
	}
	if p := st.prompt(); p != nil && want != "" {
		for k, key := range p.keys {
			if key == want {
				return k
			}
		}
	}
	return -1
}

// asks tells whether the step's question is to be shown: a prediction comes
// before what the step does, a quiz after it.
func (s *Session) asks(i int) bool {
	st := s.lesson.Steps[i]
	return st.Predict != nil || st.Quiz != nil && s.played(i)
}

// over tells whether a step has nothing left to do.
func (s *Session) over(i int) bool {
	return s.played(i) && (s.lesson.Steps[i].prompt() == nil || s.learner[i].locked)
}

// played tells whether what a step is about has happened. A recording has
// then come to where the next step was entered.
func (s *Session) played(i int) bool {
	return (s.see.complete(i) || s.learner[i].handed) && (s.host != nil || s.last(i) || s.see.steps[i+1].entered)
}

// last tells whether i is the lesson's last step.
func (s *Session) last(i int) bool { return i == len(s.lesson.Steps)-1 }

var _ lesson.Lesson = (*Session)(nil)
