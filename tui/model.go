package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/lesson"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/view"
)

// stage names what the stage shows; the digits 1–5 choose it.
type stage int

const (
	cluster stage = iota
	reconcile
	network
	objects
	events
	stages
)

var stageKeys = [stages]string{"pane.stage", "pane.reconcile", "pane.network", "pane.objects", "pane.log"}

// overlay is what lies over the panes.
type overlay int

const (
	none overlay = iota
	helping
	commanding
	filtering
	reading
)

// Model is the interface: what has been received, where the eye is, and what
// has been typed so far.
type Model struct {
	ctx     context.Context
	pump    *pump
	control Control
	lesson  lesson.Lesson
	live    bool
	keys    map[string]keys.Action

	w, h   int
	lang   i18n.Lang
	ascii  bool
	theme  *canvas.Theme
	panes  map[layout.Pane]canvas.Rect
	cached map[layout.Pane]drawn

	history *fold.History
	track   *view.Track
	at      uint64 // the eye; 0 follows the newest event
	start   uint64
	zoom    step.Zoom // of the eye, when it is not the lab's
	playing bool
	speed   int // steps a second
	lost    error

	lv       lesson.View
	lvAt     int // counts the lesson's changes
	followed uint64
	answer   pane.Answering
	mask     view.Mask

	focus  layout.Pane
	max    bool
	stage  stage
	sel    map[layout.Pane]int // selected row
	skip   map[layout.Pane]int // rows scrolled away
	filter string
	picked map[uint64]bool // picked and not yet gone

	over     overlay
	input    string
	chosen   int // in the palette
	output   []string
	outName  string
	overSkip int

	said  string
	wrong bool
	frame string // the last frame, "" if something changed
}

// New makes a model; Run does, and tests.
func New(ctx context.Context, c Config) *Model {
	m := &Model{
		ctx: ctx, pump: newPump(c.Source), control: c.Control, lesson: c.Lesson, live: c.Source.Live(), keys: keys.Map(),
		lang: c.Lang, ascii: c.ASCII, theme: canvas.NewTheme(c.Light), start: c.Start,
		history: fold.NewHistory(), track: &view.Track{}, speed: 4, at: c.Start,
		focus: layout.Pending, sel: map[layout.Pane]int{}, skip: map[layout.Pane]int{}, picked: map[uint64]bool{},
		cached: map[layout.Pane]drawn{}, answer: pane.Answering{Choice: -1},
	}
	if m.lang == "" {
		m.lang = i18n.English
	}
	if !m.live {
		m.focus = layout.Stage
	}
	if m.lesson != nil {
		m.focus = layout.Lesson
	}
	m.look()
	return m
}

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd {
	return tea.Batch(m.pump.next(m.ctx), tea.RequestBackgroundColor)
}

type (
	playMsg  struct{}
	doneMsg  struct{ err error }
	actedMsg struct{ err error }
	ranMsg   struct {
		line, out string
		err       error
	}
	pickedMsg struct {
		id  uint64
		err error
	}
)

// Update implements tea.Model.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	m.frame = ""
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
		m.place()
	case tea.BackgroundColorMsg:
		m.theme = canvas.NewTheme(!msg.IsDark())
		clear(m.cached)
	case tea.KeyPressMsg:
		return m, m.press(msg.String(), msg.Key().Text)
	case tea.PasteMsg:
		if m.over == commanding || m.over == filtering {
			m.typed(msg.Content)
		}
	case tea.MouseClickMsg:
		m.click(msg.X, msg.Y)
	case tea.MouseWheelMsg:
		m.wheel(msg)
	case batchMsg:
		m.receive(msg)
		return m, m.pump.next(m.ctx)
	case sourceMsg:
		m.lost = msg.err
		m.complain("say.lost", "err", msg.err.Error())
	case playMsg:
		return m, m.played()
	case doneMsg:
		if msg.err != nil {
			m.complain("say.failed", "err", msg.err.Error())
		}
	case pickedMsg:
		if msg.err != nil {
			delete(m.picked, msg.id)
			m.complain("say.failed", "err", msg.err.Error())
		}
	case actedMsg:
		if msg.err != nil {
			m.complain("say.failed", "err", msg.err.Error())
		}
		m.look()
	case ranMsg:
		m.printed(msg)
	}
	return m, nil
}

