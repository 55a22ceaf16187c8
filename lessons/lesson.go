package lessons

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// Langs are the languages that every lesson has.
var Langs = []string{"en", "zh"}

// Text is a short text in both languages.
type Text struct {
	EN string `yaml:"en"`
	ZH string `yaml:"zh"`
}

// In is the text in a language, without the marks of code; English is what
// unknown ones get.
func (t Text) In(lang string) string {
	s := t.EN
	if lang == "zh" {
		s = t.ZH
	}
	return strings.ReplaceAll(s, "`", "")
}

// Lesson is a lesson as its author wrote it.
type Lesson struct {
	Front
	Dir   string // the folder's name: "01-a-deployment-thinks"
	Path  string // of lesson.md, for messages
	Files fs.FS  // the lesson's folder
	Steps []*Step
}

// Front is the front matter.
type Front struct {
	ID      string   `yaml:"id"`
	Order   int      `yaml:"order"`
	Title   Text     `yaml:"title"`
	Level   string   `yaml:"level"`
	Track   string   `yaml:"track"`
	Minutes int      `yaml:"minutes"`
	Run     []string `yaml:"run"` // live, replay
	Goals   struct {
		EN []string `yaml:"en"`
		ZH []string `yaml:"zh"`
	} `yaml:"goals"`
	Needs []string `yaml:"needs"` // ids of lessons to take before
	Lab   string   `yaml:"lab"`   // the lab that it begins in
	// HintCosts is how many points a hint costs that is for a goal with points.
	HintCosts int `yaml:"hintCosts"`
	// Reset takes back what the lesson does beside its manifests: kubectl,
	// klab, show, speed and wait. It must do no harm where nothing was done.
	Reset []Do `yaml:"reset"`
	// Makes are objects that the lesson makes beside its manifests, or that the
	// learner makes, or may make anew: resource/namespace/name, or containers/NODE/NAME. They are
	// the lesson's if they come while it is taken, and are deleted with the others.
	Makes []string `yaml:"makes"`
}

// Number is the lesson's number, as people type it: "01".
func (l *Lesson) Number() string { return fmt.Sprintf("%02d", l.Order) }

// Step is a part of a lesson that is on the screen at one time.
type Step struct {
	ID      string
	Line    int // of its heading
	Prose   map[string][]Para
	Do      []Do
	Predict *Predict // a step has a prediction or a quiz, not both
	Quiz    *Quiz
	Checks  []Check
	Hints   []Hint
}

// Para is a piece of prose.
type Para struct {
	Kind string // "", heading, item, code, note
	Text string
}

// Do is one thing that a step does. Exactly one of the verbs is set.
type Do struct {
	Line int `yaml:"-"`

	Pause    *Pause     `yaml:"pause"`
	Run      *RunUntil  `yaml:"run"`
	Step     *StepUntil `yaml:"step"`
	Apply    string     `yaml:"apply"`   // a file of the lesson
	Kubectl  []string   `yaml:"kubectl"` // its arguments; ${first RESOURCE/NAMESPACE LABEL=VALUE} is a name
	Exec     []string   `yaml:"exec"`    // the arguments of "kubectl exec"
	Klab     []string   `yaml:"klab"`    // the arguments of klab itself, as in [node, drain, node-1]
	Packet   string     `yaml:"packet"`  // FROM TO[:PORT] [PROTO], as "klab packet" takes them: "pod/a svc/web:80 udp"
	Break    string     `yaml:"break"`   // CARD and its arguments, as "klab break" takes them
	Mend     string     `yaml:"mend"`    // what "klab mend" is to undo
	Show     string     `yaml:"show"`    // a line for a shell, which has kubectl and klab; what it prints is shown
	Wait     *Wait      `yaml:"wait"`
	See      *Match     `yaml:"see"`      // wait until such an event has come
	Answered bool       `yaml:"answered"` // wait until the step's prediction is answered
	Speed    float64    `yaml:"speed"`    // how fast the lab's clock goes
	View     string     `yaml:"view"`     // a pane to show
	Mark     string     `yaml:"mark"`

	// Held names the request that apply, kubectl, exec and klab send. The command is
	// done when it has arrived; while the lab is paused it then waits to be let go.
	// Packet, break and mend do without: they are done when they are over.
	Held *Match `yaml:"held"`
}

// Pause holds what happens next.
type Pause struct {
	Zoom   int          `yaml:"zoom"`
	Only   []step.Match `yaml:"only"`
	Breaks []step.Match `yaml:"breaks"`
}

