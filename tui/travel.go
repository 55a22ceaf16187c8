package tui

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/keys"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/text"
)

// travel moves the eye, or the lab.
func (m *Model) travel(a keys.Action) tea.Cmd {
	switch a {
	case keys.Step:
		return m.step()
	case keys.Forward:
		if m.now() && m.mode() == "paused" {
			return m.step()
		}
		m.move(1)
	case keys.Back:
		m.playing = false
		m.move(-1)
	case keys.Play:
		return m.play()
	case keys.Speed:
		return m.faster()
	case keys.PrevMark, keys.NextMark:
		m.toMark(a == keys.NextMark)
	case keys.First:
		m.playing = false
		if first := m.history.First(); first > 0 {
			m.goTo(first)
		}
	case keys.Last:
		m.playing = false
		m.goTo(m.history.Last())
		if m.live {
			m.at = 0
		}
	case keys.ZoomIn:
		return m.zoomTo(m.grain() + 1)
	case keys.ZoomOut:
		return m.zoomTo(m.grain() - 1)
	}
	return nil
}

// step lets the top action happen; a running lab it pauses; in the past and in
// a recording it moves the eye.
func (m *Model) step() tea.Cmd {
	if !m.now() {
		m.move(1)
		return nil
	}
	if m.mode() == "live" {
		return m.pause(true)
	}
	return m.pick(0, runIt)
}

func (m *Model) pause(paused bool) tea.Cmd {
	mode := m.history.Now().Mode
	mode.State = step.Running
	if paused {
		mode.State = step.Paused
	}
	return m.command(func(c Control) error { return c.SetMode(m.ctx, mode) })
}

// goTo turns the eye to an event, but where the lesson comes first no further.
func (m *Model) goTo(seq uint64) {
	if seq > m.followed && m.stops() {
		seq, m.focus = m.followed, layout.Lesson
		m.say("say.lesson")
	}
	m.turnEye(seq)
}

// turnEye turns the eye to an event.
func (m *Model) turnEye(seq uint64) {
	m.at = seq
	m.skip[layout.Inspect] = 0
	m.sel[layout.Pending] = 0
	m.follow()
}

// move moves the eye by steps; it returns whether there was one.
func (m *Model) move(n int) bool {
	z := m.grain()
	if m.now() {
		m.zoom = z
	}
	if n > 0 && m.stays() {
		m.focus = layout.Lesson
		m.say("say.lesson")
		return false
	}
	to, ok := m.track.Move(z, m.eye(), n)
	switch {
	case ok:
		m.goTo(to)
	case n < 0:
		m.say("say.begin")
	case m.live && m.at != 0:
		m.at = 0
	default:
		m.say("say.end")
	}
	return ok
}

// stays tells whether a recording does not play beyond the eye, because the
// lesson comes first: a question is open, or its step is over.
func (m *Model) stays() bool { return m.eye() >= m.followed && m.stops() }

func (m *Model) stops() bool {
	return !m.live && m.lesson != nil && (m.lv.Prompt.Open() || m.lv.CanNext)
}

func (m *Model) toMark(forward bool) {
	eye := m.eye()
	var to uint64
	for _, k := range m.history.Now().Marks {
		if forward && k.Seq > eye && to == 0 || !forward && k.Seq < eye {
			to = k.Seq
		}
	}
	if to == 0 {
		m.say("say.nomark")
		return
	}
	m.goTo(to)
}

// play lets a live lab run or pauses it, and plays or stops a recording.
func (m *Model) play() tea.Cmd {
	if m.now() {
		return m.pause(m.mode() == "live")
	}
	m.playing = !m.playing
	if !m.playing {
		return nil
	}
	return m.tick()
}

func (m *Model) tick() tea.Cmd {
	return tea.Tick(m.playEvery(), tickMsg)
}

func (m *Model) played() tea.Cmd {
	if !m.playing {
		return nil
	}
	if !m.move(1) || m.stays() {
		m.playing = false
		return nil
	}
	return m.tick()
}

var rates = []float64{1, 10, 60}

func (m *Model) faster() tea.Cmd {
	if m.now() {
		next := rates[0]
		for i, r := range rates {
			if m.history.Now().Rate == r {
				next = rates[(i+1)%len(rates)]
			}
		}
		m.say("say.rate", "rate", strconv.FormatFloat(next, 'f', -1, 64))
		return m.command(func(c Control) error { return c.SetRate(m.ctx, next) })
	}
	next := map[int]int{1: 2, 2: 4, 4: 10, 10: 30, 30: 1}
	m.speed = next[m.speed]
	m.say("say.speed", "n", strconv.Itoa(m.speed))
	return nil
}

func (m *Model) zoomTo(z step.Zoom) tea.Cmd {
	z = min(max(z, step.Coarse), step.Finest)
	m.zoom = z
	if !m.now() || m.control == nil {
		return nil
	}
	mode := m.history.Now().Mode
	mode.Zoom = z
	return m.command(func(c Control) error { return c.SetMode(m.ctx, mode) })
}

// printed shows what a command printed.
func (m *Model) printed(msg ranMsg) {
	out := strings.TrimRight(msg.out, "\n")
	var exit *exec.ExitError
	if msg.err != nil && (out == "" || !errors.As(msg.err, &exit)) { // else it has said itself what is wrong
		if out != "" {
			out += "\n"
		}
		out += msg.err.Error()
	}
	if out == "" {
		return
	}
	lines := strings.Split(out, "\n")
	if len(lines) == 1 && text.Width(lines[0]) < m.w-4 {
		m.said, m.wrong = lines[0], msg.err != nil
		return
	}
	if msg.err != nil { // sentences, not a table
		lines = wrapped(lines, m.w-10)
	}
	m.open(msg.line, lines)
}

func wrapped(lines []string, w int) (list []string) {
	for _, l := range lines {
		list = append(list, text.Wrap(text.Clean(l), max(20, w))...)
	}
	return list
}