// receive takes new events.
func (m *Model) receive(batch []*step.Event) {
	if len(batch) == 0 {
		return
	}
	runs := m.history.Now().Runs
	m.history.Append(batch...)
	m.track.Append(batch...)
	for id := range m.picked {
		if m.history.Now().Waiting(id) == nil && !hasTimer(m.history.Now(), id) {
			delete(m.picked, id)
		}
	}
	if !m.live && m.at == 0 {
		m.at = max(m.start, m.history.First())
	}
	if m.live && m.history.Now().Runs > runs && runs > 0 {
		m.say("say.reset")
	}
	m.follow()
}

func hasTimer(s *fold.State, id uint64) bool {
	for _, t := range s.Timers {
		if t.ID == id {
			return true
		}
	}
	return false
}

// eye is the event that is being looked at.
func (m *Model) eye() uint64 {
	if m.at == 0 {
		return m.history.Last()
	}
	return min(m.at, m.history.Last())
}

// now tells whether the eye follows a live lab, so that it can be acted on.
func (m *Model) now() bool { return m.live && m.at == 0 }

// state is what the panes show.
func (m *Model) state() *fold.State { return m.history.At(m.eye()) }

// mode is the word in the header.
func (m *Model) mode() string {
	switch {
	case !m.live:
		return "replay"
	case m.at != 0:
		return "past"
	case m.history.Now().Mode.State == step.Paused:
		return "paused"
	}
	return "live"
}

// grain is how fine the eye's steps are.
func (m *Model) grain() step.Zoom {
	if m.now() {
		return min(max(m.history.Now().Mode.Zoom, step.Coarse), step.Finest)
	}
	return m.zoom
}

// follow tells the lesson what happened, as far as the learner has seen it.
func (m *Model) follow() {
	if m.lesson == nil {
		return
	}
	to := m.history.Last()
	if !m.live {
		to = m.eye()
	}
	if to > m.followed {
		var list []*step.Event
		m.history.Range(m.followed+1, to, func(e *step.Event) bool {
			list = append(list, e)
			return true
		})
		m.followed = to
		m.lesson.Follow(m.history.At(to), list)
	}
	m.look()
}

// look asks the lesson what there is to see.
func (m *Model) look() {
	if m.lesson == nil {
		return
	}
	before := m.lv
	m.lv = m.lesson.View(string(m.lang))
	m.lvAt++
	m.mask = view.NewMask(m.lv.Hide)
	opened := m.lv.Prompt.Open() && (!before.Prompt.Open() || before.Step != m.lv.Step)
	if opened {
		m.answer = pane.Answering{Choice: -1}
		m.focus = layout.Lesson
	}
	if before.Step != m.lv.Step {
		m.skip[layout.Lesson] = 0
		m.focus = layout.Lesson
		m.show(m.lv.Show)
	}
	m.place()
}

// show turns to the pane that a lesson is about.
func (m *Model) show(name string) {
	for i, k := range [stages]string{"stage", "reconcile", "network", "objects", "log"} {
		if k == name {
			m.stage = stage(i)
		}
	}
}

// place divides the screen.
func (m *Model) place() {
	ask := layout.Ask{W: m.w, H: m.h, Lesson: m.lesson != nil, Focus: m.focus, Max: m.max}
	if m.lesson != nil && m.w > 4 {
		ask.Prompt = m.pen(nil).LessonRows(m.lv, m.answer, m.w-4)
	}
	m.panes = layout.Of(ask)
}

// say shows a message until the next key.
func (m *Model) say(key string, pairs ...string) { m.said, m.wrong = m.lang.T(key, pairs...), false }
func (m *Model) complain(key string, pairs ...string) {
	m.said, m.wrong = m.lang.T(key, pairs...), true
}

func (m *Model) pen(c *canvas.Canvas) pane.Pen {
	return pane.Pen{C: c, G: glyphs(m.ascii), L: m.lang}
}

// playEvery is the time between two steps of a playback.
func (m *Model) playEvery() time.Duration { return time.Second / time.Duration(m.speed) }
