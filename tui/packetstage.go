package tui

import (
	"errors"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/layout"
	"github.com/klab-project/klab/tui/pane"
	"github.com/klab-project/klab/tui/view"
)

// way is how the stage shows packets: which one, which leg of its way, whether
// rules without a match are listed; or that it shows the nodes' networks instead.
type way struct {
	packet string // "" is the newest one
	leg    string // "" is the one in which the packet is
	open   bool
	nodes  bool
}

// showsPacket tells whether the stage shows a packet's way, and not the
// nodes' networks.
func (m *Model) showsPacket() bool {
	return m.stage == network && !m.way.nodes && len(m.state().Packets) > 0
}

// onPacket is showsPacket while the stage has the keys.
func (m *Model) onPacket() bool { return m.focus == layout.Stage && m.showsPacket() }

// ahead is what may be shown of what comes after the eye: what the learner has
// seen already. In a recording's lesson that is nothing.
func (m *Model) ahead() *fold.State {
	if m.lesson != nil && !m.live {
		return nil
	}
	return m.history.Now()
}

func (m *Model) packetStage() *view.PacketStage {
	return view.NewPacketStage(m.state(), m.ahead(), m.mask, m.way.packet, m.way.leg, m.way.open)
}

func (m *Model) drawNetwork(pen pane.Pen, in canvas.Rect) {
	if m.showsPacket() {
		pen.Packet(in, m.packetStage(), m.way.open)
		return
	}
	skip := m.skip[layout.Stage]
	n := pen.Network(in, view.NewNetwork(m.state(), m.mask), skip)
	m.skip[layout.Stage] = min(skip, max(0, n-in.H))
}

// turnNetwork shows a packet's way where the nodes' networks were, and the
// other way round.
func (m *Model) turnNetwork() {
	m.way.nodes = !m.way.nodes
	m.skip[layout.Stage] = 0
	if !m.way.nodes && len(m.state().Packets) == 0 {
		m.way.nodes = false
		m.say("say.nopacket")
	}
}

// hop moves the eye by n hops of the packet that is shown.
func (m *Model) hop(n int) {
	s := m.state()
	p := s.Packet(m.way.packet)
	if p == nil {
		p = s.Packets[len(s.Packets)-1]
	}
	if whole := m.history.Now().Packet(p.ID); whole != nil && whole.Step == p.Step {
		p = whole
	}
	stops := view.Stops(p, m.way.open)
	eye := m.eye()
	at, exact := slices.BinarySearch(stops, eye)
	if !exact && n > 0 {
		n--
	}
	if !exact && at == len(stops) && n < 0 { // long over: its last hop is what is shown
		at--
	}
	at += n
	switch {
	case at < 0:
		m.say("say.begin")
		return
	case at >= len(stops):
		m.say("say.end")
		return
	case stops[at] > eye && m.stays():
		m.focus = layout.Lesson
		m.say("say.lesson")
		return
	}
	if m.now() {
		m.zoom = m.grain()
	}
	m.way.leg = ""
	m.goTo(stops[at])
}

// turnLeg shows the next leg of the packet's way.
func (m *Model) turnLeg() {
	v := m.packetStage()
	legs := v.Legs()
	if len(legs) > 0 {
		m.way.leg = legs[(slices.Index(legs, v.Leg)+1)%len(legs)]
	}
}

// nextPacket shows the packet before the one that is shown, and after the
// oldest the newest.
func (m *Model) nextPacket() {
	v := m.packetStage()
	at := slices.IndexFunc(v.List, func(n view.PacketName) bool { return n.ID == v.ID })
	m.way.packet, m.way.leg = v.List[(at+1)%len(v.List)].ID, ""
}

// packetCommand carries out ":packet", ":packet FROM TO:PORT [PROTO] [-6]", ":break
// CARD …" and ":mend …"; ":break" alone opens the page of cards.
func (m *Model) packetCommand(line string) (tea.Cmd, bool) {
	args := strings.Fields(line)
	if len(args) == 0 {
		return nil, false
	}
	switch args[0] {
	case "packet":
	case "break", "mend":
		if len(args) == 1 && args[0] == "break" {
			m.openCards()
			return nil, true
		}
		return m.run(line), true
	default:
		return nil, false
	}
	m.turn(network)
	m.way.nodes = false
	m.focus = layout.Stage
	m.place()
	switch {
	case len(args) == 1:
		if !m.showsPacket() {
			m.say("say.nopacket")
		}
		return nil, true
	case len(args) == 2:
		m.complain("say.howsend")
		return nil, true
	case len(args) > 3 && !strings.HasPrefix(args[3], "-") && !strings.HasPrefix(args[1], "-"):
		line = strings.Join(slices.Insert(args, 3, "--proto"), " ")
	}
	m.way.packet, m.way.leg = "", ""
	if m.live {
		m.at = 0
	}
	cmd := m.run(line)
	if cmd == nil {
		return nil, true
	}
	m.say("say.sending", "line", line)
	return func() tea.Msg { // its way is on the stage; only what went wrong is worth a word
		msg := cmd()
		if ran, ok := msg.(ranMsg); ok {
			return sentMsg(ran)
		}
		return msg
	}, true
}

// sentMsg is what the sending of a packet printed.
type sentMsg ranMsg

// exitLost is the exit code of "klab packet" for a packet that was refused or
// lost: its way is known.
const exitLost = 2

// sent says why a packet could not be sent.
func (m *Model) sent(msg sentMsg) {
	var exit interface{ ExitCode() int }
	if msg.err == nil || errors.As(msg.err, &exit) && exit.ExitCode() == exitLost {
		return
	}
	m.said = "" // that it was sent

	if exit != nil && exit.ExitCode() < 0 && strings.Contains(msg.line, "--watch") { // nothing ends it here but time
		m.say("say.watched")
		return
	}
	m.printed(ranMsg(msg))
}

// askPacket opens the command line for a packet, with the ends of the one that
// is shown.
func (m *Model) askPacket() {
	m.over, m.chosen = commanding, 0
	text := "packet "
	if s := m.state(); len(s.Packets) > 0 {
		p := s.Packet(m.way.packet)
		if p == nil {
			p = s.Packets[len(s.Packets)-1]
		}
		text += view.PacketLine(p)
	}
	m.line.open(commanding, text)
}

// inspectHop is the hop at which the packet is, and what led to the object
// that decided there.
func (m *Model) inspectHop() *view.Inspect {
	return view.NewHopInspect(m.history, m.state(), m.mask, m.packetStage())
}