// RunUntil lets the lab run; Until are breaks for once.
type RunUntil struct {
	Until []step.Match `yaml:"until"`
}

// StepUntil lets one held action after the other happen until an event is seen.
type StepUntil struct {
	Until Match `yaml:"until"`
}

// Wait waits until a field of an object has a value.
type Wait struct {
	Object string `yaml:"object"` // resource/namespace/name
	Path   string `yaml:"path"`
	Equals any    `yaml:"equals"`
}

// Predict is a question about what happens next. Its answer is computed from
// the event that really happens.
type Predict struct {
	ID       string            `yaml:"id"`
	Question Text              `yaml:"question"`
	Choices  map[string]Choice `yaml:"choices"`
	Event    Match             `yaml:"event"`
	Answer   Answer            `yaml:"answer"`
	// Cases has an event for each choice, in place of event and answer: the one
	// that comes first answers.
	Cases map[string]Match `yaml:"cases"`
	Hide  []string         `yaml:"hide"`
	Why   Text             `yaml:"why"`

	Line int      `yaml:"-"`
	Keys []string `yaml:"-"` // of Choices, in order
}

// Choice is one of several answers.
type Choice struct {
	Text          `yaml:",inline"`
	Misconception Text `yaml:"misconception"` // shown to whoever chose it and saw otherwise
}

// Answer says how an event becomes a choice.
type Answer struct {
	By   string            `yaml:"by"`   // one of answersBy
	Path string            `yaml:"path"` // detail: in the event's detail; field: in its object
	Of   *Match            `yaml:"of"`   // what count counts
	Map  map[string]string `yaml:"map"`  // from what By gives, or a pattern of it, to a choice
	Else string            `yaml:"else"`
	Find string            `yaml:"find"` // of detail, field, output: a regular expression, whose first group counts

	Container string `yaml:"container"` // of members: who shares this container's
	Kind      string `yaml:"kind"`      // namespace of this kind
}

// Quiz is a question with one fixed answer.
type Quiz struct {
	ID       string            `yaml:"id"`
	Question Text              `yaml:"question"`
	Choices  map[string]Choice `yaml:"choices"`
	Answer   string            `yaml:"answer"`
	Why      Text              `yaml:"why"`

	Line int      `yaml:"-"`
	Keys []string `yaml:"-"`
}

// Check is a goal: a field of an object has a value, an event was seen, or
// packets come out as they should. Once reached it stays reached.
type Check struct {
	ID    string `yaml:"id"`
	Wait  `yaml:",inline"`
	Event *Match `yaml:"event"`
	// Packet are packets that, one after the other and with no change of the lab
	// between, have to come out so. "Check" sends them; also others' count.
	Packet []PacketMatch `yaml:"packet"`
	After  string        `yaml:"after"` // a prediction: the event is one after its step's command
	Text   Text          `yaml:"text"`
	NotYet Text          `yaml:"notyet"`
	// Points is what the goal is worth in a lesson that is graded; 0 in others. The
	// goals of a step may be reached in any order.
	Points int `yaml:"points"`
	// Card is what breaks that which the goal is to repair. Who has it mended by klab
	// reaches the goal, but not its points.
	Card string `yaml:"card"`
	// Wrong are states in which the check must not pass: "klab lesson test" sees to it.
	Wrong []Wrong `yaml:"wrong"`

	Line int `yaml:"-"`
}

// Wrong is a state that is not the check's goal, however much it looks so: the
// shell line that brings it about, and the one that takes it back.
type Wrong struct {
	Do   string `yaml:"do"`
	Undo string `yaml:"undo"`
}

// acts tells whether it is the learner who has to act in the step.
func (s *Step) acts() bool { return len(s.Checks) > 0 && len(s.Do) == 0 }

// prompt is what predictions and quizzes have in common.
type prompt struct {
	id       string
	question Text
	keys     []string
	choices  map[string]Choice
	why      Text
	line     int
}

// prompt returns the step's question, or nil.
func (s *Step) prompt() *prompt {
	switch {
	case s.Predict != nil:
		p := s.Predict
		return &prompt{p.ID, p.Question, p.Keys, p.Choices, p.Why, p.Line}
	case s.Quiz != nil:
		q := s.Quiz
		return &prompt{q.ID, q.Question, q.Keys, q.Choices, q.Why, q.Line}
	}
	return nil
}
