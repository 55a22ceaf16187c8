package tui

import (
	"context"
	"time"

	"charm.land/bubbles/v2/viewport"
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

// stage names what the stage shows; the digits 1–6 choose it.
type stage int

const (
	cluster stage = iota
	reconcile
	network
	objects
	events
	podPage
	stages
)

var stageKeys = [stages]string{"pane.stage", "pane.reconcile", "pane.network", "pane.objects", "pane.log", "pane.pod"}

// stageNames are what lessons call them.
var stageNames = [stages]string{"stage", "reconcile", "network", "objects", "log", "pod"}

// overlay is what lies over the panes.
type overlay int

const (
	none overlay = iota
	helping
	commanding
	filtering
	reading
	choosingCard
	naming
)

// Model is the interface: what has been received, where the eye is, and what
// has been typed so far.
type Model struct {
	ctx     context.Context
	pump    *pump
	control Control
	lesson  lesson.Lesson
	live    bool
	keys    []keys.Binding
	cards   []view.Card

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
	back   stage               // from which a pod was opened
	pod    fold.Key            // whose page was opened
	unfold bool                // what was said in calls of its network
	way    way                 // how packets are shown
	sel    map[layout.Pane]int // selected row
	skip   map[layout.Pane]int // rows scrolled away
	filter string
	picked map[uint64]bool // picked and not yet gone

	over    overlay
	line    line  // the palette's or the filter's
	chosen  int   // in the palette
	deck    deck  // the page of cards
	names   names // the page of names
	page    viewport.Model
	outName string

	said   string
	wrong  bool
	frame  string // the last frame, "" if something changed
	cursor *tea.Cursor
}

// New makes a model; Run does, and tests.
func New(ctx context.Context, c Config) *Model {
	m := &Model{
		ctx: ctx, pump: newPump(c.Source), control: c.Control, lesson: c.Lesson, live: c.Source.Live(), keys: keys.Table(), cards: c.Cards,
		lang: c.Lang, ascii: c.ASCII, theme: canvas.NewTheme(c.Light), start: c.Start,
		history: fold.NewHistory(), track: &view.Track{}, speed: 4, at: c.Start,
		focus: layout.Pending, sel: map[layout.Pane]int{}, skip: map[layout.Pane]int{}, picked: map[uint64]bool{},
		cached: map[layout.Pane]drawn{}, answer: pane.Answering{Choice: -1},
		line: newLine(), page: newPage(),
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
	shellMsg struct{ err error }
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
		first := m.w == 0
		m.w, m.h = msg.Width, msg.Height
		m.place()
		if first {
			m.readOn()
		}
	case tea.BackgroundColorMsg:
		m.theme = canvas.NewTheme(!msg.IsDark())
		clear(m.cached)
	case tea.KeyPressMsg:
		return m, m.press(msg)
	case tea.PasteMsg:
		if m.over == commanding || m.over == filtering {
			m.typed(msg)
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
	case shellMsg:
		if msg.err != nil {
			m.complain("say.shell", "err", msg.err.Error())
		}
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
		if m.lesson != nil && m.lv.CanNext {
			m.focus = layout.Lesson // the step is over: enter goes on
			m.place()
		}
	case ranMsg, sentMsg, brokeMsg, resolvedMsg:
		m.came(msg)
	}
	return m, nil
}

// came shows what came of a command.
func (m *Model) came(msg tea.Msg) {
	switch msg := msg.(type) {
	case ranMsg:
		m.printed(msg)
	case sentMsg:
		m.sent(msg)
	case brokeMsg:
		m.broke(msg)
	case resolvedMsg:
		m.resolved(msg)
	}
}

// receive takes new events.
func (m *Model) receive(batch []*step.Event) {
	if len(batch) == 0 {
		return
	}
	runs, packets := m.history.Now().Runs, len(m.history.Now().Packets)
	m.history.Append(batch...)
	m.track.Append(batch...)
	for id := range m.picked {
		if m.history.Now().Waiting(id) == nil && !hasTimer(m.history.Now(), id) {
			delete(m.picked, id)
		}
	}
	if now := m.history.Now().Packets; m.live && len(now) > 0 && (len(now) != packets || !now[len(now)-1].Ended) {
		m.way.packet, m.way.leg = "", "" // a new one is on its way
	}
	if !m.live && m.at == 0 {
		m.at = max(m.start, m.history.First())
	}
	if m.live && m.history.Now().Runs > runs && runs > 0 {
		m.say("say.reset")
	}
	m.follow()
}

// place divides the screen.
func (m *Model) place() {
	ask := layout.Ask{W: m.w, H: m.h, Lesson: m.lesson != nil, Focus: m.focus, Max: m.max}
	if m.lesson != nil && m.w > 4 {
		ask.Prompt = m.pen(nil).LessonRows(m.lv, m.answer, m.w-4)
		ask.Waits = m.mode() == "paused" && !m.lv.Prompt.Open() && (len(m.state().Pending) > 0 || m.state().Busy())
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
